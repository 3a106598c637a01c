"""Several serving processes on one port, and the parent that keeps them alive.

Each worker is a fresh interpreter that inherits a listener, so nothing is forked with threads or sessions in it. Every
worker has a listener of its own and the kernel deals the connections out: from a single one, whichever worker happened
to be awake took a whole burst, up to all of 64 connections. The parent has the listeners too, so a worker that dies
takes no waiting connection along; they wait for its successor.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.serve.server import bind, check_packages, serve
from mnistkit.serve.settings import Settings
from mnistkit.serve.shared_counters import forget

if TYPE_CHECKING:
    from types import FrameType

_POLL = 0.1
_YOUNG = 1.0  # seconds: a worker that dies sooner never came to life
_PATIENCE = 5  # that many in a row, and the parent gives up


def supervise(settings: Settings) -> int:
    """Run the workers until SIGTERM or SIGINT; returns the exit code.

    Raises:
        MnistkitError: A setting is wrong or the address cannot be had.
    """
    check_packages()
    _check_models(settings)
    with tempfile.TemporaryDirectory(prefix="mnistkit-") as folder:
        return _Supervisor(settings, _listeners(settings), folder).run()


def _listeners(settings: Settings) -> list[socket.socket]:
    """One for each worker, all on one port."""
    first = bind(settings)  # refused when anybody listens there, which a shared one would not be
    if sys.platform != "linux":
        return [first] * settings.workers  # elsewhere a shared port does not spread connections
    settings = dataclasses.replace(settings, port=first.getsockname()[1])
    first.close()
    return [bind(settings, shared=True) for _ in range(settings.workers)]


class _Supervisor:
    def __init__(self, settings: Settings, listeners: list[socket.socket], folder: str) -> None:
        self._settings, self._listeners, self._folder = settings, listeners, folder
        self._workers: dict[subprocess.Popen[bytes], tuple[int, float]] = {}  # place, and when it was started
        self._stopping = False
        self._early_deaths = 0

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        for number in range(self._settings.workers):
            self._start(number, announce=number == 0)
        while self._workers:
            time.sleep(_POLL)
            for worker in [worker for worker in self._workers if worker.poll() is not None]:
                self._bury(worker)
        return 1 if self._early_deaths >= _PATIENCE else 0

    def _start(self, place: int, *, announce: bool) -> None:
        descriptor = self._listeners[place].fileno()
        job = {"settings": dataclasses.asdict(self._settings), "descriptor": descriptor, "announce": announce,
               "folder": self._folder}  # fmt: skip
        worker = subprocess.Popen(
            [sys.executable, "-m", "mnistkit.serve.workers"],
            stdin=subprocess.PIPE,
            pass_fds=[descriptor],
            start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on once
        )
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(job).encode() + b"\n")  # left open: its end tells the worker that we are gone
        worker.stdin.flush()
        self._workers[worker] = place, time.monotonic()

    def _bury(self, worker: subprocess.Popen[bytes]) -> None:
        place, started = self._workers.pop(worker)
        age = time.monotonic() - started
        if worker.stdin is not None:
            worker.stdin.close()
        forget(Path(self._folder), worker.pid)
        if self._stopping:
            return
        self._early_deaths = self._early_deaths + 1 if age < _YOUNG else 0
        if self._early_deaths >= _PATIENCE:
            self._say(f"worker {worker.pid} ended with {worker.returncode} at once, as did those before it; giving up")
            self._stop()
            return
        self._say(f"worker {worker.pid} ended with {worker.returncode}; starting another")
        self._start(place, announce=False)

    def _stop(self, number: int = signal.SIGTERM.value, _: FrameType | None = None) -> None:
        self._stopping = True
        for listener in self._listeners:  # the workers have them too, and nobody must queue behind the last of them
            listener.close()
        self._signal(signal.Signals(number))

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self._signal(signal.Signals(number))

    def _signal(self, number: signal.Signals) -> None:
        for worker in list(self._workers):
            worker.send_signal(number)

    def _say(self, text: str) -> None:
        print(f"mnistkit: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the operator reads it


def _check_models(settings: Settings) -> None:
    """Refuse a bad model once, with one line, rather than once in every worker."""
    from mnistkit.serve.repository import Repository

    for model in Repository(settings, observe=lambda *_: None).models.values():
        model.lane.close()


def _work() -> int:
    """A worker's whole life; its orders are on stdin."""
    from mnistkit.core.errors import MnistkitError

    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    given = job["settings"]
    given["models"] = tuple((name, path) for name, path in given["models"])
    settings = Settings(**given)
    with socket.socket(fileno=job["descriptor"]) as listener:
        try:
            serve(settings, listener, announce=job["announce"], folder=Path(job["folder"]))
        except MnistkitError as error:
            print(f"mnistkit: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201 - as the command line does
            return 1
    return 0


def _outlive_nobody() -> None:
    """Stop when the parent dies, however it dies: its end of our stdin closes then."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_work())
