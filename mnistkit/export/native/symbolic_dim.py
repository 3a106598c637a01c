"""Free dimensions: integers that remember which axis of which tensor they are.

While a model is traced, every free dimension is a :class:`Dim`. It *is* an ``int`` (so that layers can loop, divide and
compare as they do with a fixed shape) and it *is* a symbolic Keras tensor of rank 0 (so that ``keras.ops.arange(n)`` is
recorded instead of being computed for one length). It carries a second value, for the second shape inference that tells
which output dimensions really depend on a free one, and the expression it came from, which becomes ONNX nodes.
"""

from __future__ import annotations

import operator
from typing import Any, ClassVar

from keras import KerasTensor


class Dim(int, KerasTensor):
    """One free dimension.

    Attributes:
        alt: The value the dimension has in the second inference.
        expr: ``("axis", tensor, axis)`` or ``(operator, left, right)`` with ``Dim`` or ``int`` operands.
    """

    alt: int
    expr: tuple[Any, ...]
    _shape: ClassVar[tuple[int, ...]] = ()
    _dtype: ClassVar[str] = "int32"
    _sparse: ClassVar[bool] = False
    _ragged: ClassVar[bool] = False
    name: ClassVar[str] = "dim"
    record_history: ClassVar[bool] = True

    def __new__(cls, value: int, alt: int, expr: tuple[Any, ...]) -> Dim:  # noqa: PYI034  typing.Self is no help: Dim is final
        """Make an int with a second value and an expression."""
        self = int.__new__(cls, value)
        self.alt = alt
        self.expr = expr
        return self

    def __init__(self, value: int, alt: int, expr: tuple[Any, ...]) -> None:
        """Nothing to do: a KerasTensor's own set-up would draw a process-wide name."""

    def __repr__(self) -> str:
        return f"Dim({int(self)}|{self.alt})"

    __hash__ = int.__hash__

    def __reduce__(self) -> Any:
        return (int, (int(self),))

    def __deepcopy__(self, memo: Any) -> Dim:
        return self

    def __copy__(self) -> Dim:
        return self

    def key(self) -> Any:
        """Return a hashable form of the expression: equal keys mean equal dimensions."""
        return _key(self)


def _key(dim: Any) -> Any:
    if not isinstance(dim, Dim):
        return int(dim)
    head, left, right = dim.expr
    if head == "axis":
        return ("axis", id(left), right)
    return (head, _key(left), _key(right))


def alt(value: int) -> int:
    """Return the second value of a dimension, or the number itself."""
    return value.alt if isinstance(value, Dim) else int(value)


def _binary(name: str, function: Any) -> tuple[Any, Any]:
    def forward(self: Dim, other: Any) -> Any:
        if type(other) is int or isinstance(other, Dim):
            return Dim(function(int(self), int(other)), function(self.alt, alt(other)), (name, self, other))
        if isinstance(other, KerasTensor):
            return NotImplemented
        return function(int(self), other)

    def backward(self: Dim, other: Any) -> Any:
        if type(other) is int:
            return Dim(function(other, int(self)), function(other, self.alt), (name, other, self))
        if isinstance(other, KerasTensor):
            return NotImplemented
        return function(other, int(self))

    return forward, backward


for _name, _function in {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}.items():
    _forward, _backward = _binary(_name, _function)
    setattr(Dim, f"__{_name}__", _forward)
    setattr(Dim, f"__r{_name}__", _backward)


def _negative(self: Dim) -> Any:
    return 0 - self


Dim.__neg__ = _negative  # type: ignore[method-assign,assignment]


def contains_dim(structure: Any) -> bool:
    """Say whether a nested structure of tuples, lists, dicts and slices holds a free dimension."""
    kind = type(structure)
    if kind is Dim:
        return True
    if kind in (int, float, str, bool) or structure is None:
        return False
    if isinstance(structure, (tuple, list)):
        return any(contains_dim(item) for item in structure)
    if isinstance(structure, dict):
        return any(contains_dim(item) for item in structure.values())
    if isinstance(structure, slice):
        return contains_dim((structure.start, structure.stop, structure.step))
    return False


def collect(structure: Any, found: dict[Any, Dim]) -> None:
    """Add every free dimension of a structure (and of the shapes of its tensors) to ``found``, by key."""
    if isinstance(structure, Dim):
        found.setdefault(structure.key(), structure)
    elif isinstance(structure, KerasTensor):
        for size in structure.shape:
            if isinstance(size, Dim):
                found.setdefault(size.key(), size)
    elif isinstance(structure, (tuple, list)):
        for item in structure:
            collect(item, found)
    elif isinstance(structure, dict):
        for item in structure.values():
            collect(item, found)
    elif isinstance(structure, slice):
        collect((structure.start, structure.stop, structure.step), found)
