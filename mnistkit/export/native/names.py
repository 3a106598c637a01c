"""Names that depend on the model alone, not on how many layers the process made before."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any


def snake(class_name: str) -> str:
    """Spell a class name as Keras does for automatic names: ``Conv2D`` becomes ``conv2d``."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class Namer:
    """Gives each layer a stable name: its own, or for an automatic one its class and its order in the model."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._keep: list[Any] = []
        self._counts: defaultdict[str, int] = defaultdict(int)

    def name(self, layer: Any) -> str:
        """Return the stable name of a layer or operation; the same object always gets the same name."""
        known = self._names.get(id(layer))
        if known is not None:
            return known
        base = automatic_base(layer)
        own = layer.name if base is None else self._numbered(base)
        own = sanitize_name(own)
        self._names[id(layer)] = own
        self._keep.append(layer)
        return own

    def _numbered(self, base: str) -> str:
        number = self._counts[base]
        self._counts[base] += 1
        return base if number == 0 else f"{base}_{number}"


def automatic_base(layer: Any) -> str | None:
    """Return the class part of an automatic name such as ``dense_7``, or None for a name that a person chose.

    ``Bidirectional`` puts a word before the name of the layer that it was given: ``forward_gru_7`` is automatic too.
    """
    for kind in type(layer).__mro__:
        base = snake(kind.__name__)
        found = re.fullmatch(rf"((?:forward_|backward_)?{re.escape(base)})(_\d+)?", layer.name)
        if found:
            return found[1]
    return None


def sanitize_name(name: str) -> str:
    """Replace what does not belong in a tensor name."""
    return re.sub(r"[^\w.\-/]", "_", name)


class Unique:
    """Makes names unique by numbering the repeats in order of asking."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: defaultdict[str, int] = defaultdict(lambda: 1)

    def reserve(self, name: str) -> None:
        """Take a name that must not be given to anything else."""
        self._taken.add(name)

    def __call__(self, name: str) -> str:
        """Return the name, numbered when it is taken."""
        candidate = name
        while candidate in self._taken:
            candidate = f"{name}_{self._next[name]}"
            self._next[name] += 1
        self._taken.add(candidate)
        return candidate
