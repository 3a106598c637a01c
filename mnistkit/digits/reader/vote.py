"""A second opinion on each digit that the net found: the classifier of single digits reads its box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mnistkit.core.errors import NoDigitError
from mnistkit.digits.contract import CLASSES
from mnistkit.digits.pictures import center_digit, find_foreground
from mnistkit.digits.reader.confidence import LEAST_THERE, RIGHT, THERE, evidence, probability
from mnistkit.digits.reader.peaks import Found
from mnistkit.digits.segmentation import INK, dilated, label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.digits.digit_string import DigitClassifier

_HEIGHT: Final = 40.0  # cells of a digit
_MOST_SIDE: Final = 1400.0
_AROUND: Final = 0.06  # of the box, that is read too
_WEIGHT: Final = 0.8  # of the classifier's vote, the net's being 1
_CROWDED: Final = 2.0  # the vote counts nothing where another box covers half
_REACHED: Final = 0.02  # of a box that another covers: ink of the other's digit may be in it
_OWN: Final = 0.5  # of connected ink in a box: so much belongs to its digit, with less
_OTHERS: Final = 0.8  # in another box to that box's alone
_FOUND: Final = 0.5  # chance of a digit that ink may belong to
_EMPTY: Final = 6  # cells around a digit
_LEAST: Final = 1e-4  # no probability counts for less
_LEAST_VOTE: Final = 0.01  # nor any of the classifier's


@dataclass(frozen=True, slots=True, eq=False)
class Voted:
    """Digits with both opinions.

    Attributes:
        found: The digits; their classes are those of net and classifier together.
        there: float32 ``[n]``: probability that there is a digit.
        right: float32 ``[n]``: probability that there is one, and that it is the likeliest.
        facts: float64 ``[n, 8]``: what both are computed from; see `mnistkit.digits.reader.confidence.evidence`.
    """

    found: Found
    there: NDArray[np.float32]
    right: NDArray[np.float32]
    facts: NDArray[np.float64]

    def only(self, chosen: NDArray[np.bool_]) -> Voted:
        """Some of them."""
        return Voted(self.found.only(chosen), self.there[chosen], self.right[chosen], self.facts[chosen])


def with_votes(found: Found, picture: NDArray[np.uint8], classifier: DigitClassifier, *, on_all: bool = False) -> Voted:
    """The digits with both opinions, and how sure they are.

    Args:
        found: What the net found, boxes in pixels of the picture.
        picture: uint8 ``[rows, columns, channels]``, upright.
        classifier: What reads single digits.
        on_all: Ask it about what is no digit to the net too, which takes long on text and noise.
    """
    covered = _covered(found.boxes)
    likely = on_all | (_there(found, covered) >= LEAST_THERE)
    opinions = np.full((len(found), CLASSES), 1 / CLASSES, np.float32)
    if likely.any():
        opinions[likely] = _opinions(found.only(likely), picture, classifier, covered[likely])
    weights = _WEIGHT * (1 - _CROWDED * covered).clip(0)
    both = found.classes * opinions.clip(_LEAST_VOTE) ** weights[:, None]
    both = both / both.sum(1, keepdims=True)
    each, best = np.arange(len(found)), both.argmax(1)
    second = np.partition(both, -2, axis=1)[:, -2]
    margin = np.log(both[each, best] / second.clip(_LEAST)).clip(0, -np.log(_LEAST))
    facts = evidence(found.chances, found.classes[each, best], opinions[each, best], covered, margin)
    voted = Found(found.boxes, found.chances, both, found.turns)
    return Voted(voted, probability(facts, THERE), probability(facts, RIGHT), facts)


def _there(found: Found, covered: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability that there is a digit, which does not depend on what it is."""
    ones = np.ones(len(found), np.float32)
    return probability(evidence(found.chances, ones, ones, covered, ones), THERE)


def _opinions(
    found: Found, picture: NDArray[np.uint8], classifier: DigitClassifier, covered: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The classifier's probabilities ``[n, 10]``; equal ones where there is no ink."""
    opinions = np.full((len(found), CLASSES), 1 / CLASSES, np.float32)
    if not len(found):
        return opinions
    longest = max(picture.shape[:2])
    side = min(_HEIGHT / float(np.median(found.boxes[:, 3])) * longest, _MOST_SIDE)
    try:
        ink, _ = find_foreground(np.ascontiguousarray(picture), side=round(side))
    except NoDigitError:
        return opinions
    scale = np.array([ink.shape[1] / picture.shape[1], ink.shape[0] / picture.shape[0]] * 2)
    boxes = found.boxes * scale
    others = _ink_of_others(ink, boxes, covered, found.chances >= _FOUND)
    images = np.stack([_cut(ink, box, others.get(place)) for place, box in enumerate(boxes)])
    seen = np.flatnonzero(images.max((1, 2)) > 0)
    if len(seen):
        opinions[seen] = np.stack([reading.probabilities for reading in classifier.predict(images[seen])])
    return opinions


def _ink_of_others(
    ink: NDArray[np.float32], boxes: NDArray[np.float64], covered: NDArray[np.float32], are_digits: NDArray[np.bool_]
) -> dict[int, NDArray[np.bool_]]:
    """For each box that another one covers in part, which cells of its cut hold ink of other digits.

    Connected ink lies nearly whole in the box of its digit; that of two digits that touch lies in neither, and stays.
    """
    crowded: list[int] = np.flatnonzero(covered > _REACHED).tolist()
    if not crowded:
        return {}
    numbers, count = label(ink > INK)
    whole = np.bincount(numbers.ravel(), minlength=count + 1)
    best = np.zeros(count + 1)  # share of connected ink in the box that has most of it
    for place in np.flatnonzero(are_digits).tolist():
        there, share = _shares(numbers, boxes[place], whole)
        np.maximum.at(best, there, share)
    found = {}
    for place in crowded:
        there, share = _shares(numbers, boxes[place], whole)
        own = np.zeros(count + 1)
        own[there] = share
        part = numbers[_window(boxes[place], around=_AROUND)]
        is_other = (part > 0) & (own[part] < _OWN) & (best[part] > _OTHERS)
        soft = dilated(dilated(is_other, 1, 0), 1, 1) & (part == 0)
        found[place] = is_other | soft
    return found


def _shares(
    numbers: NDArray[np.int32], box: NDArray[np.float64], whole: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The numbers of the connected ink in a box, and how much of each lies there."""
    there, cells = np.unique(numbers[_window(box)], return_counts=True)
    return there, cells / whole[there]


def _window(box: NDArray[np.float64], *, around: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of a box, and so much more on each side."""
    low = np.floor(box[:2] - box[2:] * (0.5 + around)).astype(int).clip(0)
    high = np.ceil(box[:2] + box[2:] * (0.5 + around)).astype(int).clip(0)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _covered(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of each box another one covers, at most: its ink is in the way."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    found = np.zeros(len(boxes), np.float32)
    for place, box in enumerate(boxes):
        sides = np.minimum(high, high[place]) - np.maximum(low, low[place])
        shared = sides.clip(0).prod(1)
        shared[place] = 0
        found[place] = shared.max() / max(float(box[2:].prod()), 1e-6)
    return found


def _cut(
    ink: NDArray[np.float32], box: NDArray[np.float64], left_out: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """The ink of one box as MNIST shows a digit, without some cells; all 0 where there is none."""
    part = ink[_window(box, around=_AROUND)]
    if left_out is not None:
        part = np.where(left_out, np.float32(0), part)
    if not part.size or not part.max() > 0.3:  # noqa: PLR2004  # no ink, but the soft edge of some
        return np.zeros((28, 28), np.float32)
    return center_digit(np.pad(part, _EMPTY))
