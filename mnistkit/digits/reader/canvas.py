"""A page in the making: ink so far, and the boxes of what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Patch = NDArray[np.uint8]

IGNORED: Final = -1
"""Class of a box that is neither a digit nor none: what is in it is not judged."""
LEAST_SEEN: Final = 0.87
"""Share of a digit that is on the page, else it is ignored."""
_INKED: Final = 90


class Canvas:
    """Ink uint8 ``[rows, columns]``, and boxes of (center x, center y, width, height, class)."""

    def __init__(self, rows: int, columns: int) -> None:
        self.ink = np.zeros((rows, columns), np.uint8)
        self.taken = np.zeros((rows // 4 + 1, columns // 4 + 1), np.bool_)
        self.boxes: list[tuple[float, float, float, float, int]] = []

    def put(self, patch: Patch, top: int, left: int, *, digit: int | None = None) -> None:
        """Add ink; with ``digit`` also its box."""
        rows, columns = self.ink.shape
        first, start = max(top, 0), max(left, 0)
        last, end = min(top + patch.shape[0], rows), min(left + patch.shape[1], columns)
        if last <= first or end <= start:
            return
        part = self.ink[first:last, start:end]
        np.maximum(part, patch[first - top : last - top, start - left : end - left], out=part)
        self.taken[first // 4 : last // 4 + 1, start // 4 : end // 4 + 1] = True
        if digit is not None:
            seen = (last - first) * (end - start) / patch.size
            kind = digit if seen >= LEAST_SEEN else IGNORED
            self.boxes.append(((start + end) / 2, (first + last) / 2, float(end - start), float(last - first), kind))

    def is_free(self, top: int, left: int, rows: int, columns: int) -> bool:
        """Whether nothing was put there."""
        return not self.taken[
            max(top, 0) // 4 : max(top + rows, 0) // 4 + 1, max(left, 0) // 4 : max(left + columns, 0) // 4 + 1
        ].any()


def contours(patch: Patch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last inked column of each row; where there is none, far to the right and far to the left."""
    inked = patch > _INKED
    some = inked.any(1)
    first = np.where(some, inked.argmax(1), 9999)
    last = np.where(some, patch.shape[1] - 1 - inked[:, ::-1].argmax(1), -9999)
    return first, last


class Line:
    """A line of digits: knows how near to the last the next may stand."""

    def __init__(self, rows: int, left: int) -> None:
        self._right = np.full(rows, -9999, np.int64)
        self._start = left
        self._is_empty = True
        self.right = left

    def place(self, patch: Patch, top: int, *, gap: float, touching: bool) -> int:
        """Where the next one's left column is.

        Args:
            patch: Its ink.
            top: Its first row on the page.
            gap: Columns between the strokes; between the boxes where no row has both.
            touching: The strokes themselves, row by row, touch at a gap of 0.
        """
        first, last = contours(patch)
        rows = np.arange(top, top + len(first)).clip(0, len(self._right) - 1)
        if self._is_empty:
            left = self._start
        else:
            reach = self._right if touching else _spread(self._right, max(len(first) // 8, 1))
            near = int((reach[rows] - first).max())
            left = (near if near > -5000 else self.right) + 1 + round(gap)  # noqa: PLR2004  # no row in common
            if touching:
                left = max(left, self.right - patch.shape[1] + 3)
        self._right[rows] = np.maximum(self._right[rows], left + last)
        self._is_empty = False
        self.right = max(self.right, left + patch.shape[1])
        return left


def _spread(right: NDArray[np.int64], reach: int) -> NDArray[np.int64]:
    padded = np.pad(right, reach, constant_values=-9999)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1))
