"""Reading by index: slices, take, gather, top-k, sort."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import KerasTensor

from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.registry import UnsupportedOp, register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim

HIGHEST = np.iinfo(np.int64).max
LOWEST = np.iinfo(np.int64).min


@register_lowering("GetItem")
def getitem(graph: Graph, _: Any, x: Any, key: Any) -> Value:
    """NumPy indexing by integers, slices, Ellipsis, None and one tensor."""
    value = graph.value(x)
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    used = sum(1 for k in keys if k is not None and k is not Ellipsis)
    if Ellipsis not in [k for k in keys if k is None or k is Ellipsis or isinstance(k, (int, slice))]:
        keys.append(Ellipsis)
    where = next(i for i, k in enumerate(keys) if k is Ellipsis)
    keys[where : where + 1] = [slice(None)] * (value.rank - used)
    slices: list[tuple[int, Any, Any, int]] = []
    drops: list[int] = []
    news: list[int] = []
    tensors: list[tuple[int, Any]] = []
    axis = 0
    out_position = 0
    for k in keys:
        if k is None:
            news.append(out_position)
            out_position += 1
            continue
        if isinstance(k, slice):
            part = _slice(k, (value.shape or ())[axis])
            if part is not None:
                slices.append((axis, *part))
            out_position += 1
        elif isinstance(k, (int, np.integer)):
            stop = k + 1 if isinstance(k, SymbolicDim) or k != -1 else HIGHEST
            slices.append((axis, k, stop, 1))
            drops.append(axis)
        else:
            tensors.append((axis, k))
            out_position += 1
        axis += 1
    if tensors:
        return _gather_item(graph, value, slices=slices, drops=drops, tensors=tensors, news=news)
    out = _slice_all(graph, value, slices)
    if drops:
        out.shape = value.shape
        out = graph.squeeze(out, *drops)
    if news:
        out.shape = out.shape or value.shape
        out = graph.unsqueeze(out, *news)
    return out


def _slice(k: slice, size: Any) -> tuple[Any, Any, int] | None:
    step = 1 if k.step is None else int(k.step)
    if any(isinstance(part, (Value, KerasTensor)) and not isinstance(part, SymbolicDim) for part in (k.start, k.stop)):
        return (k.start if k.start is not None else 0, k.stop if k.stop is not None else HIGHEST, step)
    if k.start is None and k.stop is None and step == 1:
        return None
    start = k.start if k.start is not None else (0 if step > 0 else HIGHEST)
    stop = k.stop if k.stop is not None else (HIGHEST if step > 0 else LOWEST)
    if (
        isinstance(size, SymbolicDim)
        and isinstance(stop, SymbolicDim)
        and start == 0
        and step == 1
        and size.expr_key() == stop.expr_key()
    ):
        return None
    return start, stop, step


def _index(graph: Graph, x: Any) -> Value:
    """A slice's end as an int64 vector of length 1."""
    if isinstance(x, Value):
        return graph.reshape(graph.cast(x, "int64"), (1,))
    return graph.dim(x)


def _slice_all(graph: Graph, value: Value, slices: list[tuple[int, Any, Any, int]]) -> Value:
    if not slices:
        return Value(value.name, value.dtype, value.shape, value.const, value.storage_layout, value.name_hint)
    perm = value.storage_layout or tuple(range(value.rank))

    def column(items: list[Any]) -> Value:
        if not any(isinstance(item, (SymbolicDim, Value)) for item in items):
            return graph.ints(*(int(item) for item in items))
        return graph.node(
            "Concat", *[_index(graph, item) for item in items], axis=0, dtype="int64", shape=(len(items),)
        )

    starts, stops = column([s[1] for s in slices]), column([s[2] for s in slices])
    axes, steps = graph.ints(*(perm.index(s[0]) for s in slices)), graph.ints(*(s[3] for s in slices))
    if value.const is not None and all(v.const is not None for v in (starts, stops)):
        index: list[Any] = [slice(None)] * value.rank
        for axis, start, stop, step in slices:
            index[axis] = slice(
                None if start == HIGHEST else int(start), None if stop in (HIGHEST, LOWEST) else int(stop), step
            )
        return graph.const(value.const[tuple(index)], name_hint=value.name_hint)
    names, _ = graph.raw("Slice", [value, starts, stops, axes, steps], attrs={})
    return Value(names[0], value.dtype, None, storage_layout=value.storage_layout)


def _gather_item(
    graph: Graph, value: Value, *, slices: list[Any], drops: list[int], tensors: list[tuple[int, Any]], news: list[int]
) -> Value:
    if len(tensors) != 1 or news:
        raise UnsupportedOp("indexing by several tensors at once")
    axis, key = tensors[0]
    if any(abs(d - axis) > sum(1 for e in drops if min(d, axis) < e < max(d, axis)) + 1 for d in drops):
        raise UnsupportedOp("a number and a tensor as indices with other axes between them")  # NumPy moves such axes
    indices = graph.value(key)
    if indices.dtype == "bool":
        raise UnsupportedOp("indexing by a condition gives a shape that depends on the data")
    out = graph.to_logical(_slice_all(graph, value, slices))
    out = graph.node("Gather", out, graph.cast(indices, "int64"), axis=axis)
    if drops:
        moved = [d if d < axis else d + indices.rank - 1 for d in drops]
        out = graph.node("Squeeze", out, graph.ints(*moved))
    return out


@register_lowering("Take")
def take(graph: Graph, op: Any, x: Any, indices: Any) -> Value:
    """Gather along an axis, or from the flattened tensor; ONNX counts negative indices from the end too."""
    value = graph.value(x)
    if op.axis is None:
        value, axis = graph.reshape(value, (-1,)), 0
    else:
        axis = op.axis % value.rank
    index = graph.value(indices)
    return graph.node(
        "Gather", value, index if index.dtype in {"int32", "int64"} else graph.cast(index, "int64"), axis=axis
    )


@register_lowering("TakeAlongAxis")
def take_along_axis(graph: Graph, op: Any, x: Any, indices: Any) -> Value:
    """Gather one element for each index, other axes in step (broadcast where one has length 1)."""
    value, index = graph.value(x), graph.value(indices, "int64")
    if op.axis is None:
        value, index, axis = graph.reshape(value, (-1,)), graph.reshape(index, (-1,)), 0
        return graph.node("GatherElements", value, index, axis=axis)
    axis = op.axis % value.rank
    shape, want = list(value.shape or ()), list(index.shape or ())
    for a in range(value.rank):
        if a == axis or shape[a] is want[a] or shape[a] == want[a]:
            continue
        if want[a] == 1:
            sizes = [shape[i] if i == a else 1 for i in range(value.rank)]
            index = graph.node("Expand", index, graph.shape_vector(sizes))
        else:
            sizes = [want[i] if i == a else 1 for i in range(value.rank)]
            value = graph.node("Expand", value, graph.shape_vector(sizes), shape=value.shape)
    return graph.node("GatherElements", value, index, axis=axis)


@register_lowering("TopK")
def top_k(graph: Graph, op: Any, x: Any) -> list[Value]:
    """The largest elements of the last axis and their indices."""
    value = _sortable(graph, x)
    values, indices = graph.nodes_out(
        "TopK", value, graph.dim(op.k), dtypes=[value.dtype, "int64"], axis=-1, largest=1, sorted=int(bool(op.sorted))
    )
    return [values, indices]


@register_lowering("InTopK")
def in_top_k(graph: Graph, op: Any, targets: Any, predictions: Any) -> Value:
    """Whether fewer than k classes score higher than the target."""
    from mnistkit.export.native.lowerings.reduction import reduce_node

    scores = graph.to_logical(graph.value(predictions))
    index = graph.unsqueeze(graph.value(targets, "int64"), -1)
    own = graph.node("GatherElements", scores, index, axis=1, shape=(*(scores.shape or ())[:1], 1))
    higher = graph.cast(graph.pointwise("Greater", scores, own, dtype="bool"), "int32")
    count = reduce_node(graph, "ReduceSum", higher, [scores.rank - 1], keepdims=False)
    return graph.pointwise("Less", count, graph.const(op.k, "int32"), dtype="bool")


def _sortable(graph: Graph, x: Any) -> Value:
    """Return a value in a type that onnxruntime sorts."""
    value = graph.value(x)
    work = {"bool": "int32", "int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
    return graph.cast(value, work.get(value.dtype, value.dtype))


@register_lowering("Sort", "Argsort")
def sort(graph: Graph, op: Any, x: Any) -> Value:
    """Sort upwards, equal elements in their order (a TopK of all elements)."""
    value = _sortable(graph, x)
    if op.axis is None:
        value, axis = graph.reshape(value, (-1,)), 0
        count = graph.node("Shape", value, dtype="int64", shape=(1,))
    else:
        axis = op.axis % value.rank
        count = graph.dim((value.shape or ())[axis])
    values, indices = graph.nodes_out(
        "TopK", value, count, dtypes=[value.dtype, "int64"], axis=axis, largest=0, sorted=1
    )
    return values if type(op).__name__ == "Sort" else indices


@register_lowering("Slice")
def slice_(graph: Graph, op: Any, inputs: Any, start_indices: Any) -> Value:
    """A block of a given shape at a given start, moved back inside where it would reach beyond the end."""
    value = graph.to_logical(graph.value(inputs))
    rank = value.rank
    starts, fixed = _starts(graph, start_indices, rank)
    sizes = graph.shape_vector(op.shape)
    if not fixed:
        limit = graph.node("Sub", graph.shape_vector(value.shape), sizes, shape=(rank,))
        starts = graph.node("Max", graph.node("Min", starts, limit, shape=(rank,)), graph.ints(0), shape=(rank,))
    ends = graph.node("Add", starts, sizes, shape=(rank,))
    return graph.node("Slice", value, starts, ends, graph.ints(*range(rank)))


def _starts(graph: Graph, starts: Any, rank: int) -> tuple[Value, bool]:
    """Start indices as an int64 vector, and whether they are known."""
    if isinstance(starts, (list, tuple)):
        if all(isinstance(s, int) for s in starts):
            return graph.shape_vector(list(starts)), True
        parts = [_index(graph, s if isinstance(s, (int, Value)) else graph.value(s)) for s in starts]
        return graph.node("Concat", *parts, axis=0, dtype="int64", shape=(rank,)), False
    value = graph.value(starts, "int64")
    return graph.reshape(value, (rank,)), value.const is not None


@register_lowering("SliceUpdate")
def slice_update(graph: Graph, _: Any, inputs: Any, start_indices: Any, updates: Any) -> Value:
    """Put a block at a start: its elements' indices are counted out and scattered."""
    value, block = graph.to_logical(graph.value(inputs)), graph.to_logical(graph.value(updates))
    block = graph.cast(block, value.dtype)
    rank = value.rank
    starts, _fixed = _starts(graph, start_indices, rank)
    grids = []
    for axis in range(rank):
        size = graph.node("Squeeze", graph.dim((block.shape or ())[axis]), graph.ints(0), shape=())
        start = graph.node("Gather", starts, graph.const(axis, "int64"), axis=0, shape=())
        count = graph.node("Range", graph.const(0, "int64"), size, graph.const(1, "int64"))
        line = graph.reshape(graph.node("Add", count, start), [-1 if a == axis else 1 for a in range(rank)])
        grids.append(
            graph.unsqueeze(graph.node("Expand", line, graph.shape_vector(block.shape), shape=block.shape), -1)
        )
    index = graph.node("Concat", *grids, axis=-1, dtype="int64")
    return graph.node("ScatterND", value, index, block)


@register_lowering("Scatter")
def scatter(graph: Graph, op: Any, indices: Any, values: Any) -> Value:
    """Add values into zeros at indices."""
    updates = graph.to_logical(graph.value(values))
    zeros = graph.node(
        "Expand", graph.const(0, updates.dtype), graph.shape_vector(tuple(op.shape)), shape=tuple(op.shape)
    )
    return graph.node("ScatterND", zeros, graph.value(indices, "int64"), updates, reduction="add")


@register_lowering("ScatterUpdate")
def scatter_update(graph: Graph, op: Any, inputs: Any, indices: Any, updates: Any) -> Value:
    """Replace, add, multiply, or take the extreme at indices."""
    value = graph.to_logical(graph.value(inputs))
    kind = op.reduction
    if kind in {"max", "min"} and graph.opset < 18:  # noqa: PLR2004  opset 18 added them
        raise UnsupportedOp(f"scatter with reduction {kind!r} needs opset 18", opset=18)
    name = {None: None, "add": "add", "mul": "mul", "max": "max", "min": "min"}[kind]
    return graph.node(
        "ScatterND", value, graph.value(indices, "int64"), graph.value(updates, value.dtype), reduction=name
    )
