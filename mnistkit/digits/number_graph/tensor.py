"""A value of an ONNX graph with NumPy's operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS: Final = {"bool": 9, "uint8": 2, "int32": 6, "int64": 7, "float32": 1, "float64": 11}
"""Numbers of the element types in ONNX (TensorProto.DataType)."""


class Writer(Protocol):
    """What a tensor asks of its graph; see `mnistkit.digits.number_graph.graph.Graph`."""

    def constant(self, value: Any, dtype: str) -> Tensor:
        """A constant."""

    def ints(self, *values: int) -> Tensor:
        """Whole numbers."""

    def shape_of(self, sizes: Sequence[int | Tensor]) -> Tensor:
        """A shape."""

    def op(self, kind: str, *inputs: Tensor | str, dtype: str | None = None, **attributes: Any) -> Tensor:
        """One node."""


class Tensor:
    """A value of the graph.

    Attributes:
        name: In the graph.
        dtype: NumPy's name of its type.
    """

    __slots__ = ("_graph", "dtype", "name")

    def __init__(self, graph: Writer, name: str, dtype: str) -> None:
        self._graph, self.name, self.dtype = graph, name, dtype

    def _with(self, kind: str, other: Tensor | float, *, is_right: bool = False, dtype: str | None = None) -> Tensor:
        value = other if isinstance(other, Tensor) else self._graph.constant(other, self.dtype)
        pair = (value, self) if is_right else (self, value)
        return self._graph.op(kind, *pair, dtype=dtype or self.dtype)

    def __add__(self, other: Tensor | float) -> Tensor:
        return self._with("Add", other)

    def __radd__(self, other: float) -> Tensor:
        return self._with("Add", other, is_right=True)

    def __sub__(self, other: Tensor | float) -> Tensor:
        return self._with("Sub", other)

    def __rsub__(self, other: float) -> Tensor:
        return self._with("Sub", other, is_right=True)

    def __mul__(self, other: Tensor | float) -> Tensor:
        return self._with("Mul", other)

    def __rmul__(self, other: float) -> Tensor:
        return self._with("Mul", other, is_right=True)

    def __truediv__(self, other: Tensor | float) -> Tensor:
        return self._with("Div", other)

    def __rtruediv__(self, other: float) -> Tensor:
        return self._with("Div", other, is_right=True)

    def __floordiv__(self, other: Tensor | float) -> Tensor:
        """Of whole numbers that are not negative."""
        return self._with("Div", other)

    def __neg__(self) -> Tensor:
        return self._graph.op("Neg", self)

    def __gt__(self, other: Tensor | float) -> Tensor:
        return self._with("Greater", other, dtype="bool")

    def __ge__(self, other: Tensor | float) -> Tensor:
        return self._with("GreaterOrEqual", other, dtype="bool")

    def __lt__(self, other: Tensor | float) -> Tensor:
        return self._with("Less", other, dtype="bool")

    def __le__(self, other: Tensor | float) -> Tensor:
        return self._with("LessOrEqual", other, dtype="bool")

    def equals(self, other: Tensor | float) -> Tensor:
        """Where both are the same."""
        return self._with("Equal", other, dtype="bool")

    def __and__(self, other: Tensor) -> Tensor:
        return self._with("And", other)

    def __or__(self, other: Tensor) -> Tensor:
        return self._with("Or", other)

    def __invert__(self) -> Tensor:
        return self._graph.op("Not", self)

    def most(self, other: Tensor | float) -> Tensor:
        """The larger of both, cell by cell."""
        return self._with("Max", other)

    def least(self, other: Tensor | float) -> Tensor:
        """The smaller of both, cell by cell."""
        return self._with("Min", other)

    def cast(self, dtype: str) -> Tensor:
        """As another type; floats are cut off, as ``int`` does it."""
        return self if dtype == self.dtype else self._graph.op("Cast", self, dtype=dtype, to=KINDS[dtype])

    def reshape(self, *shape: int | Tensor) -> Tensor:
        """With another shape; -1 is what is left."""
        return self._graph.op("Reshape", self, self._graph.shape_of(shape))

    def flat(self) -> Tensor:
        """One axis."""
        return self.reshape(-1)

    def size(self, axis: int = 0) -> Tensor:
        """Length of an axis, int64 ``[]``."""
        found = self._graph.op("Shape", self, dtype="int64", start=axis, end=axis + 1)
        return self._graph.op("Squeeze", found)

    def take(self, places: Tensor | int, axis: int = 0) -> Tensor:
        """Entries at places along an axis."""
        at = places if isinstance(places, Tensor) else self._graph.constant(places, "int64")
        return self._graph.op("Gather", self, at, axis=axis)

    def where(self, chosen: Tensor, axis: int = 0) -> Tensor:
        """Entries of an axis that are chosen."""
        return self._graph.op("Compress", self, chosen, axis=axis)

    def cut(self, start: int | Tensor, stop: int | Tensor, axis: int = 0) -> Tensor:
        """A slice of an axis."""
        graph = self._graph
        ends = [graph.shape_of([end]) for end in (start, stop)]
        return graph.op("Slice", self, *ends, graph.ints(axis))

    def unsqueeze(self, *axes: int) -> Tensor:
        """With axes of length 1."""
        return self._graph.op("Unsqueeze", self, self._graph.ints(*axes))

    def squeeze(self, *axes: int) -> Tensor:
        """Without axes of length 1."""
        return self._graph.op("Squeeze", self, self._graph.ints(*axes))

    def transpose(self, *axes: int) -> Tensor:
        """With the axes in another order."""
        return self._graph.op("Transpose", self, perm=list(axes))

    def sum(self, *axes: int) -> Tensor:
        """Over axes, or all of them."""
        return self._reduced("ReduceSum", axes)

    def max(self, *axes: int) -> Tensor:
        """Over axes, or all of them; of at least one entry."""
        return self._reduced("ReduceMax", axes)

    def min(self, *axes: int) -> Tensor:
        """Over axes, or all of them; of at least one entry."""
        return self._reduced("ReduceMin", axes)

    def mean(self, *axes: int) -> Tensor:
        """Over axes, or all of them."""
        return self._reduced("ReduceMean", axes)

    def any(self, *axes: int) -> Tensor:
        """Whether one is true, over axes or all of them; nothing is false."""
        return self.cast("int32").sum(*axes) > 0

    def prod(self) -> Tensor:
        """All entries times each other; 1 where there is none."""
        return self._reduced("ReduceProd", ())

    def argmax(self, axis: int = 0) -> Tensor:
        """Place of the first largest, int64."""
        return self._graph.op("ArgMax", self, dtype="int64", axis=axis, keepdims=0)

    def apply(self, kind: str) -> Tensor:
        """An operator of one tensor: Log, Exp, Sqrt, Floor, Ceil, Round, Abs."""
        return self._graph.op(kind, self)

    def _reduced(self, kind: str, axes: Sequence[int]) -> Tensor:
        over = [self._graph.ints(*axes)] if axes else []
        return self._graph.op(kind, self, *over, keepdims=0)
