"""What a classifier reads as what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLASSES_SHOWN = 20
"""Of a model with more classes, the matrix has those that are confused most."""
_PAIRS = 20


@dataclass(frozen=True, slots=True)
class Confused:
    """One kind of mistake: a class that was read as another one."""

    true: str
    read: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """What was read as what.

    Attributes:
        labels: The classes of the matrix.
        matrix: int64 ``[k, k]``; row: the true class, column: what it was read as.
        classes: How many classes the model has.
        class_accuracy: Share of each shown class' samples that was read right; ``None`` for one without samples.
        pairs: The most frequent mistakes over all classes, the most frequent first.
    """

    labels: tuple[str, ...]
    matrix: NDArray[np.int64]
    classes: int
    class_accuracy: tuple[float | None, ...]
    pairs: tuple[Confused, ...]


def confusion_of(
    true: NDArray[np.integer], read: NDArray[np.integer], *, labels: Sequence[str], most: int = CLASSES_SHOWN
) -> Confusion:
    """Count what was read as what.

    Args:
        true: Class numbers ``[n]``.
        read: Class numbers ``[n]``.
        labels: Names of the classes.
        most: Of more classes, those that are confused most are shown, in the order of their numbers.
    """
    classes = len(labels)
    wrong = true != read
    codes, counts = np.unique(true[wrong].astype(np.int64) * classes + read[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    found = [(*divmod(int(codes[place]), classes), int(counts[place])) for place in order]
    shown = list(range(classes)) if classes <= most else _most_confused(found, true, most=most)
    place_of = np.full(classes, -1)
    place_of[shown] = np.arange(len(shown))
    rows, columns = place_of[true], place_of[read]
    inside = (rows >= 0) & (columns >= 0)
    matrix = np.zeros((len(shown), len(shown)), np.int64)
    np.add.at(matrix, (rows[inside], columns[inside]), 1)
    totals = np.bincount(rows[rows >= 0], minlength=len(shown))
    right = matrix.diagonal()
    return Confusion(
        labels=tuple(labels[place] for place in shown),
        matrix=matrix,
        classes=classes,
        class_accuracy=tuple(float(one / all_) if all_ else None for one, all_ in zip(right, totals, strict=True)),
        pairs=tuple(Confused(labels[one], labels[two], count) for one, two, count in found[:_PAIRS]),
    )


def _most_confused(found: Sequence[tuple[int, int, int]], true: NDArray[np.integer], *, most: int) -> list[int]:
    """Classes of the most frequent mistakes; where there are fewer, the first of the test data."""
    chosen: dict[int, None] = {}
    for one, two, _ in found:
        if len(chosen) > most - 2 and not {one, two} <= set(chosen):
            continue
        chosen.update({one: None, two: None})
        if len(chosen) >= most:
            break
    for one in np.unique(true).tolist():
        if len(chosen) >= most:
            break
        chosen.setdefault(int(one))
    return sorted(chosen)
