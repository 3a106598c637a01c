"""The process in which one model is measured: ``python -m mnistkit.publish.bench_process WHAT OPTIONS``.

The last line on stdout is the answer, as JSON.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, MnistkitError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable


def measure_file(
    *, file: str, device: str, provider_options: dict[str, str], threads: int | None, batch_sizes: list[int]
) -> dict[str, Any]:
    """Load an ``.onnx`` file and run it."""
    from mnistkit.core.runtime import Runtime, load_onnxruntime
    from mnistkit.export.provenance import external_bytes
    from mnistkit.publish.speed import base_inputs, measure_speed

    load_onnxruntime()
    before = _resident()
    begun = time.perf_counter()
    runtime = Runtime(file, device=device, threads=threads, provider_options=provider_options)
    loaded = time.perf_counter()
    inputs, _ = base_inputs(runtime)
    asked = time.perf_counter()
    runtime.run(inputs)
    answered = time.perf_counter()
    speed = measure_speed(runtime, batch_sizes=batch_sizes)
    peak = _peak()
    accuracy = runtime.metadata.get("test_accuracy")
    return {
        "size": Path(file).stat().st_size + external_bytes(Path(file)),
        "load": 1000 * (loaded - begun),
        "first": 1000 * (answered - asked),
        "latencies": [asdict(one) for one in speed.latencies],
        "left_out": speed.left_out,
        "inputs": speed.inputs,
        "memory": None if before is None or peak is None else max(0, peak - before),
        "accuracy": None if accuracy is None else float(accuracy),
        "onnxruntime": speed.onnxruntime,
        "provider": speed.provider,
        "threads": speed.threads,
    }


def measure_keras(*, file: str, model: str, backend: str | None, batch_sizes: list[int | None]) -> dict[str, Any]:
    """Load a ``.keras`` file and time ``predict`` on the inputs that the ``.onnx`` file was measured on."""
    from mnistkit.core.keras_backend import load_keras
    from mnistkit.core.keras_files import load_model
    from mnistkit.core.runtime import Runtime
    from mnistkit.publish.drawn_inputs import repeat_rows
    from mnistkit.publish.speed import base_inputs, time_runs

    keras = load_keras(backend)
    loaded = load_model(model)
    arrays, _ = base_inputs(Runtime(file, device="cpu"))
    latencies = []
    for size in batch_sizes:
        rows = list((repeat_rows(arrays, size) if size else arrays).values())
        try:
            given = rows[0] if len(rows) == 1 else keras.tree.pack_sequence_as(loaded.input, rows)
            run = functools.partial(loaded.predict, given, batch_size=size, verbose=0)
            latencies.append(asdict(time_runs(run, batch_size=size)))
        except Exception as error:  # whatever a model of the user's raises
            raise InputError(f"Keras' predict fails on these inputs: {one_line(error, limit=150)}") from error
    return {"backend": f"{keras.backend.backend()}, Keras {keras.__version__}", "latencies": latencies}


def _resident() -> int | None:
    """Bytes of memory that this process has now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    import resource

    return pages * resource.getpagesize()


def _peak() -> int | None:
    """The most that it ever had.

    Not ``ru_maxrss``: on Linux that begins with what the process had that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None


def main() -> int:
    """Measure, and print the answer or the error."""
    what, options = sys.argv[1:]
    known: dict[str, Callable[..., dict[str, Any]]] = {"measure_file": measure_file, "measure_keras": measure_keras}
    try:
        answer = known[what](**json.loads(options))
    except MnistkitError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(answer))  # noqa: T201  # the answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
