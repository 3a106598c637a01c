"""Inputs as the runs that they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.publish.drawn_inputs import batch_axis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.core.runtime import Runtime
    from mnistkit.publish.drawn_inputs import Arrays

_STEP = 64  # rows of a run
_ALONE = 4  # rows that are run alone as well


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Inputs, as the runs that they make.

    Attributes:
        calibration: Runs to calibrate on.
        checks: Runs whose answers are compared, several rows in each where the model takes them.
        alone: A few of the same rows, one in each run; empty where the batch size is fixed.
        targets: Class numbers of the rows of `checks` ``[n]``; ``None`` where there are no labels.
        calibrated_on: What `calibration` is, in words.
        checked_on: What `checks` is, in words.
        note: What to know of these samples; empty where nothing.
    """

    calibration: tuple[Arrays, ...]
    checks: tuple[Arrays, ...]
    alone: tuple[Arrays, ...]
    targets: NDArray[Any] | None
    calibrated_on: str
    checked_on: str
    note: str = ""


def in_steps(runtime: Runtime, rows: Arrays) -> tuple[Arrays, ...]:
    """Rows as runs: as many as the model fixes, else 64; what fills no fixed batch is left out.

    Raises:
        InputError: There are fewer rows than the model fixes.
    """
    free, fixed = batch_axis(runtime)
    if not free and fixed is None:
        return (rows,)
    count = len(next(iter(rows.values())))
    step = fixed or _STEP
    if fixed and count < fixed:
        raise InputError(f"{runtime.name} takes {fixed} rows at once, and there are {count}; give {2 * fixed} or more")
    ends = range(step, count + 1, step) if fixed else range(step, count + step, step)
    return tuple({name: np.ascontiguousarray(array[end - step : end]) for name, array in rows.items()} for end in ends)


def rows_alone(runtime: Runtime, checks: tuple[Arrays, ...]) -> tuple[Arrays, ...]:
    """A few rows of the first run, each as a run of its own; none where the batch size is fixed."""
    if not batch_axis(runtime)[0]:
        return ()
    rows = len(next(iter(checks[0].values())))
    return tuple({name: array[i : i + 1] for name, array in checks[0].items()} for i in range(min(_ALONE, rows)))


def count_rows(runs: tuple[Arrays, ...]) -> int:
    """Rows in all runs."""
    return sum(len(next(iter(run.values()))) for run in runs)
