"""Reads on a Ray cluster, from a process of its own that talks to Ray.

Ray ends the process that uses a cluster when the cluster goes away, and writes what it has to say into that process'
output. So a child process (`mnistkit.digits.bulk.ray_driver`) uses the cluster, and this one keeps the rows.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mnistkit.core import errors
from mnistkit.core.errors import ClusterError, InputError, MnistkitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.digits.bulk.reader import Job
    from mnistkit.digits.bulk.table import Row

_SECONDS_TO_STOP = 20  # for Ray's own processes; then they are killed
_AGAIN = "what was read is kept, and the same command goes on from there"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Which Ray cluster reads.

    Attributes:
        address: ``host:port`` of its head, or ``"auto"`` for the one that runs on this machine. By default the variable
            ``RAY_ADDRESS``; where it is not set, a Ray of this process' own, on this machine alone.
        workers: How many processes read, at most, each on one processor; by default one for each of the cluster's.

    Raises:
        InputError: ``workers`` is less than 1.
    """

    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be at least 1, got {self.workers}")


def read_on_ray(job: Job, cluster: RayCluster, start: int) -> Iterator[list[Row]]:
    """The rows of each chunk from ``start`` on, in order.

    Raises:
        ClusterError: The cluster cannot be reached, goes away, or its workers fail.
        MnistkitError: What reading in one process raises.
    """
    source = job.source
    if start >= source.count:
        return
    order = {
        "cluster": asdict(cluster),
        "job": {**asdict(job), "model": str(job.model)},
        "kind": type(source).__name__,
        "at_once": source.at_once,
        "start": start,
    }
    with tempfile.TemporaryFile("w+") as log, _driver(order, log) as answers:
        for line in answers:
            message = json.loads(line)
            if "failed" in message:
                _tell(log)
                kind, text = message["failed"]
                raise getattr(errors, kind)(text)
            for category, text in message.get("warnings", ()):
                warnings.warn(text, {"UserWarning": UserWarning}.get(category, RuntimeWarning), stacklevel=2)
            if "rows" not in message:
                continue
            if message["start"] != start:
                raise ClusterError(f"Ray answered with rows {message['start']} where {start} were due; {_AGAIN}")
            rows = [tuple(row) for row in message["rows"]]
            start += len(rows)
            yield rows
        if start < source.count:
            _tell(log)
            raise ClusterError(f"the Ray cluster went away ({_last_line(log)}); {_AGAIN}")


@contextlib.contextmanager
def _driver(order: dict[str, Any], log: IO[str]) -> Iterator[IO[str]]:
    """Start the process; yield what it answers; end it and, with it, a Ray of its own."""
    package = str(Path(__file__).parents[3])
    path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH")) if part)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mnistkit.digits.bulk.ray_driver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C comes to this process, which ends the other
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it says itself why it ended
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        yield process.stdout
    finally:
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # which tells it to end
            process.wait(_SECONDS_TO_STOP)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def _tell(log: IO[str]) -> None:
    log.seek(0)
    for line in log:
        _log.info("%s", line.rstrip())


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = [" ".join(line.split()) for line in log if line.strip()]
    return lines[-1][-200:] if lines else "it said nothing"


def failure(error: MnistkitError) -> dict[str, Any]:
    """The message that makes the other process raise this error."""
    return {"failed": [type(error).__name__, str(error)]}
