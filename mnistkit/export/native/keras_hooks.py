"""Every private name of Keras that the exporter uses, in one file, each with what it is for.

A name that this version of Keras does not have is an error that says so: never an odd failure later.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

import keras

from mnistkit.core.errors import ExportError


def private(path: str, purpose: str) -> Any:
    """Look a private name of Keras up.

    Args:
        path: Module and attributes, as ``keras.src.ops.operation:Operation.symbolic_call``.
        purpose: What the exporter needs it for; part of the error message.

    Raises:
        ExportError: This version of Keras has no such name.
    """
    module, _, names = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in filter(None, names.split(".")):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise ExportError(
            f"Keras {keras.__version__} has no {path}, which the native exporter needs ({purpose}); "
            "choose another exporter, or another version of Keras"
        ) from error
    return found


@functools.cache
def own_classes(*packages: str) -> dict[str, tuple[type, ...]]:
    """Return Keras' own classes of operations and layers below some packages, by class name.

    A class counts when it is what its module calls by that name: a class that only says that its module is one of
    Keras' does not.

    Args:
        packages: Such as ``keras.src.ops``.
    """
    found: dict[str, tuple[type, ...]] = {}
    for name, module in sorted(sys.modules.items()):
        if module is None or not any(name == package or name.startswith(f"{package}.") for package in packages):
            continue
        for attribute, value in vars(module).items():
            if not isinstance(value, type) or not issubclass(value, keras.Operation):
                continue
            if value.__module__ == name and value.__name__ == attribute:
                found[attribute] = (*found.get(attribute, ()), value)
    return found


def operation_class(name: str) -> type | None:
    """Return the class of that name that ``keras.ops`` and Keras' activations record; None when there is none.

    Raises:
        ExportError: Two classes have the name.
    """
    return _only(name, own_classes("keras.src.ops", "keras.src.activations"))


def layer_class(name: str) -> type | None:
    """Return Keras' own class of layers of that name, base classes included; None when there is none.

    Raises:
        ExportError: Two classes have the name.
    """
    return _only(name, own_classes("keras.src.layers"))


def _only(name: str, classes: dict[str, tuple[type, ...]]) -> type | None:
    found = classes.get(name, ())
    if len(found) > 1:
        homes = ", ".join(kind.__module__ for kind in found)
        raise ExportError(
            f"Keras {keras.__version__} has {len(found)} classes {name} ({homes}), which the native exporter cannot "
            "tell apart by name; choose another exporter, or another version of Keras"
        )
    return found[0] if found else None


def is_own(kind: type) -> bool:
    """Say whether a class of operations or layers is Keras' own, whatever a class of a user is called."""
    module = sys.modules.get(kind.__module__)
    return (
        module is not None
        and (kind.__module__ == "keras" or kind.__module__.startswith("keras."))
        and getattr(module, kind.__qualname__, None) is kind
    )


def operation_of(function: Callable[..., Any]) -> type | None:
    """Return the class that a function of ``keras.ops`` records, from the names in its code; None for any other."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or not function.__module__.startswith("keras."):
        return None
    names = getattr(inspect.unwrap(function), "__globals__", {})
    kinds = {names.get(name) for name in code.co_names}
    own = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, keras.Operation) and is_own(kind)}
    own -= {keras.Operation}
    return own.pop() if len(own) == 1 else None
