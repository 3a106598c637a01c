"""Tensors made of sizes and numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.registry import register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim


@register_lowering("Arange")
def arange(graph: Graph, _: Any, start: Any, stop: Any = None, step: Any = None) -> Value:
    """Count from start to stop."""
    if stop is None:
        start, stop = 0, start
    dtype = graph.spec[0].dtype
    work = dtype if dtype in {"int32", "int64", "float32", "float64"} else "float32" if "float" in dtype else "int64"

    def scalar(x: Any) -> Value:
        if isinstance(x, SymbolicDim):
            return graph.cast(graph.node("Squeeze", graph.dim(x), graph.ints(0), shape=()), work)
        value = graph.value(x, work)
        return value if value.rank == 0 else graph.reshape(value, ())

    out = graph.node("Range", scalar(start), scalar(stop), scalar(1 if step is None else step), dtype=work)
    return graph.cast(out, dtype)


def count_up(graph: Graph, size: Any) -> Value:
    """Return the int64 vector 0 … size - 1."""
    if not isinstance(size, SymbolicDim):
        return graph.const(np.arange(int(size), dtype=np.int64), name_hint="positions")
    stop = graph.node("Squeeze", graph.dim(size), graph.ints(0), shape=())
    out = graph.node("Range", graph.const(0, "int64"), stop, graph.const(1, "int64"), dtype="int64")
    out.shape = (size,)
    return out


@register_lowering("Full")
def full(graph: Graph, op: Any, fill_value: Any) -> Value:
    """One value everywhere."""
    shape = (op.shape,) if isinstance(op.shape, int) else tuple(op.shape)
    value = graph.value(fill_value, keras.backend.standardize_dtype(op.dtype))
    return graph.node("Expand", value, graph.shape_vector(shape))


@register_lowering("ZerosLike", "OnesLike", "EmptyLike")
def like(graph: Graph, op: Any, x: Any) -> Value:
    """A constant in the shape of another tensor."""
    value = graph.value(x)
    number = graph.const(int(type(op).__name__ == "OnesLike"), graph.spec[0].dtype)
    return _fill_shape(graph, value, number)


@register_lowering("FullLike")
def full_like(graph: Graph, _: Any, x: Any, fill_value: Any) -> Value:
    """One value in the shape of another tensor."""
    return _fill_shape(graph, graph.value(x), graph.value(fill_value, graph.spec[0].dtype))


def _fill_shape(graph: Graph, value: Value, number: Value) -> Value:
    if value.static:
        return graph.node("Expand", number, graph.ints(*(int(s) for s in value.shape or ())))
    return graph.node("Expand", number, graph.shape_vector(value.shape))


@register_lowering("OneHot")
def one_hot(graph: Graph, op: Any, x: Any) -> Value:
    """Compare with 0 … n-1 along a new axis; a negative index gives zeros everywhere, unlike ONNX' OneHot."""
    value = graph.to_logical(graph.value(x, "int64"))
    rank = value.rank + 1
    axis = op.axis % rank
    classes = np.arange(op.num_classes, dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(rank)])
    hits = graph.node("Equal", graph.unsqueeze(value, axis), graph.const(classes, name_hint="classes"), dtype="bool")
    hits.shape = tuple(graph.spec[0].shape)
    return graph.cast(hits, graph.spec[0].dtype)


@register_lowering("MultiHot")
def multi_hot(graph: Graph, op: Any, inputs: Any) -> Value:
    """Which classes occur along the last axis of the input."""
    from mnistkit.export.native.lowerings.reduction import reduce_node

    value = graph.to_logical(graph.value(inputs, "int64"))
    reduction = 1 if value.rank > 1 else 0
    axis = op.axis % (value.rank + 1)
    classes = np.arange(op.num_classes, dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(value.rank + 1)])
    hits = graph.node("Equal", graph.unsqueeze(value, axis), graph.const(classes, name_hint="classes"), dtype="bool")
    total = reduce_node(graph, "ReduceMax", graph.cast(hits, "int32"), [reduction], keepdims=False)
    return graph.cast(total, graph.spec[0].dtype)
