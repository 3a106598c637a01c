"""Reading order, as `mnistkit.digits.reader.rows` and `reader.detect` find it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mnistkit.digits.number_graph.boxes import Rows, counts_of, median, medians
from mnistkit.digits.reader.detect import _BESIDE, _MANY, _STROKE_FOOT, _STROKE_HEIGHT, _STROKE_WIDTH
from mnistkit.digits.reader.peaks import MOST_PEAKS
from mnistkit.digits.reader.rows import _ALIKE, _LEVEL, _LONG_ENOUGH, _REACH

if TYPE_CHECKING:
    from mnistkit.digits.number_graph.graph import Graph
    from mnistkit.digits.number_graph.tensor import Tensor

_APART = 0.35  # widths: one digit above another, as in reader.rows._above
_WIDE, _WIDER = 0.7, 2.2  # as in reader.rows.wide_gaps


def in_order(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Places of the digits in reading order, the row of each, and whether a wide gap stands before it.

    The strokes in dates are left out. At least one digit.
    """
    g = rows.g
    row_of = _find_rows(g, rows.boxes)
    number = row_of.max() + 1
    by_x = g.argsort(rows.boxes.take(0, 1))
    order = by_x.take(g.argsort(row_of.take(by_x)))
    boxes, row = rows.boxes.take(order), row_of.take(order)
    high, wide = boxes.take(3, 1), boxes.take(2, 1)
    counts = counts_of(g, row, number)
    usual = medians(g, high, row, counts).take(row)
    is_one = rows.classes.argmax(1).take(order).equals(1)
    is_stroke = is_one & (high > usual * _STROKE_HEIGHT) & (wide > usual * _STROKE_WIDTH)
    is_stroke = is_stroke & (_below_line(g, boxes, row, is_stroke) > usual * _STROKE_FOOT)
    start = g.op("Expand", g.constant([0], "int64"), number.reshape(1))
    strokes = g.op("ScatterElements", start, row, is_stroke.cast("int64"), axis=0, reduction="add")
    are_told = (counts >= _MANY) & (strokes * 2 <= counts)
    is_stroke = is_stroke & are_told.take(row)
    kept = ~is_stroke
    shifted = g.join([g.constant([False], "bool"), is_stroke]).cut(0, is_stroke.size())
    order, row, boxes, after_stroke = (one.where(kept) for one in (order, row, boxes, shifted))
    same_row = row.equals(_before(g, row, -1))
    return order, row, same_row & (after_stroke | _wide_gaps(g, boxes, row, number))


def _below_line(g: Graph, boxes: Tensor, row: Tensor, left_out: Tensor) -> Tensor:
    """As `reader.detect._below_line`, for all rows; what it says of boxes that are not left out counts nothing."""
    kept = ~left_out
    feet = boxes.take(1, 1) + boxes.take(3, 1) / 2
    after = g.op("CumSum", kept.cast("int64"), g.constant(0, "int64"))
    steps = g.ints(*range(-_BESIDE, _BESIDE))
    places = after.unsqueeze(1) + steps.unsqueeze(0)  # among those that are kept: two before, two after
    last = kept.cast("int64").sum()
    within = places.most(0).least(last)
    their_feet = g.join([feet.where(kept), g.constant([0], "float32")]).take(within)
    their_rows = g.join([row.where(kept), g.constant([-1], "int64")]).take(within)
    is_beside = (places >= 0) & (places < last) & their_rows.equals(row.unsqueeze(1))
    four = g.ints(2 * _BESIDE)
    far = g.choose(is_beside, their_feet, 3e38)
    in_order = g.ops("TopK", far, four, dtypes=["float32", "int64"], axis=1, largest=0)[0]
    count = is_beside.cast("int64").sum(1)
    halves = [(count - 1).most(0) // 2, count // 2]
    middle = [g.op("GatherElements", in_order, half.unsqueeze(1), axis=1).squeeze(1) for half in halves]
    return g.choose(count > 0, feet - (middle[0] + middle[1]) / 2, 0.0)


def _before(g: Graph, values: Tensor, first: float) -> Tensor:
    """Each value's predecessor."""
    return g.join([g.constant([first], values.dtype), values]).cut(0, values.size())


def _wide_gaps(g: Graph, boxes: Tensor, row: Tensor, number: Tensor) -> Tensor:
    """As `reader.rows.wide_gaps`, for all rows; what it says of the first of a row counts nothing."""
    left, right = (boxes.take(0, 1) + boxes.take(2, 1) * half for half in (-0.5, 0.5))
    gaps = left - _before(g, right, 0.0)
    counts = counts_of(g, row, number)
    height = medians(g, boxes.take(3, 1), row, counts).take(row)
    inner = row.equals(_before(g, row, -1))
    usual = medians(g, gaps.most(0).where(inner), row.where(inner), counts_of(g, row.where(inner), number))
    usual = g.choose(counts > 2, usual, 0.0).take(row)  # noqa: PLR2004  # two gaps
    return gaps > (height * _WIDE).most(usual * _WIDER)


def _find_rows(g: Graph, boxes: Tensor) -> Tensor:
    """The row of each box, int64 ``[n]``, as `reader.rows.find_rows`."""
    x, y, wide, high = (boxes.take(axis, 1) for axis in range(4))
    roots = _chains(g, boxes)
    _, _, chain, counts = g.ops("Unique", roots, dtypes=["int64"] * 4, sorted=0)
    number = counts.size()
    level = y - _slope(g, x, y, chain, number) * x
    height = median(g, high)
    middle = medians(g, level, chain, counts)
    own = medians(g, high, chain, counts).least(height * _ALIKE)
    by_level = g.argsort(middle)
    nowhere = g.op("Expand", g.constant([-1], "int64"), chain.size().reshape(1))

    def place(turn: Tensor, row_of: Tensor, row: Tensor, at: Tensor) -> tuple[None, list[Tensor], list[Tensor]]:
        one = by_level.take(turn)
        is_in_chain, is_in_row = chain.equals(one), row_of.equals(row)

        def is_above() -> list[Tensor]:
            apart = (x.where(is_in_chain).unsqueeze(1) - x.where(is_in_row).unsqueeze(0)).apply("Abs")
            widths = wide.where(is_in_chain).unsqueeze(1) + wide.where(is_in_row).unsqueeze(0)
            return [(apart < widths * _APART).any()]

        is_level = (turn > 0) & ((middle.take(one) - at) < own.take(one) * _LEVEL)
        joins = ~g.either(is_level, is_above, lambda: [g.constant(True, "bool")])[0]
        now = g.choose(joins, row, row + 1)
        after = g.choose(is_in_chain, now, row_of)
        at = g.either(joins, lambda: [median(g, level.where(after.equals(now)))], lambda: [middle.take(one)])[0]
        return None, [after, now, at], []

    states = [nowhere, g.constant(-1, "int64"), g.constant(0, "float32")]
    return g.loop(number, states, place)[0][0]


def _chains(g: Graph, boxes: Tensor) -> Tensor:
    """For each box the last one of its chain, as `reader.rows._chains` links them."""
    x, y, wide, high = (boxes.take(axis, 1) for axis in range(4))

    def pair(value: Tensor) -> tuple[Tensor, Tensor]:
        return value.unsqueeze(1), value.unsqueeze(0)

    (here, there), (own, other) = pair(x), pair(high)
    right, left = x + wide / 2, x - wide / 2
    top, bottom = y - high / 2, y + high / 2
    gap = left.unsqueeze(0) - right.unsqueeze(1)
    shared = bottom.unsqueeze(0).least(bottom.unsqueeze(1)) - top.unsqueeze(0).most(top.unsqueeze(1))
    small, large = own.least(other), own.most(other)
    follows = (there > here) & (gap < large * _REACH) & (shared > small * 0.5) & (large < small * _ALIKE)
    nearest = g.op("ArgMin", g.choose(follows, there, 3e38), dtype="int64", axis=1, keepdims=0)
    root = g.choose(follows.cast("int32").max(1) > 0, nearest, g.arange(x.size()))
    for _ in range(math.ceil(math.log2(MOST_PEAKS))):
        root = root.take(root)
    return root


def _slope(g: Graph, x: Tensor, y: Tensor, chain: Tensor, number: Tensor) -> Tensor:
    """Rows down for each column to the right, from the long chains, as `reader.rows._slope`."""
    zeros = g.op("Expand", g.constant([0], "float32"), number.reshape(1))

    def total(values: Tensor) -> Tensor:
        return g.op("ScatterElements", zeros, chain, values, axis=0, reduction="add")

    count = total(x * 0 + 1)
    from_x, from_y = (value - (total(value) / count).take(chain) for value in (x, y))
    slopes = total(from_x * from_y) / total(from_x * from_x).most(1e-12)
    weights = g.choose(count >= _LONG_ENOUGH, count, 0.0)
    return (slopes * weights).sum() / weights.sum().most(1)
