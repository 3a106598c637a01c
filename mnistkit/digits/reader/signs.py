"""What stands between digits and is none: separators and operators, told by their shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mnistkit.core.errors import NoDigitError
from mnistkit.digits.pictures import find_foreground
from mnistkit.digits.segmentation import INK, Component, find_components, merge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Boxes = NDArray[np.float32]

SIGNS: Final = ("+", "-", "x", "÷", "=", "(", ")", "/", ",", ".", ":")
"""What may be told; a multiplication sign is an x."""
_HEIGHT: Final = 44.0  # cells of a digit
_MOST_SIDE: Final = 1600.0
_BESIDE: Final = 1.3  # heights before the first digit of a row and after the last
_ABOVE: Final = 0.45  # heights that a sign may reach out of its row
_OF_DIGITS: Final = 0.3  # of a mark's ink: more lies in the boxes of digits where it is a part of one
_APART: Final = 0.35  # of the wider mark's width: marks above each other have their middles so near
_BY_KINDS: Final = {"dot": ".", "dash": "-", "dash dash": "=", "dot dot": ":", "dot dash dot": "÷"}
_OPERATORS: Final = ("+", "-", "x", "÷", "=", ".", ":")
_BRACKETS: Final = ("(", ")")  # a stroke may be a tall 1: `mnistkit.digits.reader.detect` tells them apart
_SMALL: Final = 0.92  # of the usual height, as the net measures it: operators are smaller
_TALL: Final = 1.1  # and brackets higher
_ENOUGH: Final = 2  # digits, of which one may be none
_WHOLE: Final = 0.8  # of a mark's ink in the box of what it was read as
_FILLS: Final = 0.6  # of that box' height; less is a part of a digit
_HIGHEST: Final = 1.75  # heights of a mark that is one


@dataclass(frozen=True, slots=True)
class Mark:
    """A sign that was found.

    Attributes:
        text: One of `SIGNS`.
        row: Its row.
        place: How many digits of the row stand before it.
        box: Center x, center y, width, height in pixels of the picture.
    """

    text: str
    row: int
    place: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Ink:
    """The marks of a picture.

    Attributes:
        components: Connected ink.
        scale: Cells for each of the picture's pixels: across, down, across, down.
    """

    components: Sequence[Component]
    scale: NDArray[np.float64]


def find_ink(picture: NDArray[np.uint8], boxes: Boxes) -> Ink:
    """All marks of a picture, so large that signs between digits have a shape.

    Args:
        picture: uint8 ``[rows, columns, channels]``, upright.
        boxes: Of the digits, float32 ``[n, 4]`` (center x, center y, width, height), in its pixels.

    Raises:
        TooManyComponentsError: There are more marks than can be looked at.
    """
    longest = max(picture.shape[:2])
    side = min(_HEIGHT / float(np.median(boxes[:, 3])) * longest, _MOST_SIDE)
    try:
        ink, confident = find_foreground(np.ascontiguousarray(picture), side=round(side))
        components = find_components(ink, confident)
    except NoDigitError:
        return Ink((), np.ones(4))
    return Ink(components, np.array([ink.shape[1] / picture.shape[1], ink.shape[0] / picture.shape[0]] * 2))


def may_be_signs(boxes: Boxes) -> NDArray[np.bool_]:
    """Which of the digits are so much smaller or higher than most that they may be operators or brackets."""
    if len(boxes) < _ENOUGH:
        return np.zeros(len(boxes), np.bool_)
    heights = boxes[:, 3] / np.median(boxes[:, 3])
    return np.asarray((heights < _SMALL) | (heights > _TALL))


def are_signs(ink: Ink, boxes: Boxes) -> NDArray[np.bool_]:
    """Which of the digits are operators or brackets by their shape, which the net takes for digits.

    Args:
        ink: As `find_ink` returns it.
        boxes: Of the digits.
    """
    found = may_be_signs(boxes)
    scaled = boxes * ink.scale
    height = float(np.median(scaled[:, 3])) if len(scaled) else 1.0
    edges = np.array([(one.left, one.top, one.right, one.bottom) for one in ink.components]).reshape(-1, 4)
    for place in np.flatnonzero(found):
        low, high = scaled[place, :2] - scaled[place, 2:] / 2, scaled[place, :2] + scaled[place, 2:] / 2
        near = np.flatnonzero((edges[:, :2] < high).all(1) & (edges[:, 2:] > low).all(1))
        parts = [one for one in (ink.components[i] for i in near.tolist()) if _share(one, scaled[place][None]) > _WHOLE]
        parts.sort(key=lambda part: part.top)
        fills = parts and merge(parts).height > _FILLS * scaled[place, 3]
        name = _shape(parts, height) if fills else None
        found[place] = name in (_OPERATORS if scaled[place, 3] < height else _BRACKETS)
    return found


def find_signs(ink: Ink, boxes: Boxes, rows: Sequence[Sequence[int]]) -> list[Mark]:
    """The signs in rows of digits; what has no sign's shape is left out.

    Args:
        ink: As `find_ink` returns it.
        boxes: Of the digits, without those that are signs.
        rows: Places of the digits of each row, from left to right.
    """
    scaled = boxes * ink.scale
    free = [component for component in ink.components if _share(component, scaled) <= _OF_DIGITS]
    found: list[Mark] = []
    for number, places in enumerate(rows):
        row = _Row(scaled[list(places)])
        for parts in _above_each_other([component for component in free if row.holds(component)]):
            text = _name(parts, row)
            if text:
                whole = merge(parts)
                middle = (whole.left + whole.right) / 2
                box = np.array([middle, (whole.top + whole.bottom) / 2, whole.width, whole.height]) / ink.scale
                x, y, wide, high = (float(v) for v in box)
                found.append(Mark(text, number, int((row.middles < middle).sum()), (x, y, wide, high)))
    return sorted(found, key=lambda mark: (mark.row, mark.box[0]))


class _Row:
    """A row of digits, in cells; it may slope."""

    def __init__(self, boxes: NDArray[np.float64]) -> None:
        self.middles = boxes[:, 0]
        self.height = float(np.median(boxes[:, 3]))
        self._first = float((boxes[:, 0] - boxes[:, 2] / 2).min()) - _BESIDE * self.height
        self._last = float((boxes[:, 0] + boxes[:, 2] / 2).max()) + _BESIDE * self.height
        self._levels = boxes[:, 1]
        reach = (0.5 + _ABOVE) * self.height
        self._top, self._bottom = float(self._levels.min()) - reach, float(self._levels.max()) + reach

    def level(self, component: Component) -> float:
        """How far its middle is below the middle of the digits beside it, in heights."""
        middle = (component.left + component.right) / 2
        near = np.argsort(np.abs(self.middles - middle))[:2]
        return ((component.top + component.bottom) / 2 - float(self._levels[near].mean())) / self.height

    def holds(self, component: Component) -> bool:
        """Whether it stands in the row and is no larger than a sign."""
        middle = (component.left + component.right) / 2
        if not self._top <= (component.top + component.bottom) / 2 <= self._bottom:
            return False
        reach = abs(self.level(component)) + component.height / self.height / 2
        return (
            self._first <= middle <= self._last and reach <= 0.5 + _ABOVE and component.height <= _HIGHEST * self.height
        )


def _share(component: Component, boxes: NDArray[np.float64]) -> float:
    """How much of its ink lies in boxes."""
    rows, columns = np.nonzero(component.ink > INK)
    y, x = rows + component.top, columns + component.left
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    near = (low[:, 0] < component.right) & (high[:, 0] > component.left)
    near &= (low[:, 1] < component.bottom) & (high[:, 1] > component.top)
    inside = np.zeros(len(y), np.bool_)
    for left, top, right, bottom in np.concatenate([low, high], 1)[near]:
        inside |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return float(inside.mean())


def _above_each_other(components: Sequence[Component]) -> list[list[Component]]:
    """Marks of which one stands above the other belong together: two dashes, two dots."""
    groups: list[list[Component]] = []
    for component in sorted(components, key=lambda one: one.left + one.right):
        middle = component.left + component.right
        for group in groups:
            widest = max(component.width, *(part.width for part in group))
            if all(abs(middle - part.left - part.right) < 2 * _APART * widest for part in group):
                group.append(component)
                break
        else:
            groups.append([component])
    return [sorted(group, key=lambda part: part.top) for group in groups]


def _name(parts: Sequence[Component], row: _Row) -> str | None:
    """The sign that these marks of a row are, or ``None``."""
    name = _shape(parts, row.height)
    if name == ".":
        return _dot(parts[0], row)
    return None if name == "-" and abs(row.level(parts[0])) > 0.35 else name  # noqa: PLR2004  # an underline


def _shape(parts: Sequence[Component], height: float) -> str | None:
    """The sign that marks above each other look like, beside digits of that height; a comma is a dot here."""
    kinds = " ".join(_kind(part, height) or "?" for part in parts)
    if kinds in _BY_KINDS:
        return _BY_KINDS[kinds]
    return _large(parts[0], height) if len(parts) == 1 else None


def _kind(component: Component, height: float) -> str | None:
    wide, high = component.width / height, component.height / height
    if wide <= 0.32 and high <= 0.5 and high < 2.6 * wide + 0.12:  # noqa: PLR2004  # heights of a digit
        return "dot"
    return "dash" if 0.2 <= wide <= 1.3 and high <= 0.4 * wide + 0.04 else None  # noqa: PLR2004


def _dot(component: Component, row: _Row) -> str | None:
    """A point or a comma, which is higher than wide, or leans; at the foot of the row alone."""
    foot = row.level(component) - 0.5
    if not -0.3 < foot < 0.4:  # noqa: PLR2004  # heights above and below the foot
        return None
    hangs = (component.height > 1.45 * component.width) or (foot > 0.12 and component.height > 1.15 * component.width)  # noqa: PLR2004
    return "," if hangs else "."


def _large(component: Component, height: float) -> str | None:
    """A plus, a cross, a stroke or a bracket, from where its ink lies in its box."""
    wide, high = component.width / height, component.height / height
    rows, columns = np.nonzero(component.ink > INK)
    x, y = columns / max(component.width - 1, 1) - 0.5, rows / max(component.height - 1, 1) - 0.5
    if 0.2 <= wide <= 0.84 and 0.2 <= high <= 0.84 and 0.5 < wide / high < 2:  # noqa: PLR2004  # a closed 4 is higher
        on_axes = (np.abs(x) < 0.18) | (np.abs(y) < 0.18)  # noqa: PLR2004
        on_diagonals = np.abs(np.abs(x) - np.abs(y)) < 0.18  # noqa: PLR2004
        ends = _touches(x, y)
        if on_axes.mean() > 0.88 and ends >= 4:  # noqa: PLR2004
            return "+"
        quarters = [((x > 0) == right) & ((y > 0) == low) for right in (False, True) for low in (False, True)]
        if on_diagonals.mean() > 0.85 and min(quarter.mean() for quarter in quarters) > 0.12:  # noqa: PLR2004
            return "x"
    if high < 0.75:  # noqa: PLR2004
        return None
    bend = _bend(component, height)
    if bend is None:
        return None
    lean, off, straight, rough = bend
    if straight < 0.05 and 0.12 < lean < 1.1:  # noqa: PLR2004
        return "/"
    if wide < 0.52 and abs(lean) < 0.3 and abs(off) > 0.07 and rough < 0.04:  # noqa: PLR2004
        return "(" if off < 0 else ")"
    return None


def _touches(x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    """How many of the four sides of the box the ink reaches near their middles alone."""
    sides = ((x, y, -0.5), (x, y, 0.5), (y, x, -0.5), (y, x, 0.5))
    found = 0
    for along, across, end in sides:
        near = np.abs(across - end) < 0.12  # noqa: PLR2004
        found += bool(near.any() and np.abs(along[near]).mean() < 0.22)  # noqa: PLR2004
    return found


def _bend(component: Component, height: float) -> tuple[float, float, float, float] | None:
    """How a thin stroke runs from top to bottom; ``None`` where there is no such stroke.

    Returns:
        Columns to the right for each row up; how far its middle is right of its ends, and how far it is from a straight
        line and from a bow, all in heights of a digit.
    """
    inked = component.ink > INK
    widths = inked.sum(1)
    if not widths.all() or np.median(widths) > 0.3 * height:
        return None
    first = inked.argmax(1)
    last = inked.shape[1] - 1 - inked[:, ::-1].argmax(1)
    if np.median(last - first + 1 - widths) > 0.05 * height:  # hollow
        return None
    middle = (first + last) / 2
    y = np.arange(len(middle))
    slope, start = np.polyfit(y, middle, 1)
    rest = middle - slope * y - start
    third = max(len(rest) // 3, 1)
    off = float(rest[third:-third].mean() - (rest[:third].mean() + rest[-third:].mean()) / 2) / height
    bow = np.polyval(np.polyfit(y, middle, 2), y)
    return float(-slope), off, float(np.std(rest)) / height, float(np.std(middle - bow)) / height
