"""Moving elements around: reshape, transpose, join, split, repeat, pad, roll."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from mnistkit.export.native.backend_behavior import reflects_again, symmetric_padding_repeats_the_edge
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lowerings.elementwise import together
from mnistkit.export.native.registry import UnsupportedOp, register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim

HIGHEST = np.iinfo(np.int64).max


def slice_axis(graph: Graph, x: Value, *, axis: int, start: Any, stop: Any, step: int = 1) -> Value:
    """Slice along one stored-independent logical axis; sizes may be free."""
    stored = axis if x.storage_layout is None else x.storage_layout.index(axis)
    inputs: list[Value | None] = [x, graph.dim(start), graph.dim(stop), graph.ints(stored), graph.ints(step)]
    names, _ = graph.raw("Slice", inputs, attrs={})
    return Value(names[0], x.dtype, None, storage_layout=x.storage_layout)


@register_lowering("Reshape")
def reshape(graph: Graph, op: Any, x: Any) -> Value:
    """Reshape; a pooled (batch, channels) brought back to (batch, 1, 1, channels) is kept channels-first."""
    value = graph.value(x)
    target = op.newshape if isinstance(op.newshape, (tuple, list)) else (op.newshape,)
    spec = graph.spec[0].shape
    # where Keras knows the size by now, say it: one -1 is left for at most one free dimension
    target = tuple(
        spec[i] if size == -1 and not isinstance(spec[i], SymbolicDim) else size for i, size in enumerate(target)
    )
    sizes = [int(size) for size in target[1:-1]]
    if (
        graph.layouts
        and value.const is None
        and value.shape is not None
        and value.rank == 2  # noqa: PLR2004  batch and channels
        and len(target) > 2  # noqa: PLR2004  images
        and all(size == 1 for size in sizes)
        and value.shape[1] == target[-1]
    ):
        axes = range(2, len(target))
        stored = graph.node("Unsqueeze", value, graph.ints(*axes))
        assert stored.name is not None
        return graph.stored(stored.name, value.dtype, tuple(spec), (0, len(target) - 1, *range(1, len(target) - 1)))
    return graph.reshape(value, target)


@register_lowering("Ravel")
def ravel(graph: Graph, _: Any, x: Any) -> Value:
    """Flatten to one axis."""
    return graph.reshape(graph.value(x), (-1,))


@register_lowering("Transpose")
def transpose(graph: Graph, op: Any, x: Any) -> Value:
    """Permute axes; reverse them when none are given."""
    value = graph.value(x)
    return graph.transpose(value, op.axes if op.axes is not None else tuple(reversed(range(value.rank))))


@register_lowering("Swapaxes")
def swapaxes(graph: Graph, op: Any, x: Any) -> Value:
    """Exchange two axes."""
    value = graph.value(x)
    perm = list(range(value.rank))
    a, b = op.axis1 % value.rank, op.axis2 % value.rank
    perm[a], perm[b] = perm[b], perm[a]
    return graph.transpose(value, perm)


@register_lowering("Moveaxis")
def moveaxis(graph: Graph, op: Any, x: Any) -> Value:
    """Move axes to new places."""
    value = graph.value(x)
    sources = [op.source] if isinstance(op.source, int) else list(op.source)
    targets = [op.destination] if isinstance(op.destination, int) else list(op.destination)
    sources, targets = [s % value.rank for s in sources], [t % value.rank for t in targets]
    perm = [axis for axis in range(value.rank) if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        perm.insert(target, source)
    return graph.transpose(value, perm)


@register_lowering("ExpandDims")
def expand_dims(graph: Graph, op: Any, x: Any) -> Value:
    """Insert axes of length 1."""
    value = graph.value(x)
    axes = (op.axis,) if isinstance(op.axis, int) else tuple(op.axis)
    return graph.unsqueeze(value, *axes)


@register_lowering("Squeeze")
def squeeze(graph: Graph, op: Any, x: Any) -> Value:
    """Remove axes of length 1."""
    value = graph.value(x)
    shape = value.shape or ()
    if op.axis is None:
        axes: list[int] = [a for a, size in enumerate(shape) if size == 1 and not isinstance(size, SymbolicDim)]
    else:
        axes = [op.axis] if isinstance(op.axis, int) else list(op.axis)
    return graph.squeeze(value, *axes) if axes else value


@register_lowering("Concatenate")
def concatenate(graph: Graph, op: Any, xs: Any) -> Value:
    """Join along an axis, in the layout of the first value that has one."""
    values = together(graph, *xs)
    axis = op.axis % values[0].rank
    return concat_values(graph, values, axis)


def concat_values(graph: Graph, values: list[Value], axis: int) -> Value:
    """Join values of one type along a non-negative axis."""
    if len(values) == 1:
        return values[0]
    perm = next((v.storage_layout for v in values if v.storage_layout is not None), None)
    if perm is None:
        return graph.node("Concat", *values, axis=axis)
    stored: list[Value | None] = [graph.layout(v, perm) for v in values]
    names, _ = graph.raw("Concat", stored, attrs={"axis": perm.index(axis)})
    return Value(names[0], values[0].dtype, None, storage_layout=perm)


@register_lowering("Stack")
def stack(graph: Graph, op: Any, x: Any) -> Value:
    """Join along a new axis."""
    values = together(graph, *x)
    axis = op.axis % (values[0].rank + 1)
    return graph.node("Concat", *[graph.unsqueeze(v, axis) for v in values], axis=axis)


@register_lowering("Unstack")
def unstack(graph: Graph, op: Any, x: Any) -> list[Value]:
    """Take apart along an axis."""
    value = graph.value(x)
    axis = op.axis % value.rank
    count = len(graph.spec)
    parts = graph.nodes_out("Split", value, graph.ints(*[1] * count), dtypes=[value.dtype] * count, axis=axis)
    return [graph.node("Squeeze", part, graph.ints(axis)) for part in parts]


@register_lowering("Split", "ArraySplit", "Hsplit", "Vsplit", "Dsplit")
def split(graph: Graph, op: Any, x: Any) -> list[Value]:
    """Split into equal parts, or at indices."""
    value = graph.value(x)
    axis = {"Hsplit": 1 if value.rank > 1 else 0, "Vsplit": 0, "Dsplit": 2}.get(type(op).__name__)
    axis = (op.axis if axis is None else axis) % value.rank
    sizes = [spec.shape[axis] for spec in graph.spec]
    if len(sizes) == 1:
        return [value]
    if any(isinstance(size, SymbolicDim) for size in sizes):
        return _split_free(graph, value, op.indices_or_sections, axis=axis)
    stored = axis if value.storage_layout is None else value.storage_layout.index(axis)
    names, _ = graph.raw("Split", [value, graph.shape_vector(sizes)], outputs=len(sizes), attrs={"axis": stored})
    return [Value(name, value.dtype, None, storage_layout=value.storage_layout) for name in names]


def _split_free(graph: Graph, value: Value, sections: Any, *, axis: int) -> list[Value]:
    """Slices of an axis of free size; the first parts of uneven ones are one longer."""
    size = (value.shape or ())[axis]
    if isinstance(sections, int):
        ends = [0]
        for part in range(sections):
            ends.append(ends[-1] + (size + (sections - 1 - part)) // sections)
    else:
        ends = [0, *(int(index) for index in sections), HIGHEST]
    return [slice_axis(graph, value, axis=axis, start=a, stop=b) for a, b in itertools.pairwise(ends)]


@register_lowering("Flip", "Fliplr", "Flipud")
def flip(graph: Graph, op: Any, x: Any) -> Value:
    """Reverse axes."""
    value = graph.value(x)
    axis = {"Fliplr": 1, "Flipud": 0}.get(type(op).__name__, getattr(op, "axis", None))
    axes = list(range(value.rank)) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    axes = [a % value.rank for a in axes]
    lowest = np.iinfo(np.int64).min
    return graph.node(
        "Slice",
        value,
        graph.ints(*[-1] * len(axes)),
        graph.ints(*[lowest] * len(axes)),
        graph.ints(*axes),
        graph.ints(*[-1] * len(axes)),
        shape=value.shape,
    )


@register_lowering("Roll")
def roll(graph: Graph, op: Any, x: Any) -> Value:
    """Shift around the end: the last ``shift`` elements go first."""
    value = graph.to_logical(graph.value(x))
    if op.axis is None:
        flat = graph.reshape(value, (-1,))
        total = math.prod(value.shape or ())
        return graph.reshape(_roll_axis(graph, flat, shift=op.shift, axis=0, size=total), value.shape or ())
    axes = [op.axis] if isinstance(op.axis, int) else list(op.axis)
    shifts = [op.shift] * len(axes) if isinstance(op.shift, int) else list(op.shift)
    for axis, shift in zip(axes, shifts, strict=True):
        value = _roll_axis(
            graph, value, shift=shift, axis=axis % value.rank, size=(value.shape or ())[axis % value.rank]
        )
    return value


def _roll_axis(graph: Graph, value: Value, *, shift: Any, axis: int, size: Any) -> Value:
    if not isinstance(shift, int):
        raise UnsupportedOp("roll by a computed shift")
    cut = (
        (size - shift) % size
        if isinstance(size, SymbolicDim) or isinstance(shift, SymbolicDim)
        else (-shift) % max(size, 1)
    )
    if not isinstance(cut, SymbolicDim) and cut == 0:
        return value
    head = slice_axis(graph, value, axis=axis, start=cut, stop=np.iinfo(np.int64).max)
    tail = slice_axis(graph, value, axis=axis, start=0, stop=cut)
    return graph.node("Concat", head, tail, axis=axis, shape=value.shape)


@register_lowering("Tile")
def tile(graph: Graph, op: Any, x: Any) -> Value:
    """Repeat whole tensors along axes."""
    value = graph.value(x)
    repeats = [op.repeats] if isinstance(op.repeats, int) else list(op.repeats)
    if len(repeats) > value.rank:
        value = graph.unsqueeze(value, *range(len(repeats) - value.rank))
    repeats = [1] * (value.rank - len(repeats)) + repeats
    return graph.node("Tile", value, graph.shape_vector(repeats))


@register_lowering("Repeat")
def repeat(graph: Graph, op: Any, x: Any) -> Value:
    """Repeat each element along an axis."""
    value = graph.value(x)
    repeats = op.repeats
    if not isinstance(repeats, (int, list, tuple, np.ndarray)):
        raise UnsupportedOp("repeat by a computed number")
    if op.axis is None:
        value, axis = graph.reshape(value, (-1,)), 0
        size: Any = math.prod(graph.value(x).shape or ())
    else:
        axis = op.axis % value.rank
        size = (value.shape or ())[axis]
    if not isinstance(repeats, int):
        counts = [int(r) for r in np.asarray(repeats).ravel()]
        if len(counts) == 1:
            repeats = counts[0]
        else:
            index = np.repeat(np.arange(len(counts)), counts)
            return graph.node("Gather", value, graph.const(index, "int64", name_hint="indices"), axis=axis)
    shape = list(value.shape or ())
    wide = graph.unsqueeze(value, axis + 1)
    tiles: list[Any] = [1] * (len(shape) + 1)
    tiles[axis + 1] = repeats
    tiled = graph.node("Tile", wide, graph.shape_vector(tiles))
    final = [*shape[:axis], size * repeats, *shape[axis + 1 :]]
    if isinstance(final[axis], SymbolicDim) and not any(
        isinstance(s, SymbolicDim) for i, s in enumerate(final) if i != axis
    ):
        final[axis] = -1
    return graph.reshape(tiled, tuple(final))


@register_lowering("BroadcastTo")
def broadcast_to(graph: Graph, op: Any, x: Any) -> Value:
    """Repeat axes of length 1."""
    value = graph.value(x)
    shape = tuple(op.shape)
    if value.shape is not None and _same(value.shape, shape):
        return value
    return graph.node("Expand", value, graph.shape_vector([1 if s == -1 else s for s in shape]))


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    if len(a) != len(b):
        return False
    return all(
        (
            x.expr_key() == y.expr_key()
            if isinstance(x, SymbolicDim) and isinstance(y, SymbolicDim)
            else not isinstance(x, SymbolicDim) and x == y
        )
        for x, y in zip(a, b, strict=True)
    )


@register_lowering("Pad")
def pad(graph: Graph, op: Any, x: Any, constant_values: Any = None) -> Value:
    """Pad with a constant, the edge, or a reflection."""
    value = graph.value(x)
    widths = list(op.pad_width)
    if len(widths) == 1:
        widths = widths * value.rank
    return pad_value(graph, value, widths, mode=op.mode, constant=constant_values)


def pad_value(graph: Graph, value: Value, widths: list[Any], *, mode: str = "constant", constant: Any = None) -> Value:
    """Pad every axis by (before, after), in the value's layout."""
    perm = value.storage_layout or tuple(range(value.rank))
    pads = [widths[axis][0] for axis in perm] + [widths[axis][1] for axis in perm]
    if not any(isinstance(p, SymbolicDim) or int(p) for p in pads):
        return value
    given = value.dtype
    if given == "bool":
        value = graph.cast(value, "int32")
    inputs: list[Value | None] = [value, graph.shape_vector(pads)]
    if mode == "constant" and constant is not None:
        inputs.append(graph.to_logical(graph.value(constant, value.dtype)))
    if mode == "symmetric" and symmetric_padding_repeats_the_edge():
        mode = "edge"
    if mode in {"reflect", "symmetric"} and reflects_again() and _may_be_too_long(value, widths, mode=mode):
        return graph.cast(_reflected_again(graph, value, widths, mode=mode), given)
    if mode == "symmetric":
        return graph.cast(_symmetric(graph, value, widths), given)
    names, _ = graph.raw("Pad", inputs, attrs={"mode": mode})
    return graph.cast(Value(names[0], value.dtype, None, storage_layout=value.storage_layout), given)


def _may_be_too_long(value: Value, widths: list[Any], *, mode: str) -> bool:
    """Say whether a reflection can be longer than its axis, counted without the edge where that is not repeated."""
    assert value.shape is not None
    edge = 0 if mode == "symmetric" else 1
    return any(
        any(map(_is_padded, (before, after)))
        and (isinstance(size, SymbolicDim) or any(int(width) > int(size) - edge for width in (before, after)))
        for size, (before, after) in zip(value.shape, widths, strict=True)
    )


def _is_padded(width: Any) -> bool:
    return isinstance(width, SymbolicDim) or int(width) > 0


def _reflected_again(graph: Graph, value: Value, widths: list[Any], *, mode: str) -> Value:
    """Reflect by index: back and forth, as often as the padding needs."""
    value = graph.to_logical(value)
    shape = value.shape
    assert shape is not None
    one, two = graph.ints(1), graph.ints(2)
    for axis, (before, after) in enumerate(widths):
        if not any(map(_is_padded, (before, after))):
            continue
        size = graph.dim(shape[axis])
        first, end = graph.node("Neg", graph.dim(before)), graph.node("Add", size, graph.dim(after))
        scalars = [graph.node("Squeeze", x, graph.ints(0), shape=()) for x in (first, end, one)]
        places = graph.node("Range", *scalars, shape=(None,))
        last = graph.node("Sub", size, one)
        if mode == "symmetric":
            turn = graph.node("Mod", places, graph.node("Mul", size, two))
            back = graph.node("Sub", graph.node("Sub", graph.node("Mul", size, two), one), turn)
            index = graph.node("Min", turn, back)
        else:
            turn = graph.node("Mod", places, graph.node("Max", graph.node("Mul", last, two), one))
            index = graph.node("Sub", last, graph.node("Abs", graph.node("Sub", last, turn)))
        value = graph.node("Gather", value, index, axis=axis)
    return value


def _symmetric(graph: Graph, value: Value, widths: list[Any]) -> Value:
    """Reflection that repeats the edge: slices, reversed, joined to both ends (ONNX has no such mode)."""
    value = graph.to_logical(value)
    shape = value.shape
    lowest = np.iinfo(np.int64).min
    for axis, (before, after) in enumerate(widths):
        if not before and not after:
            continue
        parts = [value]
        if before:
            start, stop = graph.ints(before - 1), graph.ints(lowest)
            parts.insert(0, graph.node("Slice", value, start, stop, graph.ints(axis), graph.ints(-1)))
        if after:
            start, stop = graph.ints(-1), graph.ints(-after - 1)
            parts.append(graph.node("Slice", value, start, stop, graph.ints(axis), graph.ints(-1)))
        value = graph.node("Concat", *parts, axis=axis, shape=shape)
    return value


@register_lowering("Tril", "Triu")
def triangle(graph: Graph, op: Any, x: Any) -> Value:
    """Keep the elements below or above a diagonal."""
    value = graph.value(x)
    given = value.dtype
    work = given if given in {"float32", "float64", "int64"} else "float32" if "float" in given else "int64"
    out = graph.node(
        "Trilu",
        graph.cast(value, work),
        graph.const(op.k, "int64", name_hint="k"),
        upper=int(type(op).__name__ == "Triu"),
    )
    return graph.cast(out, given)


@register_lowering("DepthToSpace", "SpaceToDepth")
def depth_space(graph: Graph, op: Any, x: Any) -> Value:
    """Exchange channels for pixels in blocks, block index first in the channels (ONNX' ``DCR`` order)."""
    value = graph.value(x)
    last = op.data_format == "channels_last"
    perm = (0, 3, 1, 2)
    stored = graph.layout(value, perm) if last else graph.to_logical(value)
    attrs: dict[str, Any] = {"blocksize": int(op.block_size)}
    if type(op).__name__ == "DepthToSpace":
        attrs["mode"] = "DCR"
    names, _ = graph.raw(type(op).__name__, [stored], attrs=attrs)
    return graph.stored(names[0], value.dtype, tuple(graph.spec[0].shape), perm if last else None)
