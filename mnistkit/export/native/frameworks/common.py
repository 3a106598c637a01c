"""What the tables of several frameworks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from mnistkit.export.native.registry import UnsupportedOp

Functions = dict[str, Callable[..., Any]]


def random_refusal(call: str) -> UnsupportedOp:
    """Return the refusal of a function that draws random numbers: no file could be held against those."""
    return UnsupportedOp(
        f"it draws random numbers at inference ({call}), and no file can be checked against those; "
        "draw them only when training is True and return the mean otherwise, or export a model that ends before it",
        is_final=True,
    )


def refuse_random(call: str) -> Callable[..., Any]:
    """Return a function that refuses."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise random_refusal(call)

    return refuse


def of_ops(*names: str, **renamed: str) -> Functions:
    """Return functions of ``keras.ops`` that have the same arguments, by the framework's name.

    A function that this version of Keras lacks is left out.
    """
    pairs = {**{name: name for name in names}, **renamed}
    return {own: getattr(ops, name) for own, name in pairs.items() if hasattr(ops, name)}


UNARY = of_ops(
    "abs", "ceil", "cos", "cosh", "erf", "erfinv", "exp", "exp2", "expm1", "floor", "isfinite", "isinf", "isnan", "log",
    "log10", "log1p", "log2", "logical_not", "negative", "reciprocal", "relu", "relu6", "round", "rsqrt", "selu",
    "sigmoid", "sign", "silu", "sin", "sinh", "softsign", "sqrt", "square", "tan", "tanh", "trunc",
    acos="arccos", acosh="arccosh", asin="arcsin", asinh="arcsinh", atan="arctan", atanh="arctanh",
)  # fmt: skip
"""Of one tensor, under the names that most frameworks have for them."""

BINARY = of_ops(
    "equal", "floor_divide", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or",
    "logical_xor", "matmul", "maximum", "minimum", "multiply", "not_equal", atan2="arctan2", pow="power",
)  # fmt: skip
"""Of two tensors."""


def is_tensor(x: Any) -> bool:
    """Say whether something has a shape of its own: a tensor, a variable or an array, and no number or list."""
    return hasattr(x, "shape") and not isinstance(x, int)


def rank(x: Any) -> int:
    """Return the number of axes."""
    return len(x.shape)


def count(x: Any, axis: Any) -> Any:
    """Return how many elements a reduction over some axes (None for all) takes together."""
    axes = range(rank(x)) if axis is None else axis if isinstance(axis, (list, tuple)) else [axis]
    return math.prod(x.shape[a] for a in axes)


def variance(x: Any, axis: Any, *, keepdims: bool, correction: int = 0) -> Any:
    """Return the variance, with the sum divided by the number of elements less ``correction``."""
    squares = ops.sum(ops.square(x - ops.mean(x, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims)
    return squares / ops.cast(count(x, axis) - correction, x.dtype)


def pieces(x: Any, sizes: Sequence[Any], axis: int) -> list[Any]:
    """Cut a tensor along an axis into pieces of the given sizes."""
    start: Any = 0
    found = []
    for size in sizes:
        key = [slice(None)] * rank(x)
        key[axis] = slice(start, start + size)
        found.append(x[tuple(key)])
        start = start + size
    return found


def each(x: Any, axis: int) -> list[Any]:
    """Return every element along an axis of known length.

    Raises:
        UnsupportedOp: Its length is free.
    """
    length = x.shape[axis]
    if type(length) is not int:
        raise UnsupportedOp("it takes apart an axis whose length is free; give that axis a fixed size")
    return [ops.take(x, place, axis=axis) for place in range(length)]


def cast_if_integer(x: Any, dtype: str) -> Any:
    """Return a tensor of whole numbers or truth values in another type."""
    return ops.cast(x, dtype) if "int" in x.dtype or x.dtype == "bool" else x


def as_type(x: Any, dtype: Any) -> Any:
    """Return a tensor in the type that a framework's own type stands for; None leaves it as it is."""
    return x if dtype is None else ops.cast(x, keras.backend.standardize_dtype(dtype))


def clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    """Limit a tensor on one side or both; None limits nothing."""
    x = x if min is None else ops.maximum(x, min)
    return x if max is None else ops.minimum(x, max)


def sum_of(tensors: Sequence[Any]) -> Any:
    """Add tensors up."""
    total = tensors[0]
    for other in tensors[1:]:
        total = ops.add(total, other)
    return total
