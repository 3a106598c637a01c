"""Free dimensions: sizes that remember which axis of which tensor they are.

While a model is traced, every free dimension is a :class:`SymbolicDim`. It passes for an ``int`` (so that layers can
divide and compare as they do with a fixed shape) and it *is* a symbolic Keras tensor of rank 0 (so that
``keras.ops.arange(n)`` is recorded instead of being computed for one length). It carries a second value, for the second
shape inference that tells which output dimensions really depend on a free one, and the expression it came from, which
becomes ONNX nodes.

It is no subclass of ``int``: Python would hand the number of one to ``range`` and to its own arithmetic without a word.
Every way out is a method here instead. What Python decides by the size is a :class:`~.size_decisions.SizeComparison`;
where the number itself leaves, :func:`~.size_decisions.note_number` refuses it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from keras import KerasTensor

from mnistkit.export.native.size_decisions import note_comparison, note_number
from mnistkit.export.native.symbolic_tensor import SymbolicTensor


class SymbolicDim(SymbolicTensor):
    """One free dimension.

    Attributes:
        first_size: The value the dimension has in the first inference.
        second_size: The value the dimension has in the second inference.
        expr: ``("axis", tensor, axis)`` or ``(operator, left, right)`` with ``SymbolicDim`` or
            ``int`` operands.
    """

    first_size: int
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

    def __init__(self, first_size: int, second_size: int, expr: tuple[Any, ...]) -> None:
        """Hold the values; a KerasTensor's own set-up would draw a process-wide name."""
        self.first_size = first_size
        self.second_size = second_size
        self.expr = expr

    @property  # type: ignore[misc]  # object's can be set, this one cannot
    def __class__(self) -> type:
        """``isinstance(size, int)`` is true: layers tell sizes from tensors by it."""
        return int

    def __repr__(self) -> str:
        return f"SymbolicDim({self.first_size}|{self.second_size})"

    def __format__(self, spec: str) -> str:
        return format(self.first_size, spec)

    def __str__(self) -> str:
        return str(self.first_size)

    def __reduce__(self) -> Any:
        return (int, (self.first_size,))

    def __reduce_ex__(self, _: Any) -> Any:
        return self.__reduce__()

    def __deepcopy__(self, memo: Any) -> SymbolicDim:
        return self

    def __copy__(self) -> SymbolicDim:
        return self

    def expr_key(self) -> Any:
        """Return a hashable form of the expression: equal keys mean equal dimensions."""
        return _expr_key(self)

    # -- where the number leaves --------------------------------------------------------------------------------------

    def __index__(self) -> int:
        return note_number(self, "used as a number, as by range()")

    def __int__(self) -> int:
        return note_number(self, "taken by int()")

    def __float__(self) -> float:
        return float(note_number(self, "turned into a float"))

    def __complex__(self) -> complex:
        return complex(note_number(self, "turned into a complex number"))

    def __hash__(self) -> int:
        return hash(note_number(self, "used as a key, as in a dict, a set or a cache"))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(note_number(self, "put into an array of NumPy"), dtype)

    # -- what is decided by it ----------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        return note_comparison("ne", self, 0)

    def __eq__(self, other: object) -> Any:
        return _compare("eq", self, other)

    def __ne__(self, other: object) -> Any:
        return _compare("ne", self, other)

    def __lt__(self, other: Any) -> Any:
        return _compare("lt", self, other)

    def __le__(self, other: Any) -> Any:
        return _compare("le", self, other)

    def __gt__(self, other: Any) -> Any:
        return _compare("gt", self, other)

    def __ge__(self, other: Any) -> Any:
        return _compare("ge", self, other)

    # -- what stays a size --------------------------------------------------------------------------------------------

    def __pos__(self) -> SymbolicDim:
        return self

    def __neg__(self) -> Any:
        return 0 - self

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def __round__(self, ndigits: Any = None) -> SymbolicDim:
        return self

    def __trunc__(self) -> SymbolicDim:
        return self

    __floor__ = __ceil__ = __trunc__

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        if type(other) is int and 1 <= other <= _LARGEST_POWER and modulo is None:
            return self if other == 1 else self * self ** (other - 1)
        return pow(_number(self, other, "raised to a power"), _plain(other), modulo)

    def __rpow__(self, other: Any) -> Any:
        return other ** _number(self, other, "taken as a power")


_LARGEST_POWER = 4


def _expr_key(dim: Any) -> Any:
    if type(dim) is not SymbolicDim:
        return int(dim)
    head, left, right = dim.expr
    if head == "axis":
        return ("axis", id(left), right)
    return (head, _expr_key(left), _expr_key(right))


def first_size(size: Any) -> Any:
    """Return a size as it is in the first inference; None stays None."""
    return size.first_size if type(size) is SymbolicDim else None if size is None else int(size)


def second_size(size: Any) -> Any:
    """Return a size as it is in the second inference; None stays None."""
    return size.second_size if type(size) is SymbolicDim else first_size(size)


_OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}


def evaluate(size: Any, axis_size: Callable[[SymbolicDim], int]) -> int:
    """Return what a size is where the axes that its formula starts from have other sizes.

    Args:
        size: A size, free or fixed.
        axis_size: Gives the size of a free dimension that is an axis of a tensor.

    Raises:
        ZeroDivisionError: The formula divides by a size that is 0.
    """
    if type(size) is not SymbolicDim:
        return int(size)
    head, left, right = size.expr
    if head == "axis":
        return axis_size(size)
    return int(_OPERATORS[head](evaluate(left, axis_size), evaluate(right, axis_size)))


def large_size(size: Any) -> Any:
    """Return a size as it is when every axis is thousands of times as long as in the second inference."""
    return None if size is None else evaluate(size, lambda axis: axis.second_size * 4096)


def is_size(value: Any) -> bool:
    """Say whether something is a size: a free dimension or a whole number, True and False not counted."""
    return type(value) is SymbolicDim or (isinstance(value, (int, np.integer)) and not isinstance(value, bool))


def _compare(name: str, left: SymbolicDim, right: Any) -> Any:
    if type(right) is not SymbolicDim:
        if isinstance(right, KerasTensor):
            return (
                getattr(KerasTensor, f"__{name}__")(left, right) if name != "eq" else SymbolicTensor.__eq__(left, right)
            )
        if isinstance(right, (bool, np.generic)) or (isinstance(right, float) and right.is_integer()):
            right = int(right)
        if not isinstance(right, (int, float)):
            return NotImplemented
    return note_comparison(name, left, right)


def _plain(value: Any) -> Any:
    return note_number(value, "used as a number") if type(value) is SymbolicDim else value


def _number(size: SymbolicDim, other: Any, what: str) -> int:
    if not isinstance(other, (int, float)):
        raise TypeError(f"a size cannot be {what} with a {type(other).__name__}")
    return note_number(size, what)


def _binary(name: str, function: Any) -> tuple[Any, Any]:
    def forward(self: SymbolicDim, other: Any) -> Any:
        if is_size(other):
            return SymbolicDim(
                function(self.first_size, first_size(other)),
                function(self.second_size, second_size(other)),
                (name, self, other if type(other) is SymbolicDim else int(other)),
            )
        return _with_number(self, other, lambda size: function(size, other))

    def backward(self: SymbolicDim, other: Any) -> Any:
        if is_size(other):
            other = int(other)
            return SymbolicDim(function(other, self.first_size), function(other, self.second_size), (name, other, self))
        return _with_number(self, other, lambda size: function(other, size))

    return forward, backward


def _with_number(self: SymbolicDim, other: Any, function: Any) -> Any:
    if isinstance(other, (bool, float, complex)):
        return function(note_number(self, f"computed with a {type(other).__name__}"))
    return NotImplemented


def _number_alone(what: str, function: Any) -> tuple[Any, Any]:
    """Arithmetic of Python whose result is no size of ONNX."""

    def forward(self: SymbolicDim, other: Any) -> Any:
        if not (is_size(other) or isinstance(other, (bool, float, complex))):
            return NotImplemented
        return function(note_number(self, what), _plain(other))

    def backward(self: SymbolicDim, other: Any) -> Any:
        if not (is_size(other) or isinstance(other, (bool, float, complex))):
            return NotImplemented
        return function(_plain(other), note_number(self, what))

    return forward, backward


for _name, _function in _OPERATORS.items():
    _forward, _backward = _binary(_name, _function)
    setattr(SymbolicDim, f"__{_name}__", _forward)
    setattr(SymbolicDim, f"__r{_name}__", _backward)

for _name, _what, _function in (
    ("truediv", "divided with /", operator.truediv),
    ("lshift", "shifted", operator.lshift),
    ("rshift", "shifted", operator.rshift),
    ("and", "taken bit by bit", operator.and_),
    ("or", "taken bit by bit", operator.or_),
    ("xor", "taken bit by bit", operator.xor),
):
    _forward, _backward = _number_alone(_what, _function)
    setattr(SymbolicDim, f"__{_name}__", _forward)
    setattr(SymbolicDim, f"__r{_name}__", _backward)


def _invert(self: SymbolicDim) -> Any:
    return ~note_number(self, "taken bit by bit")


SymbolicDim.__invert__ = _invert


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
