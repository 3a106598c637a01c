"""How long one run takes here."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.core.runtime import Runtime, load_onnxruntime

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

_RUNS = 200
_WARM_UP = 5
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Latency:
    """A measured latency.

    Attributes:
        milliseconds: Median of all runs.
        runs: How many there were.
        threads: Threads inside one operator.
        onnxruntime: Version.
    """

    milliseconds: float
    runs: int
    threads: int
    onnxruntime: str


def measure_latency(model: str | os.PathLike[str], feeds: Mapping[str, NDArray[Any]]) -> Latency:
    """Run a file again and again on one thread of the CPU, 200 times or for about two seconds.

    Args:
        model: An ``.onnx`` file.
        feeds: One array for every input.
    """
    runtime = Runtime(model, device="cpu", threads=1)
    for _ in range(_WARM_UP):
        runtime.run(feeds)
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(times) < _RUNS and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        runtime.run(feeds)
        times.append(time.perf_counter() - start)
    return Latency(1e3 * statistics.median(times), len(times), 1, load_onnxruntime().__version__)
