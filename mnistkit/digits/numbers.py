"""Read numbers: digits in a row or rows on one picture, as in postcodes and dates.

Ink is cut into parts more often than needed, neighbouring parts are read together in every sensible way, and the
cheapest chain of readings wins: what the classifier is sure of, shaped as its digit is, as high as the row, cut through
little ink.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mnistkit.core.errors import NoDigitError
from mnistkit.digits.pictures import WORKING_SIDE, decode_sized, find_ink, name_of, place
from mnistkit.digits.segmentation import Piece, cut, find_pieces, find_rows, is_slash, join, usual_height

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnistkit.digits.classifier import Classifier, Prediction
    from mnistkit.digits.pictures import Source


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in the picture's own pixels, as a person sees it (EXIF orientation applied)."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Digit:
    """One digit of a number.

    Attributes:
        digit: Class number, 0 to 9.
        label: The class' name.
        confidence: Probability of that class, in [0, 1].
        probabilities: float32 ``[10]``.
        box: Where it stands.
        row: Its row, from 0.
        after_gap: Whether a wide gap or a separator (a dash, a dot) stands before it in its row.
    """

    digit: int
    label: str
    confidence: float
    probabilities: NDArray[np.float32]
    box: Box
    row: int
    after_gap: bool


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """What a picture with several digits was read as.

    Attributes:
        digits: Row by row, each from left to right; at least one.
        width: Of the picture, in pixels, upright.
        height: Of the picture.
    """

    digits: tuple[Digit, ...]
    width: int
    height: int

    @property
    def rows(self) -> tuple[str, ...]:
        """The labels of each row, a space where a gap is wide."""
        texts = [""] * (self.digits[-1].row + 1)
        for digit in self.digits:
            texts[digit.row] += f" {digit.label}" if digit.after_gap else digit.label
        return tuple(texts)

    @property
    def text(self) -> str:
        """All rows, one a line."""
        return "\n".join(self.rows)

    @property
    def confidence(self) -> float:
        """Probability that all digits are right, taking them as independent."""
        return math.prod(digit.confidence for digit in self.digits)


def read_number(classifier: Classifier, source: Source) -> Number:
    """Read all digits of a picture.

    Args:
        classifier: Who reads the single digits.
        source: A path, the bytes of a picture file, a Pillow image, or a uint8 array, as for `read_picture`.

    Raises:
        NoDigitError: Nothing that looks like digits is drawn on the picture.
        PictureError: The picture cannot be read.
        InputError: An array has the wrong type or shape.
    """
    picture, (width, height) = decode_sized(source)
    name = name_of(source)
    pieces, shape = _pieces(picture, name)
    usual = usual_height(pieces)
    digits: list[Digit] = []
    for pieces_of_row in find_rows(pieces):
        found = _read_row(classifier, pieces_of_row, usual)
        row = digits[-1].row + 1 if digits else 0
        gaps = _wide_gaps([piece for piece, _ in found], pieces_of_row)
        for (piece, reading), after_gap in zip(found, gaps, strict=True):
            box = _box(piece, across=width / shape[1], down=height / shape[0])
            digits.append(
                Digit(reading.digit, reading.label, reading.confidence, reading.probabilities, box, row, after_gap)
            )
    if not digits:
        raise NoDigitError(f"{name}: no digit found; nothing on it has the shape of one")
    return Number(tuple(digits), width, height)


# --- finding --------------------------------------------------------------------------------------------------------

_WANTED: Final = 72  # cells a digit should be high: strokes of several cells, and still quick
_FITTING: Final = (48, 130)
_MOST: Final = 1_500_000  # cells of a plane


def _pieces(picture: NDArray[np.uint8], name: str) -> tuple[list[Piece], tuple[int, int]]:
    """Pieces of ink at a size where digits are about `_WANTED` cells high, and the plane's shape."""
    side = float(WORKING_SIDE)
    strokes, sure = find_ink(picture, side=side, name=name)
    pieces = find_pieces(strokes, sure)
    usual = usual_height(pieces)
    if usual and not _FITTING[0] <= usual <= _FITTING[1]:
        largest = side * math.sqrt(_MOST / strokes.size)
        side = min(side * _WANTED / usual, largest)
        strokes, sure = find_ink(picture, side=round(side), name=name)
        pieces = find_pieces(strokes, sure)
    return pieces, (strokes.shape[0], strokes.shape[1])


def _box(piece: Piece, *, across: float, down: float) -> Box:
    x, y = math.floor(piece.left * across), math.floor(piece.top * down)
    return Box(x, y, math.ceil(piece.right * across) - x, math.ceil(piece.bottom * down) - y)


# --- reading a row --------------------------------------------------------------------------------------------------

_MOST_PARTS: Final = 5  # of one digit


@dataclass(frozen=True, slots=True)
class Prices:
    """What a reading of a row costs, in nats like the classifier's own -log(confidence).

    Found by trying on rows made from MNIST's training images.
    """

    doubt: float = 4.5  # times -log(confidence)
    shape: float = 0.25  # times the digit's own -log of how usual its width by height is
    size: float = 0.5  # the same for its height beside the row's
    digit: float = -1.0  # each digit
    cut: float = 0.1  # each cut through touching ink
    stroke: float = 1.0  # each stroke width of ink that a cut crosses
    join: float = 1.4  # two pieces that do not touch as one digit
    gap: float = 8.5  # each digit height between them
    tall: float = 1.5  # both of them as high as a digit
    omit: float = 5.0  # a piece as high as a digit is left out
    slash: float = 6.0  # what looks like the stroke in a date is taken for a digit, or for the end of one


PRICES: Final = Prices()

_HEIGHT_SPREAD: Final = 0.22  # of log height within a row
# Mean and standard deviation of log(width / height) of each digit, measured on MNIST's 60,000 training images.
_SHAPES: Final = (
    (-0.11, 0.20), (-0.94, 0.46), (-0.07, 0.22), (-0.24, 0.21), (-0.25, 0.22),
    (-0.08, 0.26), (-0.33, 0.22), (-0.27, 0.22), (-0.29, 0.22), (-0.40, 0.21),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    piece: Piece
    whole: Piece  # that it was cut from
    cuts: int  # before it: 1 or, where its piece begins, 0
    crossed: float  # stroke widths of ink in that cut


def _read_row(classifier: Classifier, pieces: Sequence[Piece], usual: float) -> list[tuple[Piece, Prediction]]:
    """The cheapest chain of readings over the parts of a row."""
    parts = _parts(pieces, usual)
    spans = _spans(parts, usual)
    if not spans:
        return []
    joined = [join([part.piece for part in parts[first:last]]) for first, last in spans]
    readings = classifier.predict(np.stack([place(np.pad(piece.ink, 6)) for piece in joined]))
    chain = _cheapest(parts, spans, joined, readings, usual=usual, prices=PRICES)
    return [(joined[span], readings[span]) for span in chain]


def _cheapest(
    parts: Sequence[_Part],
    spans: Sequence[tuple[int, int]],
    joined: Sequence[Piece],
    readings: Sequence[Prediction],
    *,
    usual: float,
    prices: Prices,
) -> list[int]:
    """The spans of the cheapest chain from the first part to the last; a part may also be left out."""
    best: list[tuple[float, int, int | None]] = [(0.0, 0, None)]  # price so far, where the last step began, its span
    by_end: dict[int, list[int]] = {}
    for number, (_, last) in enumerate(spans):
        by_end.setdefault(last, []).append(number)
    for end in range(1, len(parts) + 1):
        piece = parts[end - 1].piece
        slash = is_slash(piece, usual)
        left_out = 0.0 if slash else 0.5 + prices.omit * (piece.height / usual) ** 2
        options: list[tuple[float, int, int | None]] = [(best[end - 1][0] + left_out, end - 1, None)]
        for number in by_end.get(end, []):
            first = spans[number][0]
            price = (
                best[first][0] + prices.digit + parts[first].cuts * prices.cut + parts[first].crossed * prices.stroke
            )
            price += _price(joined[number], readings[number], usual, prices)
            price += _joining(parts[first:end], usual, prices)
            price += prices.slash if slash else 0.0
            options.append((price, first, number))
        best.append(min(options, key=lambda option: option[0]))
    chain: list[int] = []
    end = len(parts)
    while end:
        _, end, span = best[end]
        if span is not None:
            chain.append(span)
    return chain[::-1]


def _parts(pieces: Sequence[Piece], usual: float) -> list[_Part]:
    parts: list[_Part] = []
    for piece in pieces:
        if piece.width < 0.6 * usual or piece.height < 0.5 * usual or is_slash(piece, usual):
            parts.append(_Part(piece, piece, 0, 0.0))
            continue
        cuts, crossed = cut(piece, usual)
        parts.append(_Part(cuts[0], piece, 0, 0.0))
        parts += [_Part(part, piece, 1, ink) for part, ink in zip(cuts[1:], crossed, strict=True)]
    parts.sort(key=lambda part: part.piece.left + part.piece.right)
    return parts


def _spans(parts: Sequence[_Part], usual: float) -> list[tuple[int, int]]:
    """Neighbouring parts that could be one digit: first and one past the last."""
    spans = []
    for first in range(len(parts)):
        for last in range(first + 1, min(first + _MOST_PARTS, len(parts)) + 1):
            pieces = [part.piece for part in parts[first:last]]
            width = max(piece.right for piece in pieces) - min(piece.left for piece in pieces)
            height = max(piece.bottom for piece in pieces) - min(piece.top for piece in pieces)
            if height < 0.45 * usual:
                continue
            if len(pieces) > 1 and (width > 1.7 * usual or height > 1.8 * usual):
                continue
            spans.append((first, last))
    return spans


def _price(piece: Piece, reading: Prediction, usual: float, prices: Prices) -> float:
    mean, spread = _SHAPES[reading.digit]
    shape = (math.log(piece.width / piece.height) - mean) / spread
    if reading.digit == 1:
        shape = max(shape, 0.0)  # a plain stroke may be as narrow as the pen
    size = math.log(piece.height / usual) / _HEIGHT_SPREAD
    return (
        -prices.doubt * math.log(max(reading.confidence, 1e-6))
        + prices.shape * 0.5 * min(shape * shape, 16)
        + prices.size * 0.5 * min(size * size, 16)
    )


def _joining(parts: Sequence[_Part], usual: float, prices: Prices) -> float:
    """What it costs to take pieces that do not touch for one digit: less where one stands above the other."""
    price = 0.0
    for before, after in itertools.pairwise(parts):
        if before.whole is after.whole:
            continue
        one, other = before.piece, after.piece
        shared = min(one.right, other.right) - max(one.left, other.left)
        if min(before.whole.height, after.whole.height) > 0.6 * usual:
            price += prices.tall
        if shared >= 0:
            price += prices.join * (1 - 2 * shared / min(one.width, other.width))
        else:
            price += prices.join + prices.gap * -shared / usual
    return price


def _wide_gaps(digits: Sequence[Piece], pieces: Sequence[Piece]) -> list[bool]:
    """For each digit of a row whether a wide gap, or a mark that is no digit, stands before it."""
    if not digits:
        return []
    height = float(np.median([digit.height for digit in digits]))
    gaps = [max(after.left - before.right, 0) for before, after in itertools.pairwise(digits)]
    usual = float(np.median(gaps)) if len(gaps) > 1 else 0.0
    wide = [False]
    for (before, after), gap in zip(itertools.pairwise(digits), gaps, strict=True):
        marked = any(
            before.right <= (piece.left + piece.right) / 2 <= after.left and piece.mass > 0.01 * before.mass
            for piece in pieces
        )
        wide.append(marked or gap > max(0.7 * height, 2.2 * usual))
    return wide
