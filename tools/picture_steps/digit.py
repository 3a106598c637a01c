"""Step 7, for pictures of one digit: the largest connected ink and what belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picture_steps.planes import extent, pool, spread_over
from picture_steps.resampling import both_ways, indices, on_grid, positions, size_of

if TYPE_CHECKING:
    import onnx

    from picture_steps.graph_builder import GraphBuilder, Size, Value

CELL = 4  # connected ink is followed on a grid this much coarser


def isolate_digit(w: GraphBuilder, foreground: Value, confident: Value, size: Size) -> Value:
    """The largest connected component of confident ink and what belongs to it; dust and other marks are dropped."""
    mass, *back = on_grid(w, confident, size, CELL)
    rows, columns = size_of(w, mass, 0), size_of(w, mass, 1)
    ground = w.Cast(w.Greater(pool(w, mass, "MaxPool", 3), 0.05), to=1)  # strokes one cell apart are one component
    count = w.Mul(rows, columns)
    index = w.Reshape(w.Add(indices(w, count), w.constant(1, "int64")), w.Shape(mass))
    label = w.Cast(spread_over(w, w.Mul(w.Cast(index, to=1), ground), ground), to=7)
    flat = w.Reshape(label, w.ints(-1))
    zeros = w.ConstantOfShape(w.Reshape(w.Add(count, w.constant(1, "int64")), w.ints(1)), value=_zero())
    sums = w.ScatterElements(zeros, flat, w.Reshape(mass, w.ints(-1)), reduction="add")
    # What runs into the border is rather the edge of the paper or a finger than the digit.
    border = w.Sub(1, _inner(w, rows, columns))
    touching = w.ScatterElements(zeros, flat, w.Reshape(w.Mul(border, ground), w.ints(-1)), reduction="add")
    score = w.Where(w.Greater(touching, 0), w.Mul(sums, 0.25), sums)
    score = w.Mul(
        score,
        w.Cast(w.Greater(indices(w, w.Add(count, w.constant(1, "int64"))), w.constant(0, "int64")), to=1),
    )
    best = w.ReduceMax(score, keepdims=0)
    scores = w.Reshape(w.Gather(score, flat), w.Shape(mass))
    main = w.Mul(w.Cast(w.GreaterOrEqual(scores, best), to=1), ground)
    # Near: within half the main component's size of its box. Large enough: no dust.
    (top, bottom), (left, right) = extent(w, main, 0), extent(w, main, 1)
    reach = w.Mul(w.Max(w.Sub(bottom, top), w.Sub(right, left)), 0.5)
    near = []
    for axis, first, last in ((0, top, bottom), (1, left, right)):
        at = positions(w, size_of(w, mass, axis))
        inside = w.And(w.Greater(at, w.Sub(first, reach)), w.Less(at, w.Add(last, reach)))
        near.append(w.Unsqueeze(w.Cast(inside, to=1), w.ints(1 - axis)))
    belongs = w.Mul(w.Mul(w.Mul(near[0], near[1]), ground), w.Cast(w.GreaterOrEqual(scores, w.Mul(best, 0.06)), to=1))
    region = w.Cast(w.Greater(both_ways(w, back[0], w.Max(belongs, main), back[1]), 0), to=1)
    return w.Mul(foreground, region)


def _zero() -> onnx.TensorProto:
    from onnx import helper

    return helper.make_tensor("zero", 1, [1], [0.0])


def _inner(w: GraphBuilder, rows: Value, columns: Value) -> Value:
    """1 inside, 0 on the border of a ``[rows, columns]`` plane."""
    parts = []
    for n, axis in ((rows, 1), (columns, 0)):
        at = indices(w, n)
        last = w.Sub(n, w.constant(1, "int64"))
        inside = w.And(w.Greater(at, w.constant(0, "int64")), w.Less(at, last))
        parts.append(w.Unsqueeze(w.Cast(inside, to=1), w.ints(axis)))
    return w.Mul(parts[0], parts[1])
