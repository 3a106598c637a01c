"""What a file costs here: its size, loading, the first answer, latencies, memory; beside Keras' own ``predict``.

Each file, and each Keras model, is measured in a process of its own: memory and first answers mean nothing in one that
has run another model before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import errors
from mnistkit.core.errors import InputError, MnistkitError, one_line
from mnistkit.publish.speed import BATCH_SIZES, Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class KerasSpeed:
    """What ``model.predict`` of the ``.keras`` file takes.

    Attributes:
        backend: Its backend and versions.
        latencies: One for each batch size.
    """

    backend: str
    latencies: tuple[Latency, ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a file costs.

    Attributes:
        file: As it was named.
        size: Bytes, with weights in a second file.
        load: Milliseconds from the path to a session.
        first: Milliseconds of the first answer.
        latencies: One for each batch size.
        left_out: Why a batch size is missing; empty where none is.
        inputs: What it was measured on, in a few words.
        memory: Bytes above the process that has loaded no model, at most; ``None`` where the system does not tell.
        accuracy: Of the test data, as the file says; ``None`` where it does not.
        onnxruntime: Version.
        provider: The execution provider.
        threads: Threads inside one operator.
        keras: The same model by Keras; ``None`` where it was not measured.
        keras_missing: Why it was not; empty where it was.
    """

    file: str
    size: int
    load: float
    first: float
    latencies: tuple[Latency, ...]
    left_out: str
    inputs: str
    memory: int | None
    accuracy: float | None
    onnxruntime: str
    provider: str
    threads: int
    keras: KerasSpeed | None = None
    keras_missing: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def bench(
    file: str | os.PathLike[str],
    *,
    device: str = "auto",
    provider_options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    keras: bool = True,
    backend: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Bench:
    """Measure an ``.onnx`` file, of mnistkit or not.

    Args:
        file: The file. The Keras model that it is held against is ``NAME.keras`` beside it.
        device: As for `mnistkit.Classifier`.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.
        threads: Threads inside one operator; by default one for each processor that this process may use.
        batch_sizes: Rows of a run. A model with a fixed batch axis is measured at that size alone.
        keras: Measure Keras' ``predict`` too, where the ``.keras`` file and a backend are there.
        backend: The backend of that; chosen as for the training by default.
        progress: Is told what is being measured.

    Raises:
        ModelFileError: The file cannot be read.
        DeviceError: The device cannot be had.
        InputError: A batch size or ``threads`` is no positive number, or no inputs can be drawn for the model.
    """
    if not batch_sizes or any(size < 1 for size in batch_sizes):
        raise InputError(f"batch sizes must be at least 1, got {', '.join(map(str, batch_sizes)) or 'none'}")
    tell = progress or (lambda _: None)
    sizes = sorted(set(batch_sizes))
    options: dict[str, Any] = {"file": os.fspath(file), "device": device, "threads": threads, "batch_sizes": sizes}
    options["provider_options"] = {key: str(value) for key, value in (provider_options or {}).items()}
    tell(f"measuring {file}")
    found = _in_process("measure_file", options)
    latencies = tuple(Latency(**one) for one in found.pop("latencies"))
    model = Path(file).with_suffix(".keras")
    ours: dict[str, Any] = {}
    if not keras:
        ours["keras_missing"] = "not asked for"
    elif not model.is_file():
        ours["keras_missing"] = f"no {model.name} beside the file"
    else:
        tell(f"measuring Keras' predict of {model}")
        try:
            asked = {"file": os.fspath(file), "model": str(model), "backend": backend}
            other = _in_process("measure_keras", asked | {"batch_sizes": [one.batch_size for one in latencies]})
            ours["keras"] = KerasSpeed(other["backend"], tuple(Latency(**one) for one in other["latencies"]))
        except MnistkitError as error:
            ours["keras_missing"] = one_line(error, limit=200)
    return Bench(file=os.fspath(file), latencies=latencies, **found, **ours)


def _in_process(what: str, options: dict[str, Any]) -> dict[str, Any]:
    """Call a function of `bench_process` in a new process.

    Raises:
        MnistkitError: What the function raises, or that the process ended without an answer.
    """
    command = [sys.executable, "-m", "mnistkit.publish.bench_process", what, json.dumps(options)]
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    ran = subprocess.run(  # noqa: S603  # this very package
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    try:
        answer = json.loads(ran.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = " ".join(ran.stderr[-300:].split()) or f"exit code {ran.returncode}"
        raise InputError(f"{options['file']}: the measuring process ended without an answer ({last})") from None
    if "error" in answer:
        raise getattr(errors, answer["error"], MnistkitError)(answer["message"])
    found: dict[str, Any] = answer
    return found
