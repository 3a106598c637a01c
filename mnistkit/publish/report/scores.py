"""How well a classifier reads test data, from its answers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.digits.evaluate import cross_entropy
from mnistkit.publish.report.calibration import Calibration, are_probabilities, calibration_of
from mnistkit.publish.report.confusion import Confusion, confusion_of
from mnistkit.publish.report.words import Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MISTAKES = 24


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """One sample that was read wrong.

    Attributes:
        index: Its place in the test data.
        true: What it is.
        read: What it was read as.
        score: The model's answer for that class; its confidence where the answers are probabilities.
        pixels: uint8 ``[h, w]`` or ``[h, w, 3]``; ``None`` where the data are no pictures.
    """

    index: int
    true: str
    read: str
    score: float
    pixels: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """How well a model reads test data.

    Attributes:
        data: Name of the data.
        samples: How many were read.
        left_out: How many more were answered with NaN or infinity and are in no other number.
        accuracy: Share of right answers.
        loss: Mean cross-entropy; ``None`` where the answers are no probabilities.
        wrong: How many were read wrong.
        confusion: What was read as what.
        mistakes: The worst ones, the worst first.
        calibration: Whether the confidence is honest.
    """

    data: str
    samples: int
    left_out: int
    accuracy: float
    loss: float | None
    wrong: int
    confusion: Confusion
    mistakes: tuple[Mistake, ...]
    calibration: Calibration | Missing


def quality_of(
    scores: NDArray[Any], true: NDArray[np.integer], *, labels: Sequence[str], data: str
) -> Quality | Missing:
    """Everything that follows from a classifier's answers. Mistakes have no pixels yet.

    Args:
        scores: ``[n, classes]``; rows with NaN or infinity are left out and counted.
        true: Class numbers ``[n]``.
        labels: Names of the classes.
        data: Name of the test data.
    """
    finite = np.isfinite(scores).all(axis=1)
    kept, known = scores[finite], true[finite]
    if len(kept) == 0:
        return Missing(f"no test results: the model answers all {len(scores):,} samples with NaN or infinity")
    read = kept.argmax(axis=1)
    honest = are_probabilities(kept)
    return Quality(
        data=data,
        samples=len(kept),
        left_out=int(len(scores) - len(kept)),
        accuracy=float(np.mean(read == known)),
        loss=cross_entropy(kept, known) if honest else None,
        wrong=int(np.count_nonzero(read != known)),
        confusion=confusion_of(known, read, labels=labels),
        mistakes=worst_mistakes(kept, known, labels=labels, places=np.flatnonzero(finite)),
        calibration=calibration_of(kept, known) if honest else Missing(_NO_PROBABILITIES),
    )


_NO_PROBABILITIES = (
    "no calibration: the model's answers are no probabilities (numbers from 0 to 1 that sum to 1); end the model with "
    "a softmax"
)


def worst_mistakes(
    scores: NDArray[Any],
    true: NDArray[np.integer],
    *,
    labels: Sequence[str],
    places: NDArray[np.integer] | None = None,
    count: int = MISTAKES,
) -> tuple[Mistake, ...]:
    """Wrong answers that the model was surest of, the surest first.

    Args:
        scores: ``[n, classes]``, all finite.
        true: Class numbers ``[n]``.
        labels: Names of the classes.
        places: Where each row stands in the test data; 0 to n - 1 by default.
        count: How many.
    """
    read = scores.argmax(axis=1)
    wrong = np.flatnonzero(read != true)
    top = scores[wrong, read[wrong]]
    worst = wrong[np.argsort(-top.astype(np.float64), kind="stable")[:count]]
    return tuple(
        Mistake(
            int(row if places is None else places[row]),
            labels[int(true[row])],
            labels[int(read[row])],
            float(scores[row, read[row]]),
        )
        for row in worst
    )
