"""Free dimensions: integers that remember which axis of which tensor they are.

While a model is traced, every free dimension is a :class:`SymbolicDim`. It *is* an ``int`` (so that layers can loop,
divide and compare as they do with a fixed shape) and it *is* a symbolic Keras tensor of rank 0 (so that
``keras.ops.arange(n)`` is recorded instead of being computed for one length). It carries a second value, for the second
shape inference that tells which output dimensions really depend on a free one, and the expression it came from, which
becomes ONNX nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from keras import KerasTensor

from mnistkit.export.native.symbolic_tensor import SymbolicTensor


class SymbolicDim(int, SymbolicTensor):
    """One free dimension.

    Attributes:
        second_size: The value the dimension has in the second inference.
        expr: ``("axis", tensor, axis)`` or ``(operator, left, right)`` with ``SymbolicDim`` or
            ``int`` operands.
    """

    second_size: int
    expr: tuple[Any, ...]
    # what Keras asks of a tensor of rank 0
    shape = ()
    dtype: ClassVar[str] = "int32"
    sparse: ClassVar[bool] = False
    ragged: ClassVar[bool] = False
    ragged_rank: ClassVar[None] = None
    row_splits_dtype: ClassVar[None] = None
    record_history: ClassVar[bool] = True
    # Keras 3.12 checks the sizes of a shape by the name of their class, taken for a type
    name: ClassVar[str] = "int32"

    def __new__(cls, value: int, second_size: int, expr: tuple[Any, ...]) -> SymbolicDim:  # noqa: PYI034  typing.Self is no help: SymbolicDim is final
        """Make an int with a second value and an expression."""
        self = int.__new__(cls, value)
        self.second_size = second_size
        self.expr = expr
        return self

    def __init__(self, value: int, second_size: int, expr: tuple[Any, ...]) -> None:
        """Nothing to do: a KerasTensor's own set-up would draw a process-wide name."""

    def __repr__(self) -> str:
        return f"SymbolicDim({int(self)}|{self.second_size})"

    __hash__ = int.__hash__

    def __reduce__(self) -> Any:
        return (int, (int(self),))

    def __deepcopy__(self, memo: Any) -> SymbolicDim:
        return self

    def __copy__(self) -> SymbolicDim:
        return self

    def expr_key(self) -> Any:
        """Return a hashable form of the expression: equal keys mean equal dimensions."""
        return _expr_key(self)


def _expr_key(dim: Any) -> Any:
    if not isinstance(dim, SymbolicDim):
        return int(dim)
    head, left, right = dim.expr
    if head == "axis":
        return ("axis", id(left), right)
    return (head, _expr_key(left), _expr_key(right))


def first_size(size: Any) -> Any:
    """Return a size as it is in the first inference; None stays None."""
    return None if size is None else int(size)


def second_size(size: Any) -> Any:
    """Return a size as it is in the second inference; None stays None."""
    return size.second_size if isinstance(size, SymbolicDim) else first_size(size)


def _binary(name: str, function: Any) -> tuple[Any, Any]:
    def forward(self: SymbolicDim, other: Any) -> Any:
        if type(other) is int or isinstance(other, SymbolicDim):
            return SymbolicDim(
                function(int(self), int(other)), function(self.second_size, second_size(other)), (name, self, other)
            )
        if isinstance(other, KerasTensor):
            return NotImplemented
        return function(int(self), other)

    def backward(self: SymbolicDim, other: Any) -> Any:
        if type(other) is int:
            return SymbolicDim(function(other, int(self)), function(other, self.second_size), (name, other, self))
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
    setattr(SymbolicDim, f"__{_name}__", _forward)
    setattr(SymbolicDim, f"__r{_name}__", _backward)


def _negative(self: SymbolicDim) -> Any:
    return 0 - self


SymbolicDim.__neg__ = _negative  # type: ignore[method-assign,assignment]


def contains_dim(structure: Any) -> bool:
    """Say whether a nested structure of tuples, lists, dicts and slices holds a free dimension."""
    kind = type(structure)
    if kind is SymbolicDim:
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


def collect(structure: Any, found: dict[Any, SymbolicDim]) -> None:
    """Add every free dimension of a structure (and of the shapes of its tensors) to ``found``, by key."""
    if isinstance(structure, SymbolicDim):
        found.setdefault(structure.expr_key(), structure)
    elif isinstance(structure, KerasTensor):
        for size in structure.shape:
            if isinstance(size, SymbolicDim):
                found.setdefault(size.expr_key(), size)
    elif isinstance(structure, (tuple, list)):
        for item in structure:
            collect(item, found)
    elif isinstance(structure, dict):
        for item in structure.values():
            collect(item, found)
    elif isinstance(structure, slice):
        collect((structure.start, structure.stop, structure.step), found)


class FreeSize(NamedTuple):
    """A size that :func:`make_tensor` makes a symbolic dimension of: its values in both inferences."""

    first: int
    second: int


def make_tensor(shape: Iterable[Any], dtype: str) -> SymbolicTensor:
    """Make a symbolic tensor.

    Args:
        shape: Sizes: numbers, symbolic dimensions of other tensors, or :class:`FreeSize` for a dimension that is this
            tensor's own.
        dtype: Name of the type.
    """
    tensor = SymbolicTensor(dtype)
    tensor.shape = tuple(
        SymbolicDim(size.first, size.second, ("axis", tensor, axis)) if isinstance(size, FreeSize) else size
        for axis, size in enumerate(shape)
    )
    return tensor


Dim = SymbolicDim  # the short name that the handlers use
