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

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.digits.digit_string import DigitClassifier

_HEIGHT: Final = 40.0  # cells of a digit
_MOST_SIDE: Final = 1400.0
_AROUND: Final = 0.06  # of the box, that is read too
_WEIGHT: Final = 0.6  # of the classifier's vote, the net's being 1
_CROWDED: Final = 4.0  # the vote counts nothing where another box covers a quarter
_EMPTY: Final = 6  # cells around a digit
_LEAST: Final = 1e-4  # no probability counts for less


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
        opinions[likely] = _opinions(found.only(likely), picture, classifier)
    weights = _WEIGHT * (1 - _CROWDED * covered).clip(0)
    both = found.classes * opinions.clip(_LEAST) ** weights[:, None]
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


def _opinions(found: Found, picture: NDArray[np.uint8], classifier: DigitClassifier) -> NDArray[np.float32]:
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
    images = np.stack([_cut(ink, box) for box in found.boxes * scale])
    seen = np.flatnonzero(images.max((1, 2)) > 0)
    if len(seen):
        opinions[seen] = np.stack([reading.probabilities for reading in classifier.predict(images[seen])])
    return opinions


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


def _cut(ink: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.float32]:
    """The ink of one box as MNIST shows a digit; all 0 where there is none."""
    low = np.floor(box[:2] - box[2:] * (0.5 + _AROUND)).astype(int).clip(0)
    high = np.ceil(box[:2] + box[2:] * (0.5 + _AROUND)).astype(int)
    part = ink[low[1] : high[1], low[0] : high[0]]
    if not part.size or not part.max() > 0.3:  # noqa: PLR2004  # no ink, but the soft edge of some
        return np.zeros((28, 28), np.float32)
    return center_digit(np.pad(part, _EMPTY))
