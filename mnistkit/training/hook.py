"""Private names of other packages: each in a table, with its purpose, and missed by name.

The tables are ``keras_hooks`` and ``<backend>.hooks``. Nothing else in the trainer may use a private name. A name that
moved between versions lists both places. ``fit`` looks through the tables first and trains with ``model.fit`` when a
required name is missing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Hook:
    """A private name.

    Attributes:
        paths: where it is, the newest place first: ``module:attribute``, or ``model:attribute`` and
            ``optimizer:attribute`` for what only an instance has.
        purpose: what the trainer needs it for, as the end of "which the trainer needs to …".
        backend: the only Keras backend that has the name; None for all.
        required: False where the trainer has another way.
    """

    paths: tuple[str, ...]
    purpose: str
    backend: str | None = None
    required: bool = True

    def owner(self, **instances: Any) -> tuple[Any, str]:
        """Return the object that has the name, and its last part.

        Raises:
            AttributeError: no place has the name; the message gives the package and its version.
        """
        for path in self.paths:
            start, _, names = path.partition(":")
            *parents, last = names.split(".")
            try:
                owner = instances[start] if start in instances else importlib.import_module(start)
                for parent in parents:
                    owner = getattr(owner, parent)
                getattr(owner, last)
            except (ImportError, AttributeError):
                continue
            return owner, last
        raise AttributeError(self.missing())

    def get(self, **instances: Any) -> Any:
        """Return what the name stands for; raise as ``owner`` does."""
        owner, name = self.owner(**instances)
        return getattr(owner, name)

    def get_or_none(self) -> Any:
        """Return what the name stands for, or None where it is missing."""
        try:
            return self.get()
        except AttributeError:
            return None

    def missing(self) -> str:
        """Say that the name is missing, from which version of which package, and what it is for."""
        start = self.paths[0].partition(":")[0]
        package = "keras" if start in ("model", "optimizer") else start.partition(".")[0]
        version = getattr(importlib.import_module(package), "__version__", "(version unknown)")
        return f"{package} {version} has no {self.paths[0]}, which the trainer needs to {self.purpose}"


def first_missing(hooks: Iterable[Hook], **instances: Any) -> str | None:
    """Return the message about the first required name that is missing, or None when all are there."""
    for hook in hooks:
        if hook.required:
            try:
                hook.owner(**instances)
            except AttributeError:
                return hook.missing()
    return None
