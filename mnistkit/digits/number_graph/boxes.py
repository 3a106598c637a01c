"""Lists of digits in the graph: one float32 row for each, ``[n, 19]``; what overlaps, medians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mnistkit.digits.contract import CLASSES
from mnistkit.digits.reader.peaks import _INSIDE, OVERLAP

if TYPE_CHECKING:
    from mnistkit.digits.number_graph.graph import Graph
    from mnistkit.digits.number_graph.tensor import Tensor

WIDTH: Final = 4 + 1 + CLASSES + 4
"""Numbers of a digit: box, chance, classes, turns."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Digits as `reader.peaks.Found` has them, packed into one tensor.

    Attributes:
        g: The graph.
        packed: float32 ``[n, 19]``.
    """

    g: Graph
    packed: Tensor

    @property
    def boxes(self) -> Tensor:
        """Center x, center y, width, height."""
        return self.packed.cut(0, 4, 1)

    @property
    def chances(self) -> Tensor:
        """That there is a digit."""
        return self.packed.take(4, 1)

    @property
    def classes(self) -> Tensor:
        """Probabilities of the ten digits."""
        return self.packed.cut(5, 5 + CLASSES, 1)

    @property
    def turns(self) -> Tensor:
        """Probabilities of the quarter turns."""
        return self.packed.cut(5 + CLASSES, WIDTH, 1)

    @property
    def heights(self) -> Tensor:
        """Of the boxes."""
        return self.packed.take(3, 1)

    @property
    def count(self) -> Tensor:
        """How many."""
        return self.packed.size(0)

    def where(self, chosen: Tensor) -> Rows:
        """Some of them."""
        return Rows(self.g, self.packed.where(chosen))


def pack(g: Graph, boxes: Tensor, chances: Tensor, classes: Tensor, turns: Tensor) -> Rows:
    """Rows of their parts."""
    return Rows(g, g.join([boxes, chances.unsqueeze(1), classes, turns], 1))


def corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Low and high corners of boxes, ``[n, 2]`` each."""
    middle, half = boxes.cut(0, 2, 1), boxes.cut(2, 4, 1) / 2
    return middle - half, middle + half


def shared_areas(boxes: Tensor, others: Tensor) -> Tensor:
    """What each box shares with each other: ``[n, m]``."""
    (low, high), (other_low, other_high) = corners(boxes), corners(others)
    sides = []
    for axis in (0, 1):
        first = low.take(axis, 1).unsqueeze(1).most(other_low.take(axis, 1).unsqueeze(0))
        last = high.take(axis, 1).unsqueeze(1).least(other_high.take(axis, 1).unsqueeze(0))
        sides.append((last - first).most(0))
    return sides[0] * sides[1]


def areas(boxes: Tensor) -> Tensor:
    """Of boxes, ``[n]``."""
    return boxes.take(2, 1) * boxes.take(3, 1)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """What boxes share in parts of their unions, ``[n, m]``."""
    shared = shared_areas(boxes, others)
    return shared / (areas(boxes).unsqueeze(1) + areas(others).unsqueeze(0) - shared)


def without_overlaps(rows: Rows) -> Rows:
    """The surest of those that overlap, the surest first, as `reader.peaks.without_overlaps`."""
    g = rows.g
    ordered = Rows(g, rows.packed.take(g.argsort(rows.chances, descending=True)))
    boxes = ordered.boxes
    shared, area = shared_areas(boxes, boxes), areas(boxes)
    union = area.unsqueeze(1) + area.unsqueeze(0) - shared
    small = area.unsqueeze(1).least(area.unsqueeze(0))
    places = g.arange(ordered.count)
    is_surer = places.unsqueeze(0) < places.unsqueeze(1)
    in_the_way = (((shared > union * OVERLAP) | (shared > small * _INSIDE)) & is_surer).cast("float32")
    kept = g.op("Expand", g.constant([1], "float32"), ordered.count.reshape(1))

    # Each turn settles at least one more place; what was settled stays.
    def judge(_: Tensor, before: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        after = (g.op("MatMul", in_the_way, before.unsqueeze(1)).squeeze(1) <= 0).cast("float32")
        return (~after.equals(before)).any(), [after], []

    last = g.loop(ordered.count, [kept], judge)[0][0]
    return ordered.where(last > 0)


def median(g: Graph, values: Tensor) -> Tensor:
    """Of float32 ``[n]``; 0 where there is none."""
    n = values.size()
    in_order = g.join([values.take(g.argsort(values)), g.constant([0], "float32")])
    return (in_order.take((n - 1).most(0) // 2) + in_order.take(n // 2)) / 2


def medians(g: Graph, values: Tensor, groups: Tensor, counts: Tensor) -> Tensor:
    """Median of each group, ``[groups]``; of an empty group any number.

    Args:
        g: The graph.
        values: float32 ``[n]``.
        groups: int64 ``[n]``, the group of each.
        counts: int64 ``[groups]``, how many each has.
    """
    by_value = g.argsort(values)
    order = by_value.take(g.argsort(groups.take(by_value)))
    in_order = g.join([values.take(order), g.constant([0], "float32")])
    starts = g.op("CumSum", counts, g.constant(0, "int64"), exclusive=1)
    last = values.size()
    at = [(starts + half).least(last) for half in ((counts - 1).most(0) // 2, counts // 2)]
    return (in_order.take(at[0]) + in_order.take(at[1])) / 2


def counts_of(g: Graph, groups: Tensor, number: Tensor) -> Tensor:
    """How many of each group there are, int64 ``[number]``."""
    start = g.op("Expand", g.constant([0], "int64"), number.reshape(1))
    ones = g.op("Expand", g.constant([1], "int64"), groups.size().reshape(1))
    return g.op("ScatterElements", start, groups, ones, axis=0, reduction="add")
