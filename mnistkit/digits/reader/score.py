"""How well pages are read: digits found, missed and invented, and pages with every digit right."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mnistkit.digits.reader.canvas import IGNORED
from mnistkit.digits.reader.peaks import peaks, without_overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.digits.reader.peaks import Found

SURE: Final = 0.4
"""Chance from which a digit counts as found."""
_SAME: Final = 0.35  # of the union of the two boxes


@dataclass(slots=True)
class Score:
    """Counts over pages."""

    pages: int = 0
    pages_right: int = 0
    digits: int = 0
    found: int = 0
    named: int = 0
    invented: int = 0
    empty_pages: int = 0
    empty_pages_right: int = 0
    turns_right: int = 0
    turns: int = 0

    def as_json(self) -> dict[str, Any]:
        """Counts and shares."""
        return {
            **asdict(self),
            "share_found": self.found / max(self.digits, 1),
            "share_named": self.named / max(self.digits, 1),
            "share_pages": self.pages_right / max(self.pages, 1),
            "share_empty": self.empty_pages_right / max(self.empty_pages, 1),
        }

    def add(self, maps: NDArray[np.float32], boxes: NDArray[np.float32]) -> None:
        """One page: the net's answer and what is on it."""
        found = without_overlaps(peaks(maps))
        found = found.only(found.chances >= SURE)
        wanted = boxes[boxes[:, 4] >= IGNORED]
        upright = not len(wanted) or wanted[0, 5] == 0
        hits, right, invented = _match(found, wanted)
        digits = int((wanted[:, 4] >= 0).sum())
        if digits and len(found):
            self.turns += 1
            way = np.log(found.turns + 1e-9).sum(0).argmax()
            self.turns_right += int(way == wanted[0, 5])
        if not upright:
            return
        self.digits += digits
        self.found += hits
        self.named += right
        self.invented += invented
        if digits:
            self.pages += 1
            self.pages_right += int(right == digits and invented == 0)
        else:
            self.empty_pages += 1
            self.empty_pages_right += int(invented == 0)


def _match(found: Found, wanted: NDArray[np.float32]) -> tuple[int, int, int]:
    """Digits found, those with the right class, and those that are not there."""
    if not len(found):
        return 0, 0, 0
    if not len(wanted):
        return 0, 0, len(found)
    low, high = found.boxes[:, :2] - found.boxes[:, 2:] / 2, found.boxes[:, :2] + found.boxes[:, 2:] / 2
    first, last = wanted[:, :2] - wanted[:, 2:4] / 2, wanted[:, :2] + wanted[:, 2:4] / 2
    shared = (np.minimum(high[:, None], last[None]) - np.maximum(low[:, None], first[None])).clip(0).prod(2)
    union = found.boxes[:, 2:].prod(1)[:, None] + wanted[:, 2:4].prod(1)[None] - shared
    same = shared / union
    hits = right = invented = 0
    free = np.ones(len(wanted), bool)
    for place in range(len(found)):
        overlap = np.where(free, same[place], 0)
        best = int(overlap.argmax())
        if overlap[best] < _SAME:
            ignored = wanted[:, 4] == IGNORED
            inside = shared[place] > 0.3 * found.boxes[place, 2:].prod()
            invented += int(not (ignored & inside).any())
            continue
        free[best] = False
        if wanted[best, 4] >= 0:
            hits += 1
            right += int(found.classes[place].argmax() == wanted[best, 4])
    return hits, right, invented
