"""What smaller files are calibrated on and what they are checked on: never the same rows where there are two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.core.tensors import find_mismatch
from mnistkit.publish.drawn_inputs import batch_axis
from mnistkit.publish.shrink.digit_samples import digit_samples, says_digits
from mnistkit.publish.shrink.drawn_samples import drawn_samples
from mnistkit.publish.shrink.runs import Samples, count_rows, in_steps, rows_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mnistkit.core.runtime import Runtime
    from mnistkit.core.tensors import TensorInfo
    from mnistkit.digits.data import Dataset

_CALIBRATION = 512  # rows


def choose_samples(
    runtime: Runtime,
    *,
    samples: Mapping[str, NDArray[Any]] | None,
    targets: NDArray[Any] | None,
    data: Dataset | None,
) -> Samples:
    """The given ones; else for digits those of the data set; else drawn ones.

    Raises:
        InputError: They do not fit the model, or none can be drawn.
    """
    if samples is not None:
        if data is not None:
            raise InputError("give samples or a data set, not both")
        return _given(runtime, samples, targets)
    if targets is not None:
        raise InputError("targets: give the samples that they belong to as well")
    if data is not None or says_digits(runtime):
        return digit_samples(runtime, data)
    return drawn_samples(runtime)


def _given(runtime: Runtime, samples: Mapping[str, NDArray[Any]], targets: NDArray[Any] | None) -> Samples:
    rows = {name: _cast(np.asarray(array), name, runtime.inputs) for name, array in samples.items()}
    free, fixed = batch_axis(runtime)
    has_rows = free or fixed is not None
    first = {name: array[:fixed] if fixed else array for name, array in rows.items()}
    wrong = find_mismatch(runtime.inputs, first)
    counts = sorted({len(array) for array in rows.values()}) if has_rows and not wrong else [1]
    if not wrong and (len(counts) != 1 or not counts[0]):
        wrong = f"the arrays have {' and '.join(map(str, counts))} rows; give each the same number, at least one"
    if wrong:
        raise InputError(f"samples: {wrong}")
    if not has_rows:
        if targets is not None:
            raise InputError(f"targets: the inputs of {runtime.name} have no batch axis in common")
        return Samples((rows,), (rows,), (), None, "the samples", "the samples")
    count = counts[0]
    if targets is not None and np.shape(targets) != (count,):
        raise InputError(f"targets: expected {count} class numbers, got shape {list(np.shape(targets))}")
    # Two halves in turn, so that an order by class harms neither; where there is not enough for two, one.
    is_split = count >= 2 * (fixed or 1)
    odd = {name: array[1::2] for name, array in rows.items()} if is_split else rows
    even = {name: array[::2] for name, array in rows.items()} if is_split else rows
    checks = in_steps(runtime, even)
    return Samples(
        calibration=in_steps(runtime, {name: array[: max(_CALIBRATION, fixed or 1)] for name, array in odd.items()}),
        checks=checks,
        alone=rows_alone(runtime, checks),
        targets=None if targets is None else np.asarray(targets)[:: 2 if is_split else 1][: count_rows(checks)],
        calibrated_on="every second sample" if is_split else "the samples",
        checked_on="the other samples" if is_split else "the samples",
        note="" if is_split else "calibrated and checked on the same sample; give more",
    )


def _cast(array: NDArray[Any], name: str, inputs: tuple[TensorInfo, ...]) -> NDArray[Any]:
    """In the declared type where that changes no more than the width, as float64 to float32."""
    wanted = next((tensor.dtype for tensor in inputs if tensor.name == name), None)
    if wanted is None or wanted.startswith("tensor(") or not np.can_cast(array.dtype, wanted, "same_kind"):
        return array
    return array.astype(wanted)
