"""Read all digits of a picture with the reader's net."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mnistkit.digits.contract import DIGITS
from mnistkit.digits.digit_string import Box, Digit, Sign
from mnistkit.digits.pictures import normalize
from mnistkit.digits.reader.confidence import LEAST_SURE, LEAST_THERE
from mnistkit.digits.reader.looks import find_digits, smaller
from mnistkit.digits.reader.rows import find_rows, wide_gaps
from mnistkit.digits.reader.signs import are_signs, find_ink, find_signs, may_be_signs
from mnistkit.digits.reader.vote import with_votes
from mnistkit.digits.segmentation import TooManyComponentsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.digits.digit_string import DigitClassifier
    from mnistkit.digits.reader.peaks import Found

_POSSIBLE: Final = 0.1  # probability of a digit that may be one
_SURE: Final = 0.7  # and of one that is beyond doubt
_FEW: Final = 4  # marks that may be a digit or two and no text
_TINY: Final = 64  # pixels: of a picture that holds one digit
_MANY: Final = 3  # digits in a row from which a stroke between them can be told
_STROKE_HEIGHT: Final = 1.22  # of the row's usual height: no 1 is so much higher
_STROKE_WIDTH: Final = 0.3  # of it: the stroke leans
_STROKE_FOOT: Final = 0.07  # of it: the stroke ends below the digits beside it, a long 1 stands on their line
_BESIDE: Final = 2  # digits on each side
_BELOW: Final = 0.99  # of the likeliest digit's probability: no other has more


@dataclass(frozen=True, slots=True, eq=False)
class NetReading:
    """What the net read.

    Attributes:
        digits: In reading order.
        possible: How many digits there may be: with those that are less likely than not.
        is_sure: Whether none of them is in doubt.
        complete: Probability that none of those that are less likely than not is a digit.
        signs: Between the digits, where they were asked for.
    """

    digits: tuple[Digit, ...]
    possible: int
    is_sure: bool
    complete: float = 1.0
    signs: tuple[Sign, ...] = ()


def read_with_net(
    picture: NDArray[np.uint8], size: tuple[int, int], *, classifier: DigitClassifier, signs: bool = False
) -> NetReading:
    """The digits of a decoded picture in reading order; none where none is found.

    Args:
        picture: uint8 ``[rows, columns, channels]``.
        size: The picture's own width and height: it may have been decoded smaller.
        classifier: What reads single digits; it votes.
        signs: Tell the signs between the digits too.

    Raises:
        TooManyDigitsError: There are more digits than can be told.
        TooManyComponentsError: Signs are asked for, and there are too many marks.
    """
    picture = smaller(picture)
    found, turns = find_digits(picture)
    upright = np.rot90(picture, -turns)
    voted = with_votes(found, upright, classifier)
    # A digit whose class is likelier wrong than there is nothing is better left out.
    is_digit = (voted.there >= LEAST_THERE) & (voted.right >= 1 - voted.there)
    if len(found) > _FEW and not (voted.right[is_digit] >= LEAST_SURE).any():
        is_digit[:] = False  # text
    if len(found) and max(picture.shape[:2]) <= _TINY and not is_digit.any():
        return NetReading((_only_digit(picture, size, classifier, doubt=float(voted.there.max())),), 1, is_sure=True)
    unsure = (voted.there >= _POSSIBLE) & (voted.there < _SURE)
    possible = int((voted.there >= _POSSIBLE).sum())
    complete = float(np.prod(1 - voted.there[~is_digit & (voted.there >= _POSSIBLE)], dtype=np.float64))
    voted = voted.only(is_digit)
    ink = None
    if len(voted.found) and (signs or may_be_signs(voted.found.boxes).any()):
        try:
            ink = find_ink(upright, voted.found.boxes)
        except TooManyComponentsError:
            if signs:
                raise
        else:
            voted = voted.only(~are_signs(ink, voted.found.boxes))
    found = voted.found
    across, down = size[0] / picture.shape[1], size[1] / picture.shape[0]

    def on_picture(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        turned = _turned_back(boxes, turns, picture.shape[1], picture.shape[0])
        return np.asarray(turned * np.array([across, down, across, down]), np.float32)

    boxes = on_picture(found.boxes)
    digits: list[Digit] = []
    rows = _without_strokes(found)
    for row, places in enumerate(rows):
        for place, after_gap in places:
            digit = int(found.classes[place].argmax())
            confidence = float(voted.right[place])
            probabilities = _scaled(found.classes[place], confidence)
            box = _box(boxes[place], size)
            digits.append(Digit(digit, DIGITS[digit], confidence, probabilities, box, row, after_gap))
    told: tuple[Sign, ...] = ()
    if ink is not None and signs and digits:
        kept = [place for places in rows for place, _ in places]
        numbers = np.cumsum([0, *map(len, rows)])
        marks = find_signs(ink, found.boxes[kept], [range(*ends) for ends in itertools.pairwise(numbers.tolist())])
        places_of = on_picture(np.array([mark.box for mark in marks], np.float32).reshape(-1, 4))
        told = tuple(
            Sign(mark.text, _box(box, size), mark.row, mark.place) for mark, box in zip(marks, places_of, strict=True)
        )
    return NetReading(tuple(digits), possible, is_sure=turns != 0 or not unsure.any(), complete=complete, signs=told)


def _only_digit(
    picture: NDArray[np.uint8], size: tuple[int, int], classifier: DigitClassifier, *, doubt: float
) -> Digit:
    """The one digit of a tiny picture that the net is not sure of: there is no room for more."""
    (read,) = classifier.predict(normalize(picture)[None])
    confidence = read.confidence * doubt
    probabilities = _scaled(np.array(read.probabilities), confidence)
    return Digit(read.digit, DIGITS[read.digit], confidence, probabilities, Box(0, 0, *size), row=0, after_gap=False)


def _scaled(classes: NDArray[np.float32], confidence: float) -> NDArray[np.float32]:
    """Probabilities of the ten digits, of which the likeliest has its confidence; the rest to 1 is for none of them."""
    found = classes.copy()
    best = int(found.argmax())
    found[best] = 0
    rest = float(found.sum())
    if rest > 0:
        found *= min(1.0, (1 - confidence) / rest, _BELOW * confidence / float(found.max()))
    found[best] = confidence
    return found


def _without_strokes(found: Found) -> list[list[tuple[int, bool]]]:
    """Rows of places, each with whether a gap stands before it; without the strokes in dates, which look like a 1."""
    rows = []
    ones = found.classes.argmax(1) == 1
    for places in find_rows(found.boxes):
        boxes = found.boxes[places]
        high = float(np.median(boxes[:, 3]))
        is_stroke = ones[places] & (boxes[:, 3] > _STROKE_HEIGHT * high) & (boxes[:, 2] > _STROKE_WIDTH * high)
        is_stroke &= _below_line(boxes, is_stroke) > _STROKE_FOOT * high
        if len(places) < _MANY or is_stroke.sum() > len(places) / 2:
            is_stroke[:] = False
        kept = np.flatnonzero(~is_stroke)
        gaps = wide_gaps(boxes[kept])
        after_stroke = np.isin(kept - 1, np.flatnonzero(is_stroke)) & (kept > kept[0])
        rows.append([(places[i], bool(gap or stroke)) for i, gap, stroke in zip(kept, gaps, after_stroke, strict=True)])
    return rows


def _below_line(boxes: NDArray[np.float32], left_out: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far each box of a row, from left to right, ends below those beside it that are not left out."""
    feet = boxes[:, 1] + boxes[:, 3] / 2
    found = np.zeros(len(boxes), np.float32)
    others = np.flatnonzero(~left_out)
    for place in range(len(boxes)):
        before, after = others[others < place][-_BESIDE:], others[others > place][:_BESIDE]
        beside = np.concatenate([before, after])
        if len(beside):
            found[place] = feet[place] - np.median(feet[beside])
    return found


def _turned_back(boxes: NDArray[np.float32], turns: int, width: int, height: int) -> NDArray[np.float32]:
    """Boxes of the upright picture as they lie on the picture that was given."""
    x, y, wide, high = boxes.T
    if turns == 1:
        x, y, wide, high = y, height - x, high, wide
    elif turns == 2:  # noqa: PLR2004
        x, y = width - x, height - y
    elif turns == 3:  # noqa: PLR2004
        x, y, wide, high = width - y, x, high, wide
    return np.stack([x, y, wide, high], axis=1)


def _box(box: NDArray[np.float32], size: tuple[int, int]) -> Box:
    left, top = (max(int(np.floor(v)), 0) for v in box[:2] - box[2:] / 2)
    right, bottom = (min(int(np.ceil(v)), most) for v, most in zip(box[:2] + box[2:] / 2, size, strict=True))
    return Box(left, top, max(right - left, 1), max(bottom - top, 1))
