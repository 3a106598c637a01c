"""What a module can do beside holding names: be called, and lead from old names to new ones."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Make the imported module ``name`` callable; a call of the module is a call of ``function``.

    A submodule becomes an attribute of its package as soon as something imports it, and hides a function of that name.
    With this, both are one object, in whatever order they are imported.
    """
    kind = type("CallableModule", (ModuleType,), {"__call__": staticmethod(function), "__doc__": function.__doc__})
    sys.modules[name].__class__ = kind


def moved(module: str, name: str, homes: Mapping[str, str], *, new: str | None = None) -> Any:
    """What a module's ``__getattr__`` returns for a name that moved, with a DeprecationWarning.

    Args:
        module: The module that is asked.
        name: The name that is asked for.
        homes: For each name that moved, the module that has it now.
        new: Its name there, where that changed.

    Raises:
        AttributeError: The name is none of them.
    """
    if name not in homes:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    told = f"{module}.{name} is now {homes[name]}.{new or name}; the old name goes in the next release"
    warnings.warn(told, DeprecationWarning, stacklevel=3)
    return getattr(importlib.import_module(homes[name]), new or name)
