"""From digits with both opinions to the file's outputs, as `mnistkit.digits.reader.detect` decides."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from mnistkit.digits.contract import CLASSES
from mnistkit.digits.number_graph.boxes import Rows, median
from mnistkit.digits.number_graph.order import in_order
from mnistkit.digits.number_graph.pixels import upright
from mnistkit.digits.number_graph.vote import Votes, with_votes
from mnistkit.digits.numbers import _AGREED
from mnistkit.digits.reader.confidence import LEAST_SURE, LEAST_THERE
from mnistkit.digits.reader.detect import _BELOW, _FEW, _POSSIBLE, _SURE, _TINY
from mnistkit.digits.reader.signs import _ENOUGH, _SMALL, _TALL

if TYPE_CHECKING:
    from mnistkit.digits.number_graph.graph import Graph
    from mnistkit.digits.number_graph.tensor import Tensor
    from mnistkit.digits.number_graph.vote import Voters

OUTPUTS: Final = {
    "text": ("uint8", ["characters"]),
    "digits": ("int64", ["digits"]),
    "confidences": ("float32", ["digits"]),
    "probabilities": ("float32", ["digits", CLASSES]),
    "boxes": ("float32", ["digits", 4]),
    "rows": ("int64", ["digits"]),
    "after_gap": ("bool", ["digits"]),
    "confidence": ("float32", []),
    "in_doubt": ("bool", []),
}
"""Element types and shapes; `mnistkit.digits.number_model` says what they mean."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The file's outputs but for ``text``; see `OUTPUTS`."""

    digits: Tensor
    confidences: Tensor
    probabilities: Tensor
    boxes: Tensor
    rows: Tensor
    after_gap: Tensor
    confidence: Tensor
    in_doubt: Tensor

    def by_name(self) -> dict[str, Tensor]:
        """The outputs with their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def as_list(self) -> list[Tensor]:
        """In the order of the fields."""
        return list(self.by_name().values())


def nothing(g: Graph, in_doubt: Tensor) -> Answer:
    """No digits."""
    whole = g.constant(np.zeros(0), "int64")
    return Answer(
        whole, g.constant(np.zeros(0), "float32"), g.constant(np.zeros((0, CLASSES)), "float32"),
        g.constant(np.zeros((0, 4)), "float32"), whole, g.constant(np.zeros(0), "bool"), g.constant(0, "float32"),
        in_doubt,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What the looks gave.

    Attributes:
        found: The digits on the upright picture; at least one.
        turns: By how many quarter turns the picture lay.
        given: The picture as the file takes it.
        picture: The same no larger than the looks need it.
    """

    found: Rows
    turns: Tensor
    given: Tensor
    picture: Tensor


def answer_of(g: Graph, seen: Seen, voters: Voters) -> Answer:
    """What is read, of at least one digit that the net may have found."""
    found, turns, given, picture = seen.found, seen.turns, seen.given, seen.picture
    longest = picture.size(0).most(picture.size(1))
    is_tiny = longest <= _TINY
    blank = g.constant(np.zeros((28, 28)), "float32")

    def alone() -> list[Tensor]:
        made = g.include(voters.single, {"picture": picture}, prefix="single")
        return [made["image28"], made["ink_fraction"]]

    image28, ink = g.either(is_tiny, alone, lambda: [blank, g.constant(0, "float32")])
    votes = with_votes(found, upright(g, picture, turns, rows=0, columns=1), voters, image28)
    there, right = votes.there, votes.right
    is_digit = (there >= LEAST_THERE) & (right >= 1 - there)
    is_text = (found.count > _FEW) & ~(is_digit & (right >= LEAST_SURE)).any()
    is_digit = is_digit & ~is_text
    is_possible = there >= _POSSIBLE
    complete = g.join([(1 - there).where(is_possible & ~is_digit), g.constant([1], "float32")]).prod()
    # Where the net is unsure, mnistkit cuts the ink: if some digit is beyond doubt, or there may be one alone.
    is_unsure = turns.equals(0) & (is_possible & (there < _SURE)).any()
    is_cut = is_unsure & ((is_digit & (right >= _AGREED)).any() | is_possible.cast("int64").sum().equals(1))

    def only_one() -> list[Tensor]:
        return _only_digit(g, votes.extra, ink, there.max(), given).as_list()

    def several() -> list[Tensor]:
        return _several(votes, is_digit, seen=seen, complete=complete, is_cut=is_cut).as_list()

    def none() -> list[Tensor]:
        return nothing(g, is_cut).as_list()

    return Answer(*g.either(is_tiny & ~is_digit.any(), only_one, lambda: g.either(is_digit.any(), several, none)))


def _several(votes: Votes, is_digit: Tensor, *, seen: Seen, complete: Tensor, is_cut: Tensor) -> Answer:
    g = votes.rows.g
    rows, right = votes.rows.where(is_digit), votes.right.where(is_digit)
    share = rows.heights / median(g, rows.heights)
    operators, brackets = votes.operators.where(is_digit), votes.brackets.where(is_digit)
    may_have_signs = (rows.count >= _ENOUGH) & (((share < _SMALL) & operators) | ((share > _TALL) & brackets)).any()
    order, row, after_gap = in_order(rows)
    in_order_rows, confidences = Rows(g, rows.packed.take(order)), right.take(order)
    classes = in_order_rows.classes
    return Answer(
        classes.argmax(1),
        confidences,
        _scaled(g, classes, confidences),
        _on_picture(g, in_order_rows.boxes, seen),
        row,
        after_gap,
        complete * confidences.prod(),
        is_cut | may_have_signs | votes.crowded.where(is_digit).any(),
    )


def _only_digit(g: Graph, said: Tensor, ink: Tensor, doubt: Tensor, given: Tensor) -> Answer:
    """The one digit of a tiny picture, as `reader.detect._only_digit`; nothing where nothing is drawn."""
    best = said.argmax(0)
    confidence = said.take(best) * doubt
    box = g.stack([given.size(0) * 0, given.size(0) * 0, given.size(1), given.size(0)])
    zero = g.constant([0], "int64")
    whole = Answer(
        best.reshape(1), confidence.reshape(1), _scaled(g, said.unsqueeze(0), confidence.reshape(1)),
        box.unsqueeze(0).cast("float32"), zero, g.constant([False], "bool"), confidence, g.constant(False, "bool"),
    )  # fmt: skip
    empty = nothing(g, g.constant(False, "bool"))
    return Answer(*g.either(ink > 0, whole.as_list, empty.as_list))


def _scaled(g: Graph, classes: Tensor, confidences: Tensor) -> Tensor:
    """As `reader.detect._scaled`, for each digit."""
    sure = confidences.unsqueeze(1)
    best = classes.argmax(1).unsqueeze(1)
    is_best = g.arange(g.constant(CLASSES, "int64")).unsqueeze(0).equals(best)
    others = g.choose(is_best, 0.0, classes)
    rest, most = others.sum(1).unsqueeze(1), others.max(1).unsqueeze(1)
    share = ((1 - sure) / rest.most(1e-30)).least(sure * _BELOW / most.most(1e-30)).least(1)
    return g.choose(is_best, sure, others * share)


def _on_picture(g: Graph, boxes: Tensor, seen: Seen) -> Tensor:
    """Left, top, width and height on the picture as it was given, as `reader.detect` turns them."""
    given, picture = seen.given, seen.picture
    x, y, wide, high = (boxes.take(axis, 1) for axis in range(4))
    width, height = picture.size(1).cast("float32"), picture.size(0).cast("float32")
    ways = ((x, y, wide, high), (y, height - x, high, wide), (width - x, height - y, wide, high),
            (width - y, x, high, wide))  # fmt: skip
    turned = g.stack([g.stack(way, 1) for way in ways]).take(seen.turns)
    scale = [given.size(axis).cast("float64") / picture.size(axis).cast("float64") for axis in (1, 0, 1, 0)]
    on_given = (turned.cast("float64") * g.stack(scale)).cast("float32")
    middle, half = on_given.cut(0, 2, 1), on_given.cut(2, 4, 1) / 2
    corner = g.stack([given.size(1), given.size(0)]).cast("float32")
    low = (middle - half).most(0)
    return g.join([low, ((middle + half).least(corner) - low).most(1)], 1)


def text_of(g: Graph, answer: Answer) -> Tensor:
    """The digits in ASCII, uint8: a space where a gap is wide, a line feed between rows."""
    before = g.join([g.constant([0], "int64"), answer.rows]).cut(0, answer.rows.size())
    separators = g.choose(answer.rows > before, ord("\n"), g.choose(answer.after_gap, g.constant(ord(" "), "int64"), 0))
    both = g.stack([separators, answer.digits + ord("0")], 1).flat()
    return both.where(both > 0).cast("uint8")
