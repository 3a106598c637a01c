"""How long a file takes here, measured with onnxruntime at several batch sizes."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnistkit.core.errors import InputError, ModelFileError, one_line
from mnistkit.core.golden import decode_golden
from mnistkit.core.runtime import load_onnxruntime
from mnistkit.publish.drawn_inputs import batch_axis, draw_inputs, repeat_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mnistkit.core.runtime import Runtime
    from mnistkit.publish.drawn_inputs import Arrays

BATCH_SIZES = (1, 32, 1024)
_SECONDS = 1.0  # of measurement for each batch size
_MOST_RUNS = 500
_FEWEST_RUNS = 5
_WARM_UP = 2
_TOO_LONG = 4.0  # seconds of one run, beyond which a larger batch is not tried


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of one batch size, in milliseconds.

    Attributes:
        batch_size: Rows of a run; ``None`` where the model has no batch axis.
        p50: Half of the runs took no longer.
        p99: 99 of 100 runs took no longer.
        runs: How many were measured.
    """

    batch_size: int | None
    p50: float
    p99: float
    runs: int


@dataclass(frozen=True, slots=True)
class Speed:
    """How long a model takes.

    Attributes:
        latencies: One for each batch size.
        inputs: What it was measured on, in a few words.
        left_out: Why a batch size is missing; empty where none is.
        onnxruntime: Version.
        provider: The execution provider.
        threads: Threads inside one operator.
    """

    latencies: tuple[Latency, ...]
    inputs: str
    left_out: str
    onnxruntime: str
    provider: str
    threads: int


def measure_speed(
    runtime: Runtime,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    progress: Callable[[str], None] | None = None,
) -> Speed:
    """Run a loaded file again and again.

    Args:
        runtime: The file, on the device and with the threads that it is to be measured with.
        batch_sizes: Rows of a run, from small to large; a model with a fixed batch axis is measured at that size.
        progress: Is told what is being measured.

    Raises:
        InputError: No inputs can be drawn for the model, or it refuses them.
    """
    base, told = base_inputs(runtime)
    free, fixed = batch_axis(runtime)
    sizes: Sequence[int | None] = batch_sizes if free else (fixed,)
    latencies: list[Latency] = []
    left_out = ""
    for size in sizes:
        if size is not None and latencies and _predicted(latencies[-1], size) > _TOO_LONG:
            left_out = f"batch {size:,} was left out: one run would take about {_predicted(latencies[-1], size):.0f} s"
            break
        if progress is not None:
            progress(f"measuring latency at batch {size:,}" if size else "measuring latency")
        try:
            inputs = repeat_rows(base, size) if free and size else base
            latencies.append(time_runs(functools.partial(runtime.run, inputs), batch_size=size))
        except InputError as error:
            left_out = f"batch {size} was left out: {one_line(error, limit=200)}"
            break
    if not latencies:
        raise InputError(left_out.partition(": ")[2])
    version, provider = str(load_onnxruntime().__version__), runtime.providers[0]
    return Speed(tuple(latencies), told, left_out, version, provider, runtime.threads)


def base_inputs(runtime: Runtime) -> tuple[Arrays, str]:
    """A few rows that a model takes, and what they are: those of a golden pair, else drawn ones.

    Raises:
        InputError: None can be drawn.
    """
    try:
        return decode_golden(runtime.metadata)[0].inputs, "the inputs of a golden pair"
    except ModelFileError:
        return draw_inputs(runtime), "drawn inputs"


def _predicted(last: Latency, size: int) -> float:
    return last.p50 / 1000 * size / (last.batch_size or 1)


def time_runs(run: Callable[[], object], *, batch_size: int | None = None) -> Latency:
    """Call something again and again, for about a second."""
    for _ in range(_WARM_UP):
        run()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < _FEWEST_RUNS or (time.perf_counter() - started < _SECONDS and len(times) < _MOST_RUNS):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    p50, p99 = (float(one) for one in np.percentile(np.array(times) * 1000, (50, 99)))
    return Latency(batch_size, p50, p99, len(times))
