"""Whether the confidence of a classifier is honest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15
"""Of the reliability diagram, as Guo et al. 2017 take them."""
_SUMS_TO_ONE = 1e-2  # float16 sums are this coarse


@dataclass(frozen=True, slots=True)
class Bin:
    """Samples whose confidence lies in ``(low, high]``; means are 0 for none."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether confidence is honest.

    Attributes:
        bins: Of equal width, from 0 to 1.
        error: Expected calibration error: the mean gap between accuracy and confidence over all samples.
        confidence: Mean confidence.
        accuracy: Share of right answers.
    """

    bins: tuple[Bin, ...]
    error: float
    confidence: float
    accuracy: float


def are_probabilities(scores: NDArray[Any]) -> bool:
    """Whether each row lies in [0, 1] and sums to 1."""
    sums = scores.astype(np.float64).sum(axis=1)
    return bool((scores >= 0).all() and np.abs(sums - 1).max(initial=0) <= _SUMS_TO_ONE)


def calibration_of(probabilities: NDArray[Any], true: NDArray[np.integer], *, bins: int = BINS) -> Calibration:
    """Compare confidence with accuracy in bins of equal width.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equations 2, 3 and 5.

    Args:
        probabilities: ``[n, classes]``, n at least 1.
        true: Class numbers ``[n]``.
        bins: How many.
    """
    confidence = np.clip(probabilities.max(axis=1).astype(np.float64), 0, 1)
    right = probabilities.argmax(axis=1) == true
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    divisor = np.maximum(counts, 1)
    means = np.bincount(place, weights=confidence, minlength=bins) / divisor
    shares = np.bincount(place, weights=right, minlength=bins) / divisor
    made = tuple(
        Bin(number / bins, (number + 1) / bins, int(counts[number]), float(means[number]), float(shares[number]))
        for number in range(bins)
    )
    error = float((counts / len(true) * np.abs(shares - means)).sum())
    return Calibration(made, error, float(confidence.mean()), float(right.mean()))
