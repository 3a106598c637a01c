"""Pooling: windows, and windows that adapt to the output size."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lowerings.convolution import channels_last, enter, leave, padding_attributes, spread
from mnistkit.export.native.lowerings.elementwise import is_float
from mnistkit.export.native.registry import UnsupportedOp, register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim


@register_lowering("MaxPool", "AveragePool")
def pool(graph: Graph, op: Any, inputs: Any) -> Value:
    """Window maximum or average; an average over ``same`` padding counts the real elements only, in ONNX too."""
    x = graph.value(inputs)
    given = x.dtype
    if not is_float(x.dtype):
        x = graph.cast(x, "float32")
    last = channels_last(op.data_format)
    count = x.rank - 2
    kernel = spread(op.pool_size, count)
    strides = kernel if op.strides is None else spread(op.strides, count)
    assert x.shape is not None
    sizes = list(x.shape[1:-1] if last else x.shape[2:])
    windows: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    if op.padding == "same":
        x = _without_rest(graph, x, sizes, kernel=kernel, strides=strides, first=1 if last else 2)
    repeated: Value | None = None
    uneven: bool | Value = False
    if op.padding == "same" and type(op).__name__ == "AveragePool" and repeats_border():
        totals = [_total_padding(graph, *axis) for axis in zip(sizes, kernel, strides, strict=True)]
        uneven = _any_odd(graph, totals)
        if uneven is not False:
            repeated = _average_with_border(graph, x, totals, windows, last=last)
            if uneven is True:
                return graph.cast(repeated, given)
    attrs = windows | padding_attributes(op.padding, sizes, kernel=kernel, strides=strides, dilations=[1] * count)
    names, _ = graph.raw(type(op).__name__, [enter(graph, x, last=last)], attrs=attrs)
    out = leave(graph, names[0], x, last=last)
    if repeated is not None:
        out = graph.pointwise("Where", uneven, repeated, out, dtype=out.dtype)
    return graph.cast(out, given)


def _without_rest(
    graph: Graph, x: Value, sizes: list[Any], *, kernel: list[int], strides: list[int], first: int
) -> Value:
    """Cut off what is behind the last window, where windows are shorter than their stride and the size is free.

    onnxruntime works the padding out by itself there, and refuses the negative one of such sizes.
    """
    for axis, (size, window, stride) in enumerate(zip(sizes, kernel, strides, strict=True), first):
        if isinstance(size, SymbolicDim) and window < stride:
            rest = graph.node("Min", graph.dim(_beyond(size, window, stride)), graph.ints(0))
            end = graph.node("Add", graph.dim(size), rest)
            x = graph.node("Slice", x, graph.ints(0), end, graph.ints(axis), shape=x.shape)
    return x


@functools.cache
def repeats_border() -> bool:
    """Ask Keras how it averages over uneven ``same`` padding: real elements only, or with the border repeated."""
    line = np.asarray([0.0, 0.0, 0.0, 1.0], np.float32).reshape(1, 4, 1)
    mean = keras.ops.average_pool(line, 3, strides=2, padding="same", data_format="channels_last")
    return float(keras.ops.convert_to_numpy(mean)[0, 1, 0]) > 0.6  # noqa: PLR2004  1/2 or 2/3


def _beyond(size: Any, window: int, stride: int) -> Any:
    """Return how far the last window of ``same`` padding reaches beyond the end; negative where it ends before."""
    return -size % stride + window - stride


def _total_padding(graph: Graph, size: Any, window: int, stride: int) -> int | Value:
    """Return how many elements ``same`` padding adds to an axis; a value of shape (1,) where the size decides it."""
    if stride == 1:
        return window - 1
    total = _beyond(size, window, stride)
    return graph.node("Max", graph.dim(total), graph.ints(0)) if isinstance(size, SymbolicDim) else max(total, 0)


def _any_odd(graph: Graph, totals: list[int | Value]) -> bool | Value:
    """Return whether the two sides of an axis differ: known, or a truth value of shape (1,)."""
    if any(isinstance(total, int) and total % 2 for total in totals):
        return True
    odd: bool | Value = False
    for total in totals:
        if isinstance(total, Value):
            here = graph.node("Equal", graph.node("Mod", total, graph.ints(2)), graph.ints(1), dtype="bool", shape=(1,))
            odd = here if odd is False else graph.node("Or", odd, here, shape=(1,))
    return odd


def _average_with_border(
    graph: Graph, x: Value, totals: list[int | Value], windows: dict[str, Any], *, last: bool
) -> Value:
    """Average over windows of an array whose border elements are repeated; the larger half goes after."""
    before = [
        graph.node("Div", total, graph.ints(2)) if isinstance(total, Value) else graph.ints(total // 2)
        for total in totals
    ]
    after = [
        graph.node("Sub", total if isinstance(total, Value) else graph.ints(total), half)
        for total, half in zip(totals, before, strict=True)
    ]
    pads = graph.node("Concat", graph.ints(0, 0), *before, graph.ints(0, 0), *after, axis=0)
    padded = graph.node("Pad", Value(graph.use(enter(graph, x, last=last)), x.dtype), pads, mode="edge")
    names, _ = graph.raw("AveragePool", [padded], attrs=windows)
    return leave(graph, names[0], x, last=last)


@register_lowering("AdaptiveMaxPool", "AdaptiveAveragePool")
def adaptive_pool(graph: Graph, op: Any, inputs: Any) -> Value:
    """Window ``i`` of ``n`` covers ``floor(i * size / n)`` to ``ceil((i + 1) * size / n)``, axis by axis."""
    x = graph.value(inputs)
    last = channels_last(op.data_format)
    count = x.rank - 2
    targets = spread(op.output_size, count)
    first = 1 if last else 2
    average = "Average" in type(op).__name__
    if not is_float(x.dtype):
        if average:  # under JAX alone, which sums bytes up as bytes
            raise UnsupportedOp(f"adaptive averages of {x.dtype}; bring it to float32 before, by ops.cast")
        x = graph.cast(x, "int64")
    out = graph.to_logical(x)
    sizes = x.shape
    assert sizes is not None
    for axis, target in zip(range(first, first + count), targets, strict=True):
        size = sizes[axis]
        if isinstance(size, SymbolicDim):
            if target != 1:
                raise UnsupportedOp("adaptive pooling of a free size to more than one element")
            out = _reduce_keep(graph, out, axis, average=average)
            continue
        parts = []
        for i in range(target):
            start, stop = i * size // target, -(-(i + 1) * size // target)
            window = graph.node("Slice", out, graph.ints(start), graph.ints(stop), graph.ints(axis))
            parts.append(_reduce_keep(graph, window, axis, average=average))
        out = parts[0] if target == 1 else graph.node("Concat", *parts, axis=axis)
    out.shape = tuple(graph.spec[0].shape)
    return graph.cast(out, graph.spec[0].dtype)


def _reduce_keep(graph: Graph, x: Value, axis: int, *, average: bool) -> Value:
    from mnistkit.export.native.lowerings.reduction import reduce_node

    return reduce_node(graph, "ReduceMean" if average else "ReduceMax", x, [axis], keepdims=True)
