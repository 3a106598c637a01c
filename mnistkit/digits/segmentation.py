"""Where the digits are: connected ink, rows, and the places where touching digits may be cut apart.

Works on the ink that ``assets/strokes.onnx`` finds in a picture; knows nothing of classifiers.
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
_LEANING: Final = (11, 45)  # degrees to the right: the stroke in a date
_FLAT: Final = 12  # times as wide as high: not even a row of digits that all touch
_LONG: Final = 1.8  # times the usual height: taller is a frame, a slash, or two rows that touch


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some ink: a digit, a part of one, or several that touch.

    Attributes:
        top: First row with ink.
        bottom: One past the last row.
        left: First column.
        right: One past the last column.
        ink: float32 ``[bottom - top, right - left]`` in [0, 1], without the neighbours' ink.
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


def find_pieces(strokes: Plane, sure: Plane) -> list[Piece]:
    """Connected ink, without dust, frames and lines.

    Args:
        strokes: float32 ``[rows, columns]`` in [0, 1], ink bright.
        sure: The same without what may be noise; a piece must have some of it.

    Returns:
        The pieces in no particular order.
    """
    pieces = [piece for piece in _connected(strokes, sure) if max(piece.height, piece.width) >= 3]  # noqa: PLR2004 - cells
    usual = usual_height(pieces)
    found: list[Piece] = []
    for piece in pieces:
        if _is_frame(piece):
            found += _without_straight_lines(piece, min(usual, 0.6 * piece.height))
        elif max(piece.height, piece.width) > _LONG * usual or piece.width > 3 * piece.height:
            found += _without_straight_lines(piece, usual)
        else:
            found.append(piece)
    usual = usual_height(found)
    found = [piece for piece in found if max(piece.height, piece.width) >= 0.12 * usual]
    # A dash is worth knowing beside digits; alone it is an underline or a rule.
    return found if any(piece.width <= _FLAT * piece.height for piece in found) else []


def usual_height(pieces: Sequence[Piece]) -> float:
    """The height of most of the ink: the median over pieces weighted by their ink, lines and frames left out."""
    likely = [piece for piece in pieces if piece.width < 6 * piece.height and piece.height < 8 * piece.width]
    likely = likely or list(pieces)
    if not likely:
        return 0.0
    heights = np.array([piece.height for piece in likely])
    # The square root lets two digits outweigh one large blot.
    weights = np.sqrt([piece.mass + 1e-6 for piece in likely])
    order = heights.argsort()
    middle = np.searchsorted(weights[order].cumsum(), weights.sum() / 2)
    return float(heights[order][min(int(middle), len(heights) - 1)])


def find_rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces by row, rows from top to bottom, pieces from left to right.

    Full-sized pieces that face each other are of one row; small ones join the row they lie in.
    """
    usual = usual_height(pieces)
    large = [piece for piece in pieces if piece.height >= 0.5 * usual]
    parent = list(range(len(large)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, one in enumerate(large):
        for j in range(i):
            other = large[j]
            shared = min(one.bottom, other.bottom) - max(one.top, other.top)
            apart = max(one.left, other.left) - min(one.right, other.right)
            # A row may climb, so pieces far apart say little; but nothing else may lie between them either.
            if shared >= 0.5 * min(one.height, other.height) and apart < 6 * usual:
                parent[root(i)] = root(j)
    rows: dict[int, list[Piece]] = {}
    for i, piece in enumerate(large):
        rows.setdefault(root(i), []).append(piece)
    joined = _join_level(list(rows.values()))
    for piece in pieces:
        if piece.height < 0.5 * usual and joined:
            nearest = min(joined, key=lambda row: _distance(piece, row))
            if _distance(piece, nearest) < 0.5 * usual:
                nearest.append(piece)
    for row in joined:
        row.sort(key=lambda piece: piece.left + piece.right)
    return sorted(joined, key=lambda row: float(np.mean([piece.top + piece.bottom for piece in row])))


def is_slash(piece: Piece, usual: float) -> bool:
    """Whether a piece is the stroke between the parts of a date: straight, leaning, and higher than a digit."""
    if piece.height < 1.2 * usual or piece.width > piece.height:
        return False
    rows, columns = np.nonzero(piece.ink > INK)
    slope = np.cov(rows, columns)
    lean = slope[0, 1] / slope[0, 0]
    along = columns - columns.mean() - lean * (rows - rows.mean())
    degrees = np.degrees(np.arctan(-lean))
    return bool(_LEANING[0] < degrees < _LEANING[1] and along.std() < 0.06 * usual)


def join(pieces: Sequence[Piece]) -> Piece:
    """Several pieces as one."""
    if len(pieces) == 1:
        return pieces[0]
    top, bottom = min(piece.top for piece in pieces), max(piece.bottom for piece in pieces)
    left, right = min(piece.left for piece in pieces), max(piece.right for piece in pieces)
    ink = np.zeros((bottom - top, right - left), np.float32)
    for piece in pieces:
        part = ink[piece.top - top : piece.bottom - top, piece.left - left : piece.right - left]
        np.maximum(part, piece.ink, out=part)
    return Piece(top, bottom, left, right, ink)


def cut(piece: Piece, usual: float) -> tuple[list[Piece], list[float]]:
    """Cut a piece wherever two digits may touch: more often than needed, the right cuts are chosen later.

    A cut runs from top to bottom through as little ink as it can, leaning and bending as it goes.

    Args:
        piece: Connected ink.
        usual: The height of a digit.

    Returns:
        The parts from left to right, and for each cut between two of them how many stroke widths of ink it crosses.
    """
    ink = piece.ink
    reach = max(int(0.15 * usual), 2)
    step = max(round(0.05 * usual), 1)
    centres = np.arange(reach // 2 + 1, piece.width - reach // 2 - 1, step)
    if len(centres) == 0:
        return [piece], []
    paths, costs = _cheapest_paths(ink, centres, reach)
    crossed = costs / max(_stroke_width(ink), 1.0)
    chosen: list[int] = []
    most = int(3 * piece.width / usual) + 1
    for i in crossed.argsort(kind="stable"):
        near = any(abs(paths[i] - paths[j]).mean() < 0.14 * usual for j in chosen)
        sliver = not 0.1 * usual <= paths[i].mean() <= piece.width - 0.1 * usual
        if crossed[i] <= 3.5 and not near and not sliver:  # noqa: PLR2004 - stroke widths: more is no touch
            chosen.append(int(i))
        if len(chosen) == most:
            break
    chosen.sort(key=lambda i: float(paths[i].mean()))
    columns = np.arange(piece.width)
    number = sum((columns >= paths[i][:, None]).astype(int) for i in chosen)
    parts: list[Piece] = []
    prices: list[float] = []
    for n in range(len(chosen) + 1):
        part = _trimmed(piece, np.where(number == n, ink, 0))
        if part is None:
            continue
        if parts:
            prices.append(float(crossed[chosen[n - 1]]))
        parts.append(part)
    return (parts, prices) if parts else ([piece], [])


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


def _connected(strokes: Plane, sure: Plane) -> list[Piece]:
    labels, count = label(strokes > INK)
    if count == 0:
        return []
    certain = np.bincount(labels.ravel(), sure.ravel(), count + 1)
    inside = np.argwhere(labels > 0)
    owner = labels[labels > 0]
    order = owner.argsort(kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(1, count + 2))
    soft = _spread(labels, strokes)
    pieces = []
    for n in range(1, count + 1):
        if certain[n] < 2:  # noqa: PLR2004 - cells of ink
            continue
        cells = inside[order[bounds[n - 1] : bounds[n]]]
        (top, left), (bottom, right) = cells.min(0), cells.max(0) + 1
        box = slice(int(top), int(bottom)), slice(int(left), int(right))
        ink = np.where(soft[box] == n, strokes[box], 0).astype(np.float32)
        pieces.append(Piece(int(top), int(bottom), int(left), int(right), ink))
    return pieces


def _spread(labels: npt.NDArray[np.int32], strokes: Plane) -> npt.NDArray[np.int32]:
    """Give the soft edge of each stroke to the piece it belongs to."""
    labels = labels.copy()
    for axis in (0, 1, 0, 1):
        for shift in (1, -1):
            moved = np.roll(labels, shift, axis)
            free = (labels == 0) & (strokes > 0)
            labels[free] = moved[free]
    return labels


def _trimmed(piece: Piece, ink: Plane) -> Piece | None:
    """A part of a piece in its own box; ``None`` when there is hardly any ink."""
    inked = ink > INK
    rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
    if len(rows) == 0:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return Piece(
        piece.top + int(top),
        piece.top + int(bottom),
        piece.left + int(left),
        piece.left + int(right),
        ink[top:bottom, left:right].astype(np.float32),
    )


# --- frames and lines -----------------------------------------------------------------------------------------------


def _is_frame(piece: Piece) -> bool:
    """Whether nearly straight strokes run along all four sides."""
    inked = piece.ink > INK
    band = max(round(0.1 * min(piece.height, piece.width)), 1)
    sides = inked[:band].any(0), inked[-band:].any(0), inked[:, :band].any(1), inked[:, -band:].any(1)
    hollow = inked.mean() < 0.6  # noqa: PLR2004 - a blot is none
    return hollow and all(side.mean() > 0.85 for side in sides)  # noqa: PLR2004 - a circle covers 0.6 of each


def _without_straight_lines(piece: Piece, usual: float) -> list[Piece]:
    """What is left of a frame, an underline or a comb field when its straight strokes are taken out.

    A piece that has no straight strokes of such a length comes back as it is.
    """
    ink = piece.ink
    inked = ink > INK
    thick = max(int(0.2 * usual), 2)
    lines = np.zeros_like(inked)
    for axis in (1, 0):
        least = max(int(min(1.5 * usual, 0.8 * inked.shape[axis])), int(0.9 * usual), 3)
        if inked.shape[axis] < least:
            continue
        long = _opened(_dilated(inked, 1, 1 - axis), least, axis)
        # A bundle of lines thicker than a pen is no line.
        lines |= long & ~_opened(long, thick + 2, 1 - axis)
    if lines.sum() < 0.5 * usual or piece.width < 0.5 * usual:
        return [piece]
    rest = np.where(_dilated(_dilated(lines, 1, 0), 1, 1), 0, ink).astype(np.float32)
    parts = _connected(rest, rest)
    # What is thin and lies along a line is its own rough edge.
    parts = [
        Piece(piece.top + part.top, piece.top + part.bottom, piece.left + part.left, piece.left + part.right, part.ink)
        for part in parts
        if min(part.height, part.width) > 0.08 * usual or part.height > 0.5 * usual
    ]
    kept = sum(part.mass for part in parts)
    # Digits are not made of long straight strokes alone, but a dash, an underline and an empty box are.
    return parts if kept > 0 else []


def _dilated(mask: npt.NDArray[np.bool_], reach: int, axis: int) -> npt.NDArray[np.bool_]:
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


def _join_level(rows: list[list[Piece]]) -> list[list[Piece]]:
    """Rows at the same height are one row with a wide gap."""
    joined: list[list[Piece]] = []
    for row in sorted(rows, key=len, reverse=True):
        top, bottom = np.median([piece.top for piece in row]), np.median([piece.bottom for piece in row])
        for other in joined:
            upper, lower = np.median([p.top for p in other]), np.median([p.bottom for p in other])
            if min(bottom, lower) - max(top, upper) >= 0.5 * min(bottom - top, lower - upper):
                other.extend(row)
                break
        else:
            joined.append(list(row))
    return joined


def _distance(piece: Piece, row: Sequence[Piece]) -> float:
    """How far a piece lies from the nearest piece of a row; 0 inside its box."""
    return min(
        max(other.top - piece.bottom, piece.top - other.bottom, 0)
        + 0.3 * max(other.left - piece.right, piece.left - other.right, 0)
        for other in row
    )


# --- cuts -----------------------------------------------------------------------------------------------------------


def _cheapest_paths(
    ink: Plane, centres: npt.NDArray[np.integer], reach: int
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.floating]]:
    """For each centre the path from top to bottom within ``reach`` of it that crosses least ink.

    Returns:
        Columns ``[centres, rows]``, and the ink crossed ``[centres]``.
    """
    rows = ink.shape[0]
    window = centres[:, None] + np.arange(-reach, reach + 1)
    outside = (window < 0) | (window >= ink.shape[1])
    price = np.where(outside, 9.0, ink[:, window.clip(0, ink.shape[1] - 1)])  # [rows, centres, 2 * reach + 1]
    away = np.abs(np.arange(-reach, reach + 1)) / reach
    price = price + 0.02 * away**2  # among equals the straight one
    total = price[0]
    moves = np.zeros(price.shape, np.int8)
    for row in range(1, rows):
        wide = np.pad(total, ((0, 0), (1, 1)), constant_values=np.inf)
        options = np.stack([wide[:, 1:-1], wide[:, :-2] + 0.02, wide[:, 2:] + 0.02])
        best = options.argmin(0)
        moves[row] = np.choose(best, [0, -1, 1])
        total = np.take_along_axis(options, best[None], 0)[0] + price[row]
    place = total.argmin(1)
    paths = np.empty((len(centres), rows), np.intp)
    every = np.arange(len(centres))
    for row in range(rows - 1, -1, -1):
        paths[:, row] = window[every, place]
        place = place + moves[row, every, place]
    crossed = ink[np.arange(rows), paths.clip(0, ink.shape[1] - 1)].sum(1)
    return paths, crossed


def _stroke_width(ink: Plane) -> float:
    """Twice the ink by its outline."""
    padded = np.pad(ink > INK, 1).astype(np.int8)
    outline = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    # Steps along rows and columns overstate a slanting outline by 4 / pi on average.
    return float(2 * (ink > INK).sum() / max(outline * np.pi / 4, 1))
