"""From the net's answer to digits: the cells with the highest chance around them, and what overlaps left out.

The ONNX graph does the first half by itself (`mnistkit.digits.reader.export`); `peaks` is the same in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MOST_PEAKS: Final = 2500
LEAST_CHANCE: Final = 0.05
OVERLAP: Final = 0.45
"""Share of the union of two boxes from which one of them is the other's shadow."""
_INSIDE: Final = 0.8  # of the smaller box


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Digits found, the surest first.

    Attributes:
        boxes: float32 ``[n, 4]``: center x, center y, width, height in pixels.
        chances: float32 ``[n]``: that there is a digit.
        classes: float32 ``[n, 10]``: probabilities of the digits if there is one.
        turns: float32 ``[n, 4]``: probabilities of the quarter turns by which the page lies.
    """

    boxes: Floats
    chances: Floats
    classes: Floats
    turns: Floats

    def __len__(self) -> int:
        return len(self.chances)

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> Found:
        """Some of them."""
        return Found(self.boxes[chosen], self.chances[chosen], self.classes[chosen], self.turns[chosen])

    @property
    def confidences(self) -> Floats:
        """Probability of the likeliest digit, in [0, 1]."""
        return np.asarray(self.chances * self.classes.max(1, initial=0), np.float32)


def peaks(maps: Floats) -> Found:
    """The highest cells of one picture's maps, ``[rows, columns, 19]``."""
    from mnistkit.digits.reader.net import OFFSET_UNIT, STRIDE, UNIT, Maps

    chance = 1 / (1 + np.exp(-maps[:, :, Maps.OBJECT].astype(np.float64)))
    padded = np.pad(chance, 1, constant_values=-1)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max((2, 3))
    rows, columns = np.nonzero((chance >= around) & (chance > LEAST_CHANCE))
    order = np.argsort(-chance[rows, columns], kind="stable")[:MOST_PEAKS]
    rows, columns = rows[order], columns[order]
    at = maps[rows, columns]
    middle = (np.stack([columns, rows], 1) + 0.5) * STRIDE + at[:, Maps.OFFSET] * OFFSET_UNIT
    size = np.exp(at[:, Maps.SIZE].clip(-4, 4)) * UNIT
    return Found(
        np.concatenate([middle, size], 1).astype(np.float32),
        chance[rows, columns].astype(np.float32),
        _softmax(at[:, Maps.CLASS]),
        _softmax(at[:, Maps.TURN]),
    )


def overlaps(box: Floats, others: Floats) -> Floats:
    """What a box shares with each of others ``[n, 4]``, in parts of the union of the two."""
    low = np.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, others[:, :2] + others[:, 2:] / 2)
    shared = (high - low).clip(0).prod(1)
    return np.asarray(shared / (box[2:].prod() + others[:, 2:].prod(1) - shared), np.float32)


def without_overlaps(found: Found) -> Found:
    """The surest of those that overlap."""
    if len(found) == 0:
        return found
    low = found.boxes[:, :2] - found.boxes[:, 2:] / 2
    high = low + found.boxes[:, 2:]
    area = found.boxes[:, 2] * found.boxes[:, 3]
    kept: list[int] = []
    for place in np.argsort(-found.chances, kind="stable"):
        others = np.array(kept, np.int64)
        shared = (np.minimum(high[place], high[others]) - np.maximum(low[place], low[others])).clip(0).prod(1)
        union = area[place] + area[others] - shared
        smaller = np.minimum(area[place], area[others])
        if not ((shared > OVERLAP * union) | (shared > _INSIDE * smaller)).any():
            kept.append(int(place))
    return found.only(np.array(kept))


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(-1, keepdims=True, initial=-1e9))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True), np.float32)
