"""What several steps ask of a plane ``[h, w]``: sums, windows, connected cells, the box around its ink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picture_steps.graph_builder import GraphBuilder
from picture_steps.resampling import positions, size_of

if TYPE_CHECKING:
    from picture_steps.graph_builder import Value


def mean(w: GraphBuilder, plane: Value) -> Value:
    """A scalar."""
    return w.ReduceMean(plane, keepdims=0)


def total(w: GraphBuilder, plane: Value) -> Value:
    """A scalar."""
    return w.ReduceSum(plane, keepdims=0)


def pool(w: GraphBuilder, plane: Value, kind: str, size: int, across: int | None = None) -> Value:
    """A pooling of a ``[h, w]`` plane at its own resolution; the window is cut at the borders, not padded."""
    across = size if across is None else across
    pads = [size // 2, across // 2, size // 2, across // 2]
    more = {"count_include_pad": 0} if kind == "AveragePool" else {}
    four = w.Unsqueeze(plane, w.ints(0, 1))
    return w.Squeeze(w.op(kind, four, kernel_shape=[size, across], pads=pads, strides=[1, 1], **more), w.ints(0, 1))


def opening(w: GraphBuilder, plane: Value, length: int, *, axis: int) -> Value:
    """The plane without what is shorter than ``length`` along an axis: the minimum, then the maximum, over a window."""
    return _extreme(w, _extreme(w, plane, "Min", length, axis=axis), "Max", length, axis=axis)


def _extreme(w: GraphBuilder, plane: Value, kind: str, length: int, *, axis: int) -> Value:
    """Minimum or maximum over a long window, cut at the borders: each step doubles the window, so few are needed."""
    before, after = ([0, 0] for _ in range(2))
    before[axis] = after[axis] = length // 2
    outside = w.constant(3e38 if kind == "Min" else -3e38)
    spread, window = w.Pad(plane, w.ints(*before, *after), outside), 1
    while window < length:
        step = min(window, length - window)
        first = w.Slice(spread, w.ints(0), w.ints(-step), w.ints(axis))
        last = w.Slice(spread, w.ints(step), w.ints(1 << 30), w.ints(axis))
        spread, window = w.op(kind, first, last), window + step
    return spread


def ink_level(w: GraphBuilder, lifted: Value) -> Value:
    """The level of full ink: a mean that counts a value by its cube, so neither paper nor one hot pixel decides."""
    return w.Div(total(w, w.Pow(lifted, 4)), w.Max(total(w, w.Pow(lifted, 3)), 1e-12))


def stroke_width(w: GraphBuilder, ink: Value) -> Value:
    """Twice the area by the outline, in pixels; the outline of soft ink is its total variation."""
    here = w.ints(0, 0)
    padded = w.Pad(ink, w.ints(1, 1, 1, 1))
    inner = w.Slice(padded, here, w.ints(-1, -1), w.ints(0, 1))
    down = w.Sub(w.Slice(padded, w.ints(1, 0), w.ints(1 << 30, -1), w.ints(0, 1)), inner)
    right = w.Sub(w.Slice(padded, w.ints(0, 1), w.ints(-1, 1 << 30), w.ints(0, 1)), inner)
    outline = total(w, w.Sqrt(w.Add(w.Mul(down, down), w.Mul(right, right))))
    return w.Div(w.Mul(total(w, ink), 2), w.Max(outline, 1e-6))


def within(w: GraphBuilder, n: Value, margin: int) -> Value:
    """1 where an index lies at least ``margin`` from both ends, else 0: float32 ``[n]``."""
    index = positions(w, n)
    inside = w.And(w.GreaterOrEqual(index, margin), w.Less(index, w.Sub(w.Cast(n, to=1), margin)))
    return w.Cast(inside, to=1)


def spread_over(w: GraphBuilder, start: Value, ground: Value) -> Value:
    """Spread the values of ``start`` over all of ``ground`` (0 or 1) connected with them; the largest wins."""
    from onnx import TensorProto, helper

    name = f"walk{len(w.nodes)}_"
    start, ground = w.Unsqueeze(start, w.ints(0, 1)), w.Unsqueeze(ground, w.ints(0, 1))
    b = GraphBuilder(name)
    here = f"{name}in"
    for step in range(8):  # several steps for one question whether anything moved
        grown = b.MaxPool(here, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
        here = b.op("Mul", grown, ground, name=f"{name}out" if step == 7 else None)
    moved = b.Cast(b.Greater(b.ReduceMax(b.Sub(f"{name}out", f"{name}in"), keepdims=0), 0), to=9)
    b.op("Identity", moved, name=f"{name}more")
    body = helper.make_graph(
        b.nodes,
        "walk",
        [
            helper.make_tensor_value_info(f"{name}i", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"{name}go", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"{name}in", TensorProto.FLOAT, [1, 1, None, None]),
        ],
        [
            helper.make_tensor_value_info(f"{name}more", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"{name}out", TensorProto.FLOAT, [1, 1, None, None]),
        ],
        b.initializers,
    )
    return w.Squeeze(w.Loop(w.constant(200, "int64"), w.constant(True, "bool"), start, body=body), w.ints(0, 1))


def extent(w: GraphBuilder, foreground: Value, axis: int) -> tuple[Value, Value]:
    """First and one past the last row (axis 0) or column (axis 1) with ink, as float32 scalars."""
    inked = w.Greater(w.ReduceMax(foreground, axes=[1 - axis], keepdims=0), 0.1)
    n = size_of(w, foreground, axis)
    index = positions(w, n)
    first = w.ReduceMin(w.Where(inked, index, w.Cast(n, to=1)), keepdims=0)
    last = w.ReduceMax(w.Where(inked, w.Add(index, 1), 0), keepdims=0)
    return first, last


def longest_side(w: GraphBuilder, foreground: Value) -> Value:
    """Of the box around the ink, in pixels, at least 1."""
    (top, bottom), (left, right) = extent(w, foreground, 0), extent(w, foreground, 1)
    return w.Max(w.Max(w.Sub(bottom, top), w.Sub(right, left)), 1)
