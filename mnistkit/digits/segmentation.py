"""Where the digits are: connected ink, rows, and the places where touching digits may be cut apart.

Works on the ink that ``assets/foreground.onnx`` finds in a picture; knows nothing of classifiers.
`mnistkit.digits.numbers` joins both and decides which cuts are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Plane = npt.NDArray[np.float32]

INK: Final = 0.3  # of full ink; what is fainter is a stroke's soft edge
_SMALLEST: Final = 3  # cells high or wide
_MOST_COMPONENTS: Final = 1000  # a page of 30 rows of 30 digits
_LEANING: Final = (11, 45)  # degrees to the right: the stroke in a date
_FLAT: Final = 12  # times as wide as high: not even a row of digits that all touch
_LONG: Final = 1.8  # times the median height: taller is a frame, a slash, or two rows that touch


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """Some ink: a digit, a part of one, or several that touch.

    Attributes:
        top: First row with ink.
        bottom: One past the last row.
        left: First column.
        right: One past the last column.
        ink: float32 ``[bottom - top, right - left]`` in [0, 1], without the neighbors' ink.
    """

    top: int
    bottom: int
    left: int
    right: int
    ink: Plane

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def mass(self) -> float:
        """All its ink, in cells of full ink."""
        return float(self.ink.sum())


class TooManyComponentsError(ValueError):
    """Noise, or a page of text: comparing all of its marks in pairs would take minutes."""


def find_components(foreground: Plane, confident: Plane) -> list[Component]:
    """Connected ink, without dust, frames and lines.

    Args:
        foreground: float32 ``[rows, columns]`` in [0, 1], ink bright.
        confident: The same without what may be noise; a component must have some of it.

    Returns:
        The components in no particular order.

    Raises:
        TooManyComponentsError: There are more than digits in rows can be.
    """
    components = [
        component
        for component in _connected(foreground, confident)
        if max(component.height, component.width) >= _SMALLEST
    ]
    if len(components) > _MOST_COMPONENTS:
        raise TooManyComponentsError(f"has {len(components)} separate marks, more than the limit of {_MOST_COMPONENTS}")
    median_height = median_height_of(components)
    found: list[Component] = []
    for component in components:
        if _is_frame(component):
            found += _without_straight_lines(component, min(median_height, 0.6 * component.height))
        elif max(component.height, component.width) > _LONG * median_height or component.width > 3 * component.height:
            found += _without_straight_lines(component, median_height)
        else:
            found.append(component)
    median_height = median_height_of(found)
    found = [component for component in found if max(component.height, component.width) >= 0.12 * median_height]
    # A dash is worth knowing beside digits; alone it is an underline or a rule.
    return found if any(component.width <= _FLAT * component.height for component in found) else []


def median_height_of(components: Sequence[Component]) -> float:
    """The height of most of the ink: the median over components weighted by their ink, lines and frames left out."""
    likely = [
        component
        for component in components
        if component.width < 6 * component.height and component.height < 8 * component.width
    ]
    likely = likely or list(components)
    if not likely:
        return 0.0
    heights = np.array([component.height for component in likely])
    # The square root lets two digits outweigh one large blot.
    weights = np.sqrt([component.mass + 1e-6 for component in likely])
    order = heights.argsort()
    middle = np.searchsorted(weights[order].cumsum(), weights.sum() / 2)
    return float(heights[order][min(int(middle), len(heights) - 1)])


def find_rows(components: Sequence[Component]) -> list[list[Component]]:
    """Components by row, rows from top to bottom, components from left to right.

    Full-sized components that face each other are of one row; small ones join the row they lie in.
    """
    median_height = median_height_of(components)
    large = [component for component in components if component.height >= 0.5 * median_height]
    parent = list(range(len(large)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    top, bottom, left, right = _boxes(large)
    height = bottom - top
    for i in range(1, len(large)):
        shared = np.minimum(bottom[i], bottom[:i]) - np.maximum(top[i], top[:i])
        apart = np.maximum(left[i], left[:i]) - np.minimum(right[i], right[:i])
        # A row may climb, so components far apart say little; but nothing else may lie between them either.
        for j in np.flatnonzero((shared >= 0.5 * np.minimum(height[i], height[:i])) & (apart < 6 * median_height)):
            parent[root(i)] = root(int(j))
    rows: dict[int, list[Component]] = {}
    for i, component in enumerate(large):
        rows.setdefault(root(i), []).append(component)
    rows_found = _merge_level(list(rows.values()))
    boxes = [_boxes(row) for row in rows_found]
    for component in components:
        if component.height < 0.5 * median_height and rows_found:
            distances = [_distance(component, box) for box in boxes]
            nearest = int(np.argmin(distances))
            if distances[nearest] < 0.5 * median_height:
                rows_found[nearest].append(component)
                own = _boxes([component])
                boxes[nearest] = tuple(np.append(all_, one) for all_, one in zip(boxes[nearest], own, strict=True))
    for row in rows_found:
        row.sort(key=lambda component: component.left + component.right)
    return sorted(rows_found, key=lambda row: float(np.mean([component.top + component.bottom for component in row])))


def is_slash(component: Component, median_height: float) -> bool:
    """Whether a component is the stroke between the parts of a date: straight, leaning, and higher than a digit."""
    if component.height < 1.2 * median_height or component.width > component.height:
        return False
    rows, columns = np.nonzero(component.ink > INK)
    slope = np.cov(rows, columns)
    lean = slope[0, 1] / slope[0, 0]
    along = columns - columns.mean() - lean * (rows - rows.mean())
    degrees = np.degrees(np.arctan(-lean))
    return bool(_LEANING[0] < degrees < _LEANING[1] and along.std() < 0.06 * median_height)


def merge(components: Sequence[Component]) -> Component:
    """Several components as one."""
    if len(components) == 1:
        return components[0]
    top, bottom = min(component.top for component in components), max(component.bottom for component in components)
    left, right = min(component.left for component in components), max(component.right for component in components)
    ink = np.zeros((bottom - top, right - left), np.float32)
    for component in components:
        part = ink[component.top - top : component.bottom - top, component.left - left : component.right - left]
        np.maximum(part, component.ink, out=part)
    return Component(top, bottom, left, right, ink)


def split_touching(component: Component, median_height: float) -> tuple[list[Component], list[float]]:
    """Cut a component wherever two digits may touch: more often than needed, the right cuts are chosen later.

    A cut runs from top to bottom through as little ink as it can, leaning and bending as it goes.

    Args:
        component: Connected ink.
        median_height: The height of a digit.

    Returns:
        The parts from left to right, and for each cut between two of them how many stroke widths of ink it crosses.
    """
    ink = component.ink
    reach = max(int(0.15 * median_height), 2)
    step = max(round(0.05 * median_height), 1)
    centers = np.arange(reach // 2 + 1, component.width - reach // 2 - 1, step)
    if len(centers) == 0:
        return [component], []
    paths, crossed_cells = _cheapest_paths(ink, centers, reach)
    crossed = crossed_cells / max(_stroke_width(ink), 1.0)
    chosen: list[int] = []
    most = int(3 * component.width / median_height) + 1
    for i in crossed.argsort(kind="stable"):
        near = any(abs(paths[i] - paths[j]).mean() < 0.14 * median_height for j in chosen)
        sliver = not 0.1 * median_height <= paths[i].mean() <= component.width - 0.1 * median_height
        if crossed[i] <= 3.5 and not near and not sliver:  # noqa: PLR2004 - stroke widths: more is no touch
            chosen.append(int(i))
        if len(chosen) == most:
            break
    chosen.sort(key=lambda i: float(paths[i].mean()))
    columns = np.arange(component.width)
    number = sum((columns >= paths[i][:, None]).astype(int) for i in chosen)
    parts: list[Component] = []
    crossed_before: list[float] = []
    for n in range(len(chosen) + 1):
        part = _trimmed(component, np.where(number == n, ink, 0))
        if part is None:
            continue
        if parts:
            crossed_before.append(float(crossed[chosen[n - 1]]))
        parts.append(part)
    return (parts, crossed_before) if parts else ([component], [])


# --- connected ink --------------------------------------------------------------------------------------------------


def label(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], int]:
    """Number connected cells, diagonals included, from 1; 0 is what the mask leaves out.

    Runs of each row are the nodes of a graph, touching runs its edges, and the smallest number spreads: no loop over
    pixels.

    Args:
        mask: bool ``[rows, columns]``.

    Returns:
        int32 ``[rows, columns]``, and how many there are.
    """
    starts, ends = _runs(mask)
    if len(starts) == 0:
        return np.zeros(mask.shape, np.int32), 0
    rows, stride = mask.shape[0], mask.shape[1] + 2
    # Runs of the next row that begin before this one ends and end after it begins, corners included.
    first = np.searchsorted(ends, starts + stride, "left")
    last = np.searchsorted(starts, ends + stride, "right")
    counts = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(starts)), counts)
    below = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    parent = np.arange(len(starts))
    while True:
        one, other = parent[above], parent[below]
        if np.array_equal(one, other):
            break
        np.minimum.at(parent, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]
    roots, number = np.unique(parent, return_inverse=True)
    marks = np.zeros(rows * stride, np.int32)
    marks[starts] = number + 1
    marks[ends] = -(number + 1)
    return np.cumsum(marks, dtype=np.int32).reshape(rows, stride)[:, 1:-1], len(roots)


def _runs(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First and one past the last cell of each run along a row, counted through all rows.

    Each row has an empty cell more at both sides, which keeps the runs of different rows apart.
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded.ravel(), prepend=np.int8(0))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def _connected(foreground: Plane, confident: Plane) -> list[Component]:
    labels, count = label(foreground > INK)
    if count == 0:
        return []
    certain = np.bincount(labels.ravel(), confident.ravel(), count + 1)
    inside = np.argwhere(labels > 0)
    owner = labels[labels > 0]
    order = owner.argsort(kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(1, count + 2))
    soft = _spread(labels, foreground)
    components = []
    for n in range(1, count + 1):
        if certain[n] < 2:  # noqa: PLR2004 - cells of ink
            continue
        cells = inside[order[bounds[n - 1] : bounds[n]]]
        (top, left), (bottom, right) = cells.min(0), cells.max(0) + 1
        box = slice(int(top), int(bottom)), slice(int(left), int(right))
        ink = np.where(soft[box] == n, foreground[box], 0).astype(np.float32)
        components.append(Component(int(top), int(bottom), int(left), int(right), ink))
    return components


def _spread(labels: npt.NDArray[np.int32], foreground: Plane) -> npt.NDArray[np.int32]:
    """Give the soft edge of each stroke to the component it belongs to."""
    labels = labels.copy()
    for axis in (0, 1, 0, 1):
        for shift in (1, -1):
            moved = np.roll(labels, shift, axis)
            free = (labels == 0) & (foreground > 0)
            labels[free] = moved[free]
    return labels


def _trimmed(component: Component, ink: Plane) -> Component | None:
    """A part of a component in its own box; ``None`` when there is hardly any ink."""
    inked = ink > INK
    rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
    if len(rows) == 0:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return Component(
        component.top + int(top),
        component.top + int(bottom),
        component.left + int(left),
        component.left + int(right),
        ink[top:bottom, left:right].astype(np.float32),
    )


# --- frames and lines -----------------------------------------------------------------------------------------------


def _is_frame(component: Component) -> bool:
    """Whether nearly straight strokes run along all four sides."""
    inked = component.ink > INK
    band = max(round(0.1 * min(component.height, component.width)), 1)
    sides = inked[:band].any(0), inked[-band:].any(0), inked[:, :band].any(1), inked[:, -band:].any(1)
    hollow = inked.mean() < 0.6  # noqa: PLR2004 - a blot is none
    return hollow and all(side.mean() > 0.85 for side in sides)  # noqa: PLR2004 - a circle covers 0.6 of each


def _without_straight_lines(component: Component, median_height: float) -> list[Component]:
    """What is left of a frame, an underline or a comb field when its straight strokes are taken out.

    A component that has no straight strokes of such a length comes back as it is.
    """
    ink = component.ink
    inked = ink > INK
    thick = max(int(0.2 * median_height), 2)
    lines = np.zeros_like(inked)
    for axis in (1, 0):
        least = max(int(min(1.5 * median_height, 0.8 * inked.shape[axis])), int(0.9 * median_height), 3)
        if inked.shape[axis] < least:
            continue
        long = _opened(dilated(inked, 1, 1 - axis), least, axis)
        # A bundle of lines thicker than a pen is no line.
        lines |= long & ~_opened(long, thick + 2, 1 - axis)
    if lines.sum() < 0.5 * median_height or component.width < 0.5 * median_height:
        return [component]
    rest = np.where(dilated(dilated(lines, 1, 0), 1, 1), 0, ink).astype(np.float32)
    parts = _connected(rest, rest)
    # What is thin and lies along a line is its own rough edge.
    parts = [
        Component(
            component.top + part.top,
            component.top + part.bottom,
            component.left + part.left,
            component.left + part.right,
            part.ink,
        )
        for part in parts
        if min(part.height, part.width) > 0.08 * median_height or part.height > 0.5 * median_height
    ]
    kept = sum(part.mass for part in parts)
    # Digits are not made of long straight strokes alone, but a dash, an underline and an empty box are.
    return parts if kept > 0 else []


def dilated(mask: npt.NDArray[np.bool_], reach: int, axis: int) -> npt.NDArray[np.bool_]:
    """The cells of a mask and those ``reach`` cells before and after them along an axis."""
    grown = mask.copy()
    for shift in range(1, reach + 1):
        if axis == 0:
            grown[shift:] |= mask[:-shift]
            grown[:-shift] |= mask[shift:]
        else:
            grown[:, shift:] |= mask[:, :-shift]
            grown[:, :-shift] |= mask[:, shift:]
    return grown


def _opened(mask: npt.NDArray[np.bool_], length: int, axis: int) -> npt.NDArray[np.bool_]:
    """Cells in runs of at least ``length`` along an axis."""
    along = mask if axis == 1 else mask.T
    starts, ends = _runs(along)
    long = ends - starts >= length
    marks = np.zeros((along.shape[0], along.shape[1] + 2), np.int8)
    marks.flat[starts[long]] = 1
    marks.flat[ends[long]] = -1
    kept = np.cumsum(marks, dtype=np.int8).reshape(marks.shape)[:, 1:-1] > 0
    return kept if axis == 1 else kept.T


# --- rows -----------------------------------------------------------------------------------------------------------


def _merge_level(rows: list[list[Component]]) -> list[list[Component]]:
    """Rows at the same height are one row with a wide gap."""
    rows_found: list[list[Component]] = []
    for row in sorted(rows, key=len, reverse=True):
        top, bottom = (
            np.median([component.top for component in row]),
            np.median([component.bottom for component in row]),
        )
        for other in rows_found:
            upper, lower = np.median([p.top for p in other]), np.median([p.bottom for p in other])
            if min(bottom, lower) - max(top, upper) >= 0.5 * min(bottom - top, lower - upper):
                other.extend(row)
                break
        else:
            rows_found.append(list(row))
    return rows_found


def _boxes(components: Sequence[Component]) -> tuple[npt.NDArray[np.int64], ...]:
    """Top, bottom, left and right of each."""
    edges = [(one.top, one.bottom, one.left, one.right) for one in components]
    return tuple(np.asarray(edges, np.int64).reshape(-1, 4).T)


def _distance(component: Component, boxes: tuple[npt.NDArray[np.int64], ...]) -> float:
    """How far a component lies from the nearest component of a row; 0 inside its box."""
    top, bottom, left, right = boxes
    down = np.maximum(np.maximum(top - component.bottom, component.top - bottom), 0)
    across = np.maximum(np.maximum(left - component.right, component.left - right), 0)
    return float((down + 0.3 * across).min())


# --- cuts -----------------------------------------------------------------------------------------------------------


def _cheapest_paths(
    ink: Plane, centers: npt.NDArray[np.integer], reach: int
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.floating]]:
    """For each center the path from top to bottom within ``reach`` of it that crosses least ink.

    Returns:
        Columns ``[centers, rows]``, and the ink crossed ``[centers]``.
    """
    rows = ink.shape[0]
    window = centers[:, None] + np.arange(-reach, reach + 1)
    outside = (window < 0) | (window >= ink.shape[1])
    cost = np.where(outside, 9.0, ink[:, window.clip(0, ink.shape[1] - 1)])  # [rows, centers, 2 * reach + 1]
    away = np.abs(np.arange(-reach, reach + 1)) / reach
    cost = cost + 0.02 * away**2  # among equals the straight one
    total = cost[0]
    moves = np.zeros(cost.shape, np.int8)
    for row in range(1, rows):
        wide = np.pad(total, ((0, 0), (1, 1)), constant_values=np.inf)
        options = np.stack([wide[:, 1:-1], wide[:, :-2] + 0.02, wide[:, 2:] + 0.02])
        best = options.argmin(0)
        moves[row] = np.choose(best, [0, -1, 1])
        total = np.take_along_axis(options, best[None], 0)[0] + cost[row]
    at = total.argmin(1)
    paths = np.empty((len(centers), rows), np.intp)
    every = np.arange(len(centers))
    for row in range(rows - 1, -1, -1):
        paths[:, row] = window[every, at]
        at = at + moves[row, every, at]
    crossed = ink[np.arange(rows), paths.clip(0, ink.shape[1] - 1)].sum(1)
    return paths, crossed


def _stroke_width(ink: Plane) -> float:
    """Twice the ink by its outline."""
    padded = np.pad(ink > INK, 1).astype(np.int8)
    outline = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    # Steps along rows and columns overstate a slanting outline by 4 / pi on average.
    return float(2 * (ink > INK).sum() / max(outline * np.pi / 4, 1))
