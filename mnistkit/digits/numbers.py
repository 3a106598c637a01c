"""Read numbers: digits in a row or rows on one picture, as in postcodes and dates.

Over-segmentation and dynamic programming: connected ink is split at every place where two digits may touch, every
plausible group of neighboring segments is classified, and the segmentation of lowest cost is taken. A reading costs
little when the classifier is confident, when its width by height is usual for that digit, when it is as high as the
row, and when its cuts cross little ink.
"""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mnistkit.core.errors import InputError, NoDigitError, PictureError
from mnistkit.digits.contract import DIGITS
from mnistkit.digits.digit_string import Box, Digit, DigitString
from mnistkit.digits.pictures import MAX_PIXELS, WORKING_SIDE, center_digit, decode_sized, find_foreground, name_of
from mnistkit.digits.reader import looks
from mnistkit.digits.reader.detect import read_with_net
from mnistkit.digits.reader.looks import smaller
from mnistkit.digits.reader.signs import are_signs, find_ink, may_be_signs
from mnistkit.digits.segmentation import (
    Component,
    TooManyComponentsError,
    find_components,
    find_rows,
    is_slash,
    median_height_of,
    merge,
    split_touching,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnistkit.digits.digit_string import DigitClassifier, DigitReading
    from mnistkit.digits.pictures import Source
    from mnistkit.digits.reader.detect import NetReading


def read_digits(
    classifier: DigitClassifier,
    source: Source,
    *,
    max_pixels: int = MAX_PIXELS,
    use_net: bool | None = None,
    signs: bool = False,
) -> DigitString:
    """Read all digits of a picture.

    The packaged net finds the digits; a classifier with other labels than the ten digits reads the pieces that the ink
    is cut into.

    Args:
        classifier: What reads the single digits, such as a `mnistkit.Classifier`.
        source: A path, the bytes of a picture file, a Pillow image, or a uint8 array, as for `read_picture`.
        max_pixels: Pictures with more pixels are refused before they are decoded.
        use_net: Whether the packaged net finds the digits; by default where the labels are the ten digits.
        signs: Keep separators and operators between the digits in the text: + - x / = ( ) , . : and the division sign.

    Raises:
        NoDigitError: Nothing that looks like digits is drawn on the picture.
        PictureError: The picture cannot be read, or has more marks than digits in rows can be.
        InputError: An array has the wrong type or shape, or signs are asked for without the net.
    """
    picture, size = decode_sized(source, max_pixels=max_pixels)
    return read_decoded(classifier, picture, size, name=name_of(source), use_net=use_net, signs=signs)


def read_decoded(
    classifier: DigitClassifier,
    picture: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    name: str = "picture",
    use_net: bool | None = None,
    signs: bool = False,
) -> DigitString:
    """As `read_digits`, for a picture that is decoded already.

    Args:
        classifier: What reads the single digits.
        picture: uint8 ``[rows, columns, channels]``, as `mnistkit.digits.pictures.decode_sized` returns it.
        size: The picture's own width and height.
        name: How error messages call the picture.
        use_net: As for `read_digits`.
        signs: As for `read_digits`.

    Raises:
        InputError: Signs are asked for without the net.
        NoDigitError: Nothing that looks like digits is drawn on the picture.
        PictureError: The picture has more marks than digits in rows can be.
    """
    labels = tuple(getattr(classifier, "labels", DIGITS))
    if use_net is None:
        use_net = can_use_net(classifier)
    if signs and not use_net:
        raise InputError("signs are told beside digits that the packaged net finds; the labels must be 0 to 9")
    if use_net:
        try:
            read = read_with_net(picture, size, classifier=classifier, signs=signs)
        except (looks.TooManyDigitsError, TooManyComponentsError) as error:
            raise PictureError(f"{name}: has {error}; cut out a part of it") from None
        digits, complete = read.digits, read.complete
        if not (read.is_sure or read.signs):
            better = _cut_where_better(classifier, picture, read, size)
            digits, complete = (digits, complete) if better is None else (better, 1.0)
        if not digits:
            raise NoDigitError(f"{name}: no digit found; nothing on it looks like one")
        return DigitString(digits, *size, labels, complete, read.signs)
    try:
        digits = _cut(classifier, picture, size, name=name)
    except TooManyComponentsError as error:
        raise PictureError(f"{name}: {error}; it may be noise or a page of text; cut out the number") from None
    if not digits:
        raise NoDigitError(f"{name}: no digit found; nothing on it has the shape of one")
    return DigitString(digits, *size, labels)


def can_use_net(classifier: DigitClassifier) -> bool:
    """Whether the packaged net may find the digits: the classifier's labels are the ten digits."""
    return looks.is_there() and tuple(getattr(classifier, "labels", DIGITS)) == DIGITS


def _cut_where_better(
    classifier: DigitClassifier, picture: NDArray[np.uint8], read: NetReading, size: tuple[int, int]
) -> tuple[Digit, ...] | None:
    """Where the net is in doubt, what cutting the ink says: if it is sure and agrees with all the net is sure of."""
    picture = smaller(picture)
    try:
        cut = _cut(classifier, picture, size, name="picture", most=_MOST_IN_DOUBT)
    except (NoDigitError, TooManyComponentsError):
        return None
    text = "".join(str(digit.digit) for digit in cut)
    sure = [str(digit.digit) for digit in read.digits if digit.confidence >= _AGREED]
    left = iter(text)
    agrees = all(digit in left for digit in sure) and len(cut) <= read.possible + 1
    alone = len(cut) == read.possible == 1
    if not cut or not (sure or alone) or not agrees or min(digit.confidence for digit in cut) < _AGREED:
        return None
    if _has_signs(picture, cut, size):
        return None
    return tuple(_less_sure(digit) for digit in cut)


def _has_signs(picture: NDArray[np.uint8], digits: Sequence[Digit], size: tuple[int, int]) -> bool:
    """Whether some of the digits have the shape of operators or brackets."""
    boxes_of = (digit.box for digit in digits)
    edges = [(box.x + box.width / 2, box.y + box.height / 2, box.width, box.height) for box in boxes_of]
    across, down = picture.shape[1] / size[0], picture.shape[0] / size[1]
    boxes = np.array(edges, np.float32) * np.array([across, down, across, down], np.float32)
    if not may_be_signs(boxes).any():
        return False
    try:
        return bool(are_signs(find_ink(picture, boxes), boxes).any())
    except TooManyComponentsError:
        return False


def _less_sure(digit: Digit) -> Digit:
    """A digit that was cut where the net was in doubt; the rest of the probability is for none of the ten."""
    return replace(
        digit, confidence=digit.confidence * _AGREED, probabilities=digit.probabilities * np.float32(_AGREED)
    )


def _cut(
    classifier: DigitClassifier,
    picture: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    name: str,
    most: int | None = None,
) -> tuple[Digit, ...]:
    """The digits of a picture whose ink is cut; ``most`` components."""
    components, shape = _components(picture, name)
    if most is not None and len(components) > most:
        raise TooManyComponentsError(f"{len(components)} marks")
    median_height = median_height_of(components)
    digits: list[Digit] = []
    for components_of_row in find_rows(components):
        found = _read_row(classifier, components_of_row, median_height)
        row = digits[-1].row + 1 if digits else 0
        gaps = _wide_gaps([component for component, _ in found], components_of_row)
        for (component, reading), after_gap in zip(found, gaps, strict=True):
            box = _box(component, across=size[0] / shape[1], down=size[1] / shape[0])
            digits.append(
                Digit(reading.digit, reading.label, reading.confidence, reading.probabilities, box, row, after_gap)
            )
    return tuple(digits)


_MOST_IN_DOUBT: Final = 40  # components that are cut where the net is in doubt: this is slow with many
_AGREED: Final = 0.9  # confidence of what is beyond doubt

_RENAMED: Final = {"read_number": "read_digits", "Number": "DigitString"}


def __getattr__(name: str) -> Any:
    """The names of earlier versions.

    Raises:
        AttributeError: There is no such name.
    """
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = f"mnistkit.digits.numbers.{name} is now called {_RENAMED[name]}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return globals()[_RENAMED[name]]


# --- finding --------------------------------------------------------------------------------------------------------

_WANTED: Final = 72  # cells a digit should be high: strokes of several cells, and still quick
_FITTING: Final = (48, 130)
_MOST: Final = 1_500_000  # cells of a plane


def _components(picture: NDArray[np.uint8], name: str) -> tuple[list[Component], tuple[int, int]]:
    """Components of ink at a size where digits are about `_WANTED` cells high, and the plane's shape."""
    side = float(WORKING_SIDE)
    foreground, confident = find_foreground(picture, side=side, name=name)
    components = find_components(foreground, confident)
    median_height = median_height_of(components)
    if median_height and not _FITTING[0] <= median_height <= _FITTING[1]:
        largest = side * math.sqrt(_MOST / foreground.size)
        side = min(side * _WANTED / median_height, largest)
        foreground, confident = find_foreground(picture, side=round(side), name=name)
        components = find_components(foreground, confident)
    return components, (foreground.shape[0], foreground.shape[1])


def _box(component: Component, *, across: float, down: float) -> Box:
    x, y = math.floor(component.left * across), math.floor(component.top * down)
    return Box(x, y, math.ceil(component.right * across) - x, math.ceil(component.bottom * down) - y)


# --- reading a row --------------------------------------------------------------------------------------------------

_MOST_SEGMENTS: Final = 5  # of one digit


@dataclass(frozen=True, slots=True)
class CostWeights:
    """What a reading of a row costs, in nats like the classifier's own -log(confidence).

    Found by trying on rows made from MNIST's training images.
    """

    confidence: float = 4.5  # times -log(confidence)
    shape: float = 0.25  # times the digit's own -log of how usual its width by height is
    size: float = 0.5  # the same for its height beside the row's
    digit: float = -1.0  # each digit
    cut: float = 0.1  # each cut through touching ink
    stroke: float = 1.0  # each stroke width of ink that a cut crosses
    merge: float = 1.4  # two components that do not touch as one digit
    gap: float = 8.5  # each digit height between them
    tall: float = 1.5  # both of them as high as a digit
    omit: float = 5.0  # a component as high as a digit is left out
    slash: float = 6.0  # what looks like the stroke in a date is taken for a digit, or for the end of one


COST_WEIGHTS: Final = CostWeights()

_HEIGHT_SPREAD: Final = 0.22  # of log height within a row
# Mean and standard deviation of log(width / height) of each digit, measured on MNIST's 60,000 training images.
_SHAPES: Final = (
    (-0.11, 0.20), (-0.94, 0.46), (-0.07, 0.22), (-0.24, 0.21), (-0.25, 0.22),
    (-0.08, 0.26), (-0.33, 0.22), (-0.27, 0.22), (-0.29, 0.22), (-0.40, 0.21),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    component: Component
    parent: Component  # that it was cut from
    cuts: int  # before it: 1 or, where its component begins, 0
    crossed: float  # stroke widths of ink in that cut


def _read_row(
    classifier: DigitClassifier, components: Sequence[Component], median_height: float
) -> list[tuple[Component, DigitReading]]:
    """The cheapest chain of readings over the segments of a row."""
    segments = _segments(components, median_height)
    candidates = _candidates(segments, median_height)
    if not candidates:
        return []
    merged = [merge([segment.component for segment in segments[first:last]]) for first, last in candidates]
    readings = classifier.predict(np.stack([center_digit(np.pad(component.ink, 6)) for component in merged]))
    chain = _cheapest(segments, candidates, merged, readings, median_height=median_height, weights=COST_WEIGHTS)
    return [(merged[candidate], readings[candidate]) for candidate in chain]


def _cheapest(
    segments: Sequence[_Segment],
    candidates: Sequence[tuple[int, int]],
    merged: Sequence[Component],
    readings: Sequence[DigitReading],
    *,
    median_height: float,
    weights: CostWeights,
) -> list[int]:
    """The candidates of the cheapest chain from the first segment to the last; a segment may also be left out."""
    best: list[tuple[float, int, int | None]] = [
        (0.0, 0, None)
    ]  # cost so far, where the last step began, its candidate
    by_end: dict[int, list[int]] = {}
    for number, (_, last) in enumerate(candidates):
        by_end.setdefault(last, []).append(number)
    for end in range(1, len(segments) + 1):
        component = segments[end - 1].component
        slash = is_slash(component, median_height)
        left_out = 0.0 if slash else 0.5 + weights.omit * (component.height / median_height) ** 2
        options: list[tuple[float, int, int | None]] = [(best[end - 1][0] + left_out, end - 1, None)]
        for number in by_end.get(end, []):
            first = candidates[number][0]
            cost = (
                best[first][0]
                + weights.digit
                + segments[first].cuts * weights.cut
                + segments[first].crossed * weights.stroke
            )
            cost += _reading_cost(merged[number], readings[number], median_height, weights)
            cost += _merging_cost(segments[first:end], median_height, weights)
            cost += weights.slash if slash else 0.0
            options.append((cost, first, number))
        best.append(min(options, key=lambda option: option[0]))
    chain: list[int] = []
    end = len(segments)
    while end:
        _, end, candidate = best[end]
        if candidate is not None:
            chain.append(candidate)
    return chain[::-1]


def _segments(components: Sequence[Component], median_height: float) -> list[_Segment]:
    segments: list[_Segment] = []
    for component in components:
        if (
            component.width < 0.6 * median_height
            or component.height < 0.5 * median_height
            or is_slash(component, median_height)
        ):
            segments.append(_Segment(component, component, 0, 0.0))
            continue
        cuts, crossed = split_touching(component, median_height)
        segments.append(_Segment(cuts[0], component, 0, 0.0))
        segments += [_Segment(segment, component, 1, ink) for segment, ink in zip(cuts[1:], crossed, strict=True)]
    segments.sort(key=lambda segment: segment.component.left + segment.component.right)
    return segments


def _candidates(segments: Sequence[_Segment], median_height: float) -> list[tuple[int, int]]:
    """Neighboring segments that could be one digit: first and one past the last."""
    candidates = []
    for first in range(len(segments)):
        for last in range(first + 1, min(first + _MOST_SEGMENTS, len(segments)) + 1):
            components = [segment.component for segment in segments[first:last]]
            width = max(component.right for component in components) - min(component.left for component in components)
            height = max(component.bottom for component in components) - min(component.top for component in components)
            if height < 0.45 * median_height:
                continue
            if len(components) > 1 and (width > 1.7 * median_height or height > 1.8 * median_height):
                continue
            candidates.append((first, last))
    return candidates


def _reading_cost(component: Component, reading: DigitReading, median_height: float, weights: CostWeights) -> float:
    mean, spread = _SHAPES[reading.digit]
    shape = (math.log(component.width / component.height) - mean) / spread
    if reading.digit == 1:
        shape = max(shape, 0.0)  # a plain stroke may be as narrow as the pen
    size = math.log(component.height / median_height) / _HEIGHT_SPREAD
    return (
        -weights.confidence * math.log(max(reading.confidence, 1e-6))
        + weights.shape * 0.5 * min(shape * shape, 16)
        + weights.size * 0.5 * min(size * size, 16)
    )


def _merging_cost(segments: Sequence[_Segment], median_height: float, weights: CostWeights) -> float:
    """What it costs to take components that do not touch for one digit: less where one stands above the other."""
    cost = 0.0
    for before, after in itertools.pairwise(segments):
        if before.parent is after.parent:
            continue
        one, other = before.component, after.component
        shared = min(one.right, other.right) - max(one.left, other.left)
        if min(before.parent.height, after.parent.height) > 0.6 * median_height:
            cost += weights.tall
        if shared >= 0:
            cost += weights.merge * (1 - 2 * shared / min(one.width, other.width))
        else:
            cost += weights.merge + weights.gap * -shared / median_height
    return cost


def _wide_gaps(digits: Sequence[Component], components: Sequence[Component]) -> list[bool]:
    """For each digit of a row whether a wide gap, or a mark that is no digit, stands before it."""
    if not digits:
        return []
    height = float(np.median([digit.height for digit in digits]))
    gaps = [max(after.left - before.right, 0) for before, after in itertools.pairwise(digits)]
    median_gap = float(np.median(gaps)) if len(gaps) > 1 else 0.0
    wide = [False]
    for (before, after), gap in zip(itertools.pairwise(digits), gaps, strict=True):
        marked = any(
            before.right <= (component.left + component.right) / 2 <= after.left and component.mass > 0.01 * before.mass
            for component in components
        )
        wide.append(marked or gap > max(0.7 * height, 2.2 * median_gap))
    return wide
