"""How long two files of one model take, measured in turn so that whatever else the machine does meets both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from mnistkit.publish.drawn_inputs import batch_axis, repeat_rows

if TYPE_CHECKING:
    from mnistkit.core.runtime import Runtime
    from mnistkit.publish.drawn_inputs import Arrays

BATCH_SIZES = (1, 32)
_SECONDS = 0.4  # for each batch size, both files together
_FEWEST_RUNS, _MOST_RUNS = 5, 200
_WARM_UP = 2


def time_ratios(base: Runtime, other: Runtime, run: Arrays) -> dict[int | None, float]:
    """Time of ``other`` by batch size, relative to ``base``: medians.

    Args:
        base: The float32 file.
        other: The smaller one.
        run: Inputs. A model without a free batch axis is measured on them as they are, with the key ``None``.
    """
    sizes: tuple[int | None, ...] = BATCH_SIZES if batch_axis(base)[0] else (None,)
    return {size: _ratio(base, other, repeat_rows(run, size) if size else run) for size in sizes}


def _ratio(base: Runtime, other: Runtime, inputs: Arrays) -> float:
    pair = (base, other)
    for _ in range(_WARM_UP):
        for runtime in pair:
            runtime.run(inputs)
    times: tuple[list[float], list[float]] = ([], [])
    started = time.perf_counter()
    while len(times[0]) < _FEWEST_RUNS or (time.perf_counter() - started < _SECONDS and len(times[0]) < _MOST_RUNS):
        for runtime, taken in zip(pair, times, strict=True):
            begun = time.perf_counter()
            runtime.run(inputs)
            taken.append(time.perf_counter() - begun)
    return float(np.median(times[1]) / np.median(times[0]))
