"""Reading order: digits into rows, rows from top to bottom, each from left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Boxes = NDArray[np.float32]

_REACH: Final = 3.0  # heights between two digits of which one follows the other
_LEVEL: Final = 0.45  # heights between the middles of two parts of a row
_ALIKE: Final = 2.2  # times as high
_LONG_ENOUGH: Final = 4  # digits that tell how a row slopes


def find_rows(boxes: Boxes) -> list[list[int]]:
    """The rows of boxes ``[n, 4]`` (center x, center y, width, height), as their places in reading order."""
    if not len(boxes):
        return []
    chains = _chains(boxes)
    slope = _slope(boxes, chains)
    level = boxes[:, 1] - slope * boxes[:, 0]
    height = float(np.median(boxes[:, 3]))
    middle = [float(np.median(level[chain])) for chain in chains]
    rows: list[list[int]] = []
    levels: list[float] = []
    for place in np.argsort(middle, kind="stable"):
        chain = chains[place]
        own = min(float(np.median(boxes[chain, 3])), height * _ALIKE)
        if rows and middle[place] - levels[-1] < _LEVEL * own and not _above(boxes, rows[-1], chain):
            rows[-1] += chain
            levels[-1] = float(np.median(level[rows[-1]]))
        else:
            rows.append(list(chain))
            levels.append(middle[place])
    return [sorted(row, key=lambda i: float(boxes[i, 0])) for row in rows]


def wide_gaps(boxes: Boxes) -> list[bool]:
    """For each box of a row, from left to right, whether a wide gap stands before it."""
    if not len(boxes):
        return []
    height = float(np.median(boxes[:, 3]))
    gaps = (boxes[1:, 0] - boxes[1:, 2] / 2) - (boxes[:-1, 0] + boxes[:-1, 2] / 2)
    usual = float(np.median(gaps.clip(0))) if len(gaps) > 1 else 0.0
    return [False, *(bool(gap > max(0.7 * height, 2.2 * usual)) for gap in gaps)]


def _chains(boxes: Boxes) -> list[list[int]]:
    """Digits that follow each other: each is linked with the nearest to its right at its own level."""
    x, y, wide, high = boxes.astype(np.float64).T
    parent = list(range(len(boxes)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i in range(len(boxes)):
        gap = (x - wide / 2) - (x[i] + wide[i] / 2)
        shared = np.minimum(y + high / 2, y[i] + high[i] / 2) - np.maximum(y - high / 2, y[i] - high[i] / 2)
        smaller, larger = np.minimum(high, high[i]), np.maximum(high, high[i])
        follows = (x > x[i]) & (gap < _REACH * larger) & (shared > 0.5 * smaller) & (larger < _ALIKE * smaller)
        if follows.any():
            after = int(np.where(follows, x, np.inf).argmin())
            parent[root(i)] = root(after)
    chains: dict[int, list[int]] = {}
    for i in range(len(boxes)):
        chains.setdefault(root(i), []).append(i)
    return list(chains.values())


def _slope(boxes: Boxes, chains: list[list[int]]) -> float:
    """Rows down for each column to the right, from the long rows; 0 where there is none."""
    slopes, weights = [], []
    for chain in chains:
        if len(chain) >= _LONG_ENOUGH:
            x, y = boxes[chain, 0].astype(np.float64), boxes[chain, 1].astype(np.float64)
            slopes.append(float(np.polyfit(x, y, 1)[0]))
            weights.append(len(chain))
    return float(np.average(slopes, weights=weights)) if slopes else 0.0


def _above(boxes: Boxes, row: list[int], chain: list[int]) -> bool:
    """Whether a digit of the chain stands above or below one of the row."""
    for i in chain:
        apart = np.abs(boxes[row, 0] - boxes[i, 0])
        if (apart < 0.35 * (boxes[row, 2] + boxes[i, 2])).any():
            return True
    return False
