"""How far the answers of a smaller file are from those of the float32 file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError, ParityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnistkit.core.runtime import Runtime
    from mnistkit.publish.drawn_inputs import Arrays
    from mnistkit.publish.shrink.runs import Samples


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a file answers to the samples.

    Attributes:
        checks: One entry for each run of `Samples.checks`.
        alone: Likewise for `Samples.alone`.
        accuracy: Share of right answers in [0, 1]; ``None`` without targets.
    """

    checks: tuple[Arrays, ...]
    alone: tuple[Arrays, ...]
    accuracy: float | None


def answer(runtime: Runtime, samples: Samples) -> Answers:
    """Run all samples.

    Raises:
        InputError: The model refuses them, or its answers are no scores of the targets' classes.
    """
    checks = tuple(runtime.run(run) for run in samples.checks)
    alone = tuple(runtime.run(run) for run in samples.alone)
    return Answers(checks, alone, None if samples.targets is None else _accuracy(runtime, checks, samples.targets))


def change(expected: Answers, found: Answers) -> float:
    """The largest change of an answer, as a share of the range of that output's answers, in [0, ...].

    Whole numbers, truth values and words count as the share of them that differ.

    Raises:
        ParityError: A shape differs, or an answer is NaN or infinite where the float32 file's is not.
    """
    pairs = [*zip(expected.checks, found.checks, strict=True), *zip(expected.alone, found.alone, strict=True)]
    return max(_change_of(name, [(left[name], right[name]) for left, right in pairs]) for name in expected.checks[0])


def _change_of(name: str, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    low, high, largest, differ, count = np.inf, -np.inf, 0.0, 0, 0
    for left, right in pairs:
        if left.shape != right.shape:
            raise ParityError(f"{name} has shape {list(right.shape)} instead of {list(left.shape)}")
        if left.dtype.kind != "f":
            differ, count = differ + int(np.count_nonzero(left != right)), count + left.size
            continue
        a, b = left.astype(np.float64), right.astype(np.float64)
        finite = np.isfinite(a)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
            raise ParityError(f"{name} is NaN or infinite where it is not in float32")
        if finite.any():
            low, high = min(low, float(a[finite].min())), max(high, float(a[finite].max()))
            largest = max(largest, float(np.abs(a - b, where=finite, out=np.zeros_like(a)).max()))
    if count:
        return differ / count
    if not largest:
        return 0.0
    return largest / (high - low) if high > low else np.inf


def _accuracy(runtime: Runtime, answers: Sequence[Arrays], targets: NDArray[Any]) -> float:
    scores = np.concatenate([next(iter(one.values())) for one in answers])
    if scores.ndim != 2 or scores.dtype.kind != "f" or not (0 <= targets.min() <= targets.max() < scores.shape[1]):  # noqa: PLR2004
        raise InputError(
            f"targets: expected class numbers of the scores in {runtime.outputs[0]}, got {targets.min()} to "
            f"{targets.max()}"
        )
    return float(np.mean(scores.argmax(axis=1) == targets))
