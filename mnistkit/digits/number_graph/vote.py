"""The classifier's opinion of each digit, and how sure they are, as `mnistkit.digits.reader.vote` has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnistkit.digits.contract import CLASSES, SIDE
from mnistkit.digits.number_graph.boxes import Rows, areas, median, pack, shared_areas
from mnistkit.digits.number_graph.shapes import may_be_signs
from mnistkit.digits.reader.confidence import _MANY, _SURE, LEAST_THERE, RIGHT, THERE
from mnistkit.digits.reader.vote import (
    _AROUND,
    _CROWDED,
    _EMPTY,
    _HEIGHT,
    _LEAST,
    _LEAST_VOTE,
    _MOST_SIDE,
    _REACHED,
    _WEIGHT,
)
from mnistkit.digits.scaling import UNIT

if TYPE_CHECKING:
    import onnx

    from mnistkit.digits.number_graph.graph import Graph
    from mnistkit.digits.number_graph.tensor import Tensor
    from mnistkit.digits.scaling import Scaling

_INKED = 0.3  # as in reader.vote._cut


@dataclass(frozen=True, slots=True)
class Voters:
    """What reads a single digit.

    Attributes:
        foreground: The graph that finds ink.
        center: The graph that makes ink a 28x28 image.
        single: Both in one, for a picture of one digit.
        classifier: The classifier.
        scaling: What its numbers are.
    """

    foreground: onnx.ModelProto
    center: onnx.ModelProto
    single: onnx.ModelProto
    classifier: onnx.ModelProto
    scaling: Scaling


@dataclass(frozen=True, slots=True)
class Votes:
    """Digits with both opinions, as `reader.vote.Voted`; and what the classifier said of one image more.

    Attributes:
        rows: The digits; their classes are those of both.
        there: float32 ``[n]``.
        right: float32 ``[n]``.
        extra: float32 ``[10]``.
        operators: bool ``[n]``: its ink is so shaped that it may be an operator.
        brackets: bool ``[n]``: that it may be a bracket.
        crowded: bool ``[n]``: a neighbor's ink may have a say in the vote, and the vote in the digit.
    """

    rows: Rows
    there: Tensor
    right: Tensor
    extra: Tensor
    operators: Tensor
    brackets: Tensor
    crowded: Tensor


def with_votes(rows: Rows, picture: Tensor, voters: Voters, extra: Tensor) -> Votes:
    """The digits with both opinions; at least one digit.

    Args:
        rows: What the net found.
        picture: uint8 ``[rows, columns, channels]``, upright.
        voters: Who reads single digits.
        extra: An image that the classifier reads too, float32 ``[28, 28]``.
    """
    g = rows.g
    shared = shared_areas(rows.boxes, rows.boxes)
    places = g.arange(rows.count)
    is_same = places.unsqueeze(0).equals(places.unsqueeze(1))
    covered = g.choose(is_same, 0.0, shared).max(1) / areas(rows.boxes).most(1e-6)
    ones = g.op("Expand", g.constant([1], "float32"), rows.count.reshape(1))
    likely = _probability(_evidence(rows, ones, ones, covered, ones), THERE) >= LEAST_THERE
    images, operators, brackets = g.either(
        likely.any(),
        lambda: _images(rows.where(likely), picture, voters),
        lambda: [
            g.constant(np.zeros((0, SIDE, SIDE)), "float32"), *[g.constant(np.zeros(0), "bool")] * 2,
        ],
    )  # fmt: skip
    opinions = _classify(g, g.join([images, extra.unsqueeze(0)]), voters)
    is_seen = images.reshape(-1, SIDE * SIDE).max(1) > 0
    place = g.op("NonZero", likely, dtype="int64").squeeze(0)
    asked = place.where(is_seen)
    uniform = g.op("Expand", g.constant([[1 / CLASSES]], "float32"), g.shape_of([rows.count, CLASSES]))
    said = opinions.cut(0, images.size(0)).where(is_seen)
    opinion = g.op("ScatterND", uniform, asked.unsqueeze(1), said)
    nobody = g.op("Expand", g.constant([0], "int64"), rows.count.reshape(1))
    may_be = [
        g.op("ScatterElements", nobody, place, one.cast("int64"), axis=0).equals(1) for one in (operators, brackets)
    ]
    weights = (1 - covered * _CROWDED).most(0) * _WEIGHT
    both = rows.classes * g.op("Pow", opinion.most(_LEAST_VOTE), weights.unsqueeze(1))
    both = both / both.sum(1).unsqueeze(1)
    first_two = g.ops("TopK", both, g.ints(2), dtypes=["float32", "int64"], axis=1)
    best = first_two[1].cut(0, 1, 1)
    of_best = [g.op("GatherElements", one, best, axis=1).squeeze(1) for one in (both, rows.classes, opinion)]
    margin = (of_best[0] / first_two[0].take(1, 1).most(_LEAST)).apply("Log").most(0).least(-math.log(_LEAST))
    # The reader leaves out ink of the neighbors first; the net may be so sure that no vote can change the digit.
    net = g.ops("TopK", rows.classes, g.ints(2), dtypes=["float32", "int64"], axis=1)[0]
    is_open = net.take(0, 1) <= net.take(1, 1) * g.op("Pow", g.constant(1 / _LEAST_VOTE, "float32"), weights)
    crowded = (covered > _REACHED) & is_open
    facts = _evidence(rows, of_best[1], of_best[2], covered, margin)
    voted = pack(g, rows.boxes, rows.chances, both, rows.turns)
    return Votes(
        voted, _probability(facts, THERE), _probability(facts, RIGHT), opinions.take(-1), may_be[0], may_be[1], crowded
    )


def _evidence(rows: Rows, named: Tensor, voted: Tensor, covered: Tensor, margin: Tensor) -> Tensor:
    """As `reader.confidence.evidence`, ``[n, 8]``."""
    g = rows.g
    sure = rows.chances.most(_SURE).least(1 - _SURE)
    there = (sure / (1 - sure)).apply("Log")
    name, vote = (chance.most(1e-3).apply("Log") for chance in (named, voted))
    usual = there * 0 + median(g, there)
    count = there * 0 + rows.count.cast("float32").most(1).least(_MANY).apply("Log")
    crowd = vote * covered.least(0.25) * 4
    return g.stack([there, name, vote, covered, crowd, usual, count, margin], 1)


def _probability(facts: Tensor, weights: tuple[float, ...]) -> Tensor:
    """As `reader.confidence.probability`."""
    g = facts._graph  # noqa: SLF001  # of the same package
    score = g.op("MatMul", facts, g.constant(np.array(weights[:-1])[:, None], "float32")).squeeze(1) + weights[-1]
    return score.most(-30).least(30).apply("Sigmoid")


def _classify(g: Graph, images: Tensor, voters: Voters) -> Tensor:
    """Probabilities ``[n, 10]`` of images ``[n, 28, 28]``."""
    model = voters.classifier
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    if voters.scaling != UNIT:
        images = images * (255 * voters.scaling.scale) + voters.scaling.offset
    given = images.reshape(-1, *(size or SIDE for size in shape[1:]))
    answers = g.include(model, {model.graph.input[0].name: given}, prefix="classifier")
    return answers[model.graph.output[0].name].reshape(-1, CLASSES)


def _images(rows: Rows, picture: Tensor, voters: Voters) -> list[Tensor]:
    """The ink of each box as MNIST shows a digit, as `reader.vote._opinions` cuts it; all 0 where there is none.

    And whether it may be an operator or a bracket.
    """
    g = rows.g
    longest = picture.size(0).most(picture.size(1)).cast("float64")
    side = (_HEIGHT / median(g, rows.heights).cast("float64") * longest).least(_MOST_SIDE)
    given = {"picture": picture, "side": side.apply("Round").cast("float32")}
    found = g.include(voters.foreground, given, prefix="foreground")
    ink, confident = found["foreground"], found["confident_foreground"]
    height, width = (ink.size(axis).cast("float64") / picture.size(axis).cast("float64") for axis in (0, 1))
    boxes = rows.boxes.cast("float64") * g.stack([width, height, width, height])
    middle, reach = boxes.cut(0, 2, 1), boxes.cut(2, 4, 1) * (0.5 + _AROUND)
    low = (middle - reach).apply("Floor").cast("int64").most(0)
    high = (middle + reach).apply("Ceil").cast("int64").most(0)

    usual = median(g, boxes.take(3, 1).cast("float32"))

    def image(turn: Tensor, most: Tensor) -> tuple[None, list[Tensor], list[Tensor]]:
        first, last = low.take(turn), high.take(turn)
        part = ink.cut(first.take(1), last.take(1), 0).cut(first.take(0), last.take(0), 1)
        largest = g.join([part.flat(), g.constant([0], "float32")]).max()

        def centered() -> list[Tensor]:
            padded = g.op("Pad", part, g.ints(*[_EMPTY] * 4))
            image28 = g.include(voters.center, {"foreground": padded}, prefix="center")["image28"]
            return [image28, *may_be_signs(g, part, usual)]

        no = g.constant(False, "bool")
        found = g.either(largest > _INKED, centered, lambda: [g.constant(np.zeros((SIDE, SIDE)), "float32"), no, no])
        return None, [most], found

    start = g.constant(0, "float32")
    images, operators, brackets = g.loop(rows.count, [start], image, shapes=[(SIDE, SIDE), (), ()])[1]
    return [g.choose((confident > 0).any(), images, 0.0), operators, brackets]
