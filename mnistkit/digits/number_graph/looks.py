"""The looks at several sizes and ways up, as `mnistkit.digits.reader.looks` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnistkit.digits.number_graph.boxes import WIDTH, Rows, median, overlaps, pack, without_overlaps
from mnistkit.digits.number_graph.pixels import resized, upright
from mnistkit.digits.reader.confidence import LEAST_SEEN
from mnistkit.digits.reader.looks import (
    _ALONE,
    _DOUBTED,
    _FAINTEST,
    _LARGE_SIDE,
    _LEAST_SIDE,
    _MOST_PIXELS,
    _NEAR,
    _READ,
    _SAME,
    _SECOND,
    _SIDES,
    _SMALL,
    _TURNED,
    _UNLIKELY,
    _UPRIGHT,
    _WANTED,
)
from mnistkit.digits.reader.peaks import MOST_PEAKS

if TYPE_CHECKING:
    import onnx

    from mnistkit.digits.number_graph.graph import Graph
    from mnistkit.digits.number_graph.tensor import Tensor

_TRIED = 2  # other ways up


class Looking:
    """Finds the digits of a picture.

    Args:
        g: The graph.
        net: The reader's file.
    """

    def __init__(self, g: Graph, net: onnx.ModelProto) -> None:
        self._g, self._net = g, net

    def find(self, planes: Tensor) -> tuple[Rows, Tensor, Tensor]:
        """All digits, as `reader.looks.find_digits`.

        Args:
            planes: uint8 ``[2, rows, columns]``.

        Returns:
            The digits on the upright picture; by how many quarter turns it lay; whether there were too many to tell.
        """
        g = self._g
        nothing = g.constant(np.zeros((0, WIDTH)), "float32")
        states = [
            nothing, g.constant(-1, "float32"), g.constant(0, "int64"), g.constant([0], "int64"),
            g.constant(np.zeros(4), "float32"), g.constant(False, "bool"),
        ]  # fmt: skip

        def way_up(turn: Tensor, *before: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
            best, most, turns, tried, votes, crowded = before
            way, is_first = tried.take(turn), turn.equals(0)
            found, too_many = self._at_best_size(upright(g, planes, way, rows=1, columns=2))
            said = found.turns.most(1e-4).apply("Log").sum(0)
            total = (found.chances * found.classes.max(1)).sum()
            # So the page says, as it lies or turned.
            is_told = votes.take(way).most(said.take(0)) > votes.take(0) + _TURNED
            is_better = (total > most) & (is_first | is_told)
            votes = g.choose(is_first, said, votes)
            after = [
                g.either(is_better, lambda: [found.packed], lambda: [best])[0],
                g.choose(is_better, total, most),
                g.choose(is_better, way, turns),
                g.either(is_first, lambda: [self._ways(votes, found.count)], lambda: [tried])[0],
                votes,
                crowded | too_many,
            ]
            return (turn + 1) < after[3].size(), after, []

        (best, _, turns, _, _, crowded), _ = g.loop(_TRIED + 1, states, way_up)
        return Rows(g, best), turns, crowded

    def _ways(self, votes: Tensor, count: Tensor) -> Tensor:
        """Ways up to try, the first of them 0, as `reader.looks._turns`."""
        g = self._g
        others = g.ints(*_UPRIGHT)
        theirs = votes.take(others)
        least = (votes.take(0) - _DOUBTED).most(votes.max() - _UNLIKELY)
        is_likely = (theirs > least) & (count > 0)
        likely, theirs = others.where(is_likely), theirs.where(is_likely)
        return g.join([g.ints(0), likely.take(g.argsort(theirs, descending=True)).cut(0, _TRIED)])

    def _at_best_size(self, planes: Tensor) -> tuple[Rows, Tensor]:
        g = self._g
        width, height = planes.size(2).cast("float64"), planes.size(1).cast("float64")
        longest = width.most(height)
        largest = (_MOST_PIXELS / (width * height)).apply("Sqrt")
        first_scales = g.join([(side / longest).reshape(1) for side in _SIDES])
        number = len(_SIDES)

        def step(turn: Tensor, *before: Tensor) -> tuple[None, list[Tensor], list[Tensor]]:
            """One look or none. The first ones always, then a larger one, then one or two at the wanted size."""
            packed, owner, scales, wanted, pair, crowded = before
            looks = _Looks(g, Rows(g, packed), owner, scales)
            usual = g.either(
                turn < number, lambda: [g.constant(0, "float64")], lambda: [looks.height().cast("float64")]
            )[0]
            last = looks.scale(scales.size() - 1)
            is_first, is_large = turn < number, turn.equals(number)
            larger = (_LARGE_SIDE / longest).least(largest)
            is_large_wanted = (usual.equals(0) | (usual * last < _SMALL)) & (larger > last * 1.3)
            wanted = g.choose(turn.equals(number + 1), (_WANTED / usual.most(1e-9)).least(largest), wanted)
            wanted = g.choose(turn.equals(number + 1) & usual.equals(0), 0.0, wanted)
            is_small = wanted < usual.most(1e-9).apply("Reciprocal") * (_NEAR[0] * _WANTED)
            is_second = turn.equals(number + 2)
            asked = g.choose(is_second, wanted * _SECOND, wanted)
            near = (looks.all_scales().most(1e-9) / asked.most(1e-9)).apply("Log").apply("Abs")
            best = near.apply("Neg").argmax()
            share = looks.scale(best) / asked.most(1e-9)
            is_near = (share >= _NEAR[0]) & (share <= _NEAR[1])
            has_height = wanted > 0
            # In the second of the two, `pair` says already whether digits are small on a large page.
            is_asked = ~(is_first | is_large) & has_height & ~(is_second & pair.take(2).equals(1))
            is_looked = is_first | (is_large & is_large_wanted) | (is_asked & ~is_near)
            scale = g.choose(is_first, first_scales.take(turn.least(number - 1)), g.choose(is_large, larger, asked))
            chosen = g.choose(is_looked, scales.size(), best)
            first = g.choose(turn.equals(number + 1), chosen, pair.take(0))
            second = g.choose(is_second & is_asked, chosen, pair.take(1))
            alone = g.choose(turn.equals(number + 1), is_small.cast("int64"), pair.take(2))
            after = g.either(
                is_looked,
                lambda: self._look(planes, scale, packed, owner, scales),
                lambda: [packed, owner, scales, g.constant(False, "bool")],
            )
            return None, [*after[:3], wanted, g.stack([first, second, alone]), crowded | after[3]], []

        states = [
            g.constant(np.zeros((0, WIDTH)), "float32"), g.constant(np.zeros(0), "int64"),
            g.constant(np.zeros(0), "float64"), g.constant(0, "float64"), g.ints(-1, -1, 0), g.constant(False, "bool"),
        ]  # fmt: skip
        (packed, owner, scales, wanted, pair, crowded), _ = g.loop(number + 3, states, step)
        looks = _Looks(g, Rows(g, packed), owner, scales)

        def nothing() -> list[Tensor]:
            last = looks.of(scales.size() - 1)
            return [last.where(last.chances >= LEAST_SEEN).packed]

        def something() -> list[Tensor]:
            first = looks.of(pair.take(0))

            def small() -> list[Tensor]:
                return [first.packed]

            def both() -> list[Tensor]:
                return [_agreed(g, first, looks.of(pair.take(1))).packed]

            best = Rows(g, g.either(pair.take(2).equals(1), small, both)[0])
            return [looks.joined(best, pair).packed]

        found = g.either(wanted > 0, something, nothing)[0]
        return Rows(g, found), crowded

    def _look(self, planes: Tensor, scale: Tensor, packed: Tensor, owner: Tensor, scales: Tensor) -> list[Tensor]:
        """One look more, as `reader.looks._look`, and whether it found more than the net can tell."""
        g = self._g
        rows, columns = planes.size(1), planes.size(2)
        height, width = (
            (size.cast("float64") * scale).apply("Round").cast("int64").most(_LEAST_SIDE) for size in (rows, columns)
        )
        pixels = resized(g, planes, height, width).transpose(1, 2, 0)
        found = g.include(self._net, {"pixels": pixels}, prefix="net")
        across, down = (
            (size.cast("float64") / seen.cast("float64")).cast("float32").reshape(1)
            for size, seen in ((columns, width), (rows, height))
        )
        boxes = found["boxes"] * g.join([across, down, across, down])
        all_found = pack(g, boxes, found["chances"], found["classes"], found["turns"])
        kept = without_overlaps(all_found.where(all_found.chances >= _FAINTEST))
        number = g.op("Expand", scales.size().reshape(1), kept.count.reshape(1))
        seen_scale = height.cast("float64") / rows.cast("float64")
        return [
            g.join([packed, kept.packed]), g.join([owner, number]), g.join([scales, seen_scale.reshape(1)]),
            found["chances"].size() >= MOST_PEAKS,
        ]  # fmt: skip


class _Looks:
    """What was found so far: of each digit the look, of each look the scale."""

    def __init__(self, g: Graph, rows: Rows, owner: Tensor, scales: Tensor) -> None:
        self._g, self._rows, self._owner, self._scales = g, rows, owner, scales

    def all_scales(self) -> Tensor:
        """With a last one that no look has, so that there is always one."""
        return self._g.join([self._scales, self._g.constant([1e-9], "float64")])

    def scale(self, look: Tensor) -> Tensor:
        """Of a look."""
        return self.all_scales().take(look.most(0))

    def of(self, look: Tensor) -> Rows:
        """What one look found."""
        return self._rows.where(self._owner.equals(look))

    def good(self) -> Tensor:
        """Which are sure enough and of a height that the net knows, as `reader.looks._good`."""
        high = self._rows.heights * self.all_scales().take(self._owner).cast("float32")
        return (self._rows.chances >= LEAST_SEEN) & (high >= _READ[0]) & (high <= _READ[1])

    def height(self) -> Tensor:
        """The usual height of a digit, as `reader.looks._height`; 0 where there is none."""
        return median(self._g, without_overlaps(self._rows.where(self.good())).heights)

    def joined(self, best: Rows, pair: Tensor) -> Rows:
        """The best, and digits of other sizes from the looks that are not of the pair."""
        sure = best.where(best.chances >= LEAST_SEEN)
        high = self._rows.heights * self.scale(pair.take(0)).cast("float32")
        is_other = ~(self._owner.equals(pair.take(0)) | self._owner.equals(pair.take(1)))
        chosen = self.good() & ((high < _READ[0]) | (high > _READ[1])) & is_other
        return without_overlaps(Rows(self._g, self._g.join([sure.packed, self._rows.where(chosen).packed])))


def _agreed(g: Graph, first: Rows, second: Rows) -> Rows:
    """What two looks find together, as `reader.looks._agreed`."""
    # A column more, so that there is always one: nothing shares anything with it.
    beside = g.join([overlaps(first.boxes, second.boxes), g.op("Expand", g.constant([[0]], "float32"),
                     g.shape_of([first.count, 1]))], 1)  # fmt: skip
    start = g.op("Expand", g.constant([1], "float32"), (second.count + 1).reshape(1))

    def match(turn: Tensor, free: Tensor) -> tuple[None, list[Tensor], list[Tensor]]:
        overlap = beside.take(turn) * free
        place = overlap.argmax()
        is_same = overlap.take(place) > _SAME
        taken = g.arange(free.size()).equals(place) & is_same
        return None, [g.choose(taken, 0.0, free)], [g.choose(is_same, place, -1)]

    (free,), (matches,) = g.loop(first.count, [start], match)
    is_same = matches >= 0
    both, alone = first.where(is_same), first.where(~is_same)
    other = Rows(g, second.packed.take(matches.where(is_same)))
    classes = (both.classes * other.classes).apply("Sqrt")
    together = pack(
        g,
        (both.boxes + other.boxes) / 2,
        (both.chances + other.chances) / 2,
        classes / classes.sum(1).unsqueeze(1),
        (both.turns + other.turns) / 2,
    )
    rest = Rows(g, g.join([alone.packed, second.where(free.cut(0, second.count) > 0).packed]))
    less_sure = pack(g, rest.boxes, rest.chances * _ALONE, rest.classes, rest.turns)
    return without_overlaps(Rows(g, g.join([together.packed, less_sure.packed])))
