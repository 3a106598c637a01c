"""A process of its own that talks to a Ray cluster, and the lines of JSON between it and this one.

Ray ends the process that uses a cluster when the cluster goes away, and writes what it has to say into that process'
output. So a child process uses the cluster, and this one keeps what it answers.
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
import threading
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mnistkit.core import errors
from mnistkit.core.errors import ClusterError, MnistkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_SECONDS_TO_STOP = 20  # for Ray's own processes; then they are killed
_SECONDS_TO_END = 15
_log = logging.getLogger(__name__)


def ask(
    module: str, order: Mapping[str, Any], *, kept: str, variables: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """Run a module with `answer` in its ``main``; yield its messages until it has said all.

    Args:
        module: Its name.
        order: What it is told, as JSON.
        kept: What an error message says of what was done before.
        variables: More environment variables for it.

    Raises:
        ClusterError: It ended too early: the cluster went away.
        MnistkitError: What it raised.
    """
    with tempfile.TemporaryFile("w+") as log, _started(module, order, log, variables or {}) as answers:
        for line in answers:
            message = json.loads(line)
            if "failed" in message:
                _tell(log)
                kind, text = message["failed"]
                raise getattr(errors, kind)(text)
            for category, text in message.get("warnings", ()):
                warnings.warn(text, {"UserWarning": UserWarning}.get(category, RuntimeWarning), stacklevel=2)
            if "end" in message:
                return
            yield message
        _tell(log)
        raise ClusterError(f"the Ray cluster went away ({_last_line(log)}); {kept}")


@contextlib.contextmanager
def _started(module: str, order: Mapping[str, Any], log: IO[str], more: Mapping[str, str]) -> Iterator[IO[str]]:
    """Start the process; yield what it answers; end it and, with it, a Ray of its own."""
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH")) if part)
    process = subprocess.Popen(  # noqa: S603 - a module of this package
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, **more, "PYTHONPATH": path},
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


# --- the other end ----------------------------------------------------------------------------------------------------


def answer(work: Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], None]) -> int:
    """Be the process that `ask` starts: read the order, do the work, and end when nobody listens any more.

    Args:
        work: Gets the order and a function that sends a message, which any thread may call.

    Returns:
        The exit code.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what Ray prints is no answer
        lock = threading.Lock()

        def send(message: dict[str, Any]) -> None:
            with lock:
                out.write(json.dumps(message) + "\n")
                out.flush()

        order = json.loads(sys.stdin.readline())
        threading.Thread(target=_follow, daemon=True).start()
        try:
            work(order, send)
        except (KeyboardInterrupt, BrokenPipeError):
            return 1
        except MnistkitError as error:
            send(failure(error))
            return 1
        send({"end": True})
    return 0


def failure(error: MnistkitError) -> dict[str, Any]:
    """The message that makes the other process raise this error."""
    return {"failed": [type(error).__name__, str(error)]}


def _follow() -> None:
    """End with the process that began this one."""
    import _thread

    while sys.stdin.read(1 << 16):
        pass
    _thread.interrupt_main()
    threading.Event().wait(_SECONDS_TO_END)
    os._exit(1)
