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
    attrs: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    if op.padding == "same" and type(op).__name__ == "AveragePool" and repeats_border():
        pads = _uneven(sizes, kernel=kernel, strides=strides)
        if pads is not None:
            whole = [0, 0, *(p[0] for p in pads), 0, 0, *(p[1] for p in pads)]
            stored = Value(graph.use(enter(graph, x, last=last)), x.dtype)
            padded = graph.node("Pad", stored, graph.ints(*whole), mode="edge")
            names, _ = graph.raw("AveragePool", [padded], attrs=attrs)
            return graph.cast(leave(graph, names[0], x, last=last), given)
    attrs |= padding_attributes(op.padding, sizes, kernel=kernel, strides=strides, dilations=[1] * count)
    names, _ = graph.raw(type(op).__name__, [enter(graph, x, last=last)], attrs=attrs)
    return graph.cast(leave(graph, names[0], x, last=last), given)


@functools.cache
def repeats_border() -> bool:
    """Ask Keras how it averages over uneven ``same`` padding: real elements only, or with the border repeated."""
    line = np.asarray([0.0, 0.0, 0.0, 1.0], np.float32).reshape(1, 4, 1)
    mean = keras.ops.average_pool(line, 3, strides=2, padding="same", data_format="channels_last")
    return float(keras.ops.convert_to_numpy(mean)[0, 1, 0]) > 0.6  # noqa: PLR2004  1/2 or 2/3


def _uneven(sizes: list[Any], *, kernel: list[int], strides: list[int]) -> list[tuple[int, int]] | None:
    """Return the paddings when one of them is uneven; else None."""
    pads = []
    for size, window, stride in zip(sizes, kernel, strides, strict=True):
        if isinstance(size, SymbolicDim) and stride > 1:
            raise UnsupportedOp(
                "this backend averages over 'same' padding differently from size to size; fix the height and width, "
                "use padding='valid', or export under another backend"
            )
        total = max(window - 1 if stride == 1 else (-(-size // stride) - 1) * stride + window - size, 0)
        pads.append((total // 2, total - total // 2))
    return pads if any(a != b for a, b in pads) else None


@register_lowering("AdaptiveMaxPool", "AdaptiveAveragePool")
def adaptive_pool(graph: Graph, op: Any, inputs: Any) -> Value:
    """Window ``i`` of ``n`` covers ``floor(i * size / n)`` to ``ceil((i + 1) * size / n)``, axis by axis."""
    x = graph.value(inputs)
    last = channels_last(op.data_format)
    count = x.rank - 2
    targets = spread(op.output_size, count)
    assert x.shape is not None
    first = 1 if last else 2
    average = "Average" in type(op).__name__
    out = graph.to_logical(x)
    for axis, target in zip(range(first, first + count), targets, strict=True):
        size = x.shape[axis]
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
    return out


def _reduce_keep(graph: Graph, x: Value, axis: int, *, average: bool) -> Value:
    from mnistkit.export.native.lowerings.reduction import reduce_node

    return reduce_node(graph, "ReduceMean" if average else "ReduceMax", x, [axis], keepdims=True)
