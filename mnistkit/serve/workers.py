"""Several serving processes behind one listening socket, and the parent that keeps them alive.

Each worker is a fresh interpreter that inherits the listener, so nothing is forked with threads or sessions in it.
A connection waits in the kernel's queue of the one listener, so a worker that dies takes no waiting connection along.
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
from mnistkit.serve.tally import forget

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
    with bind(settings) as listener, tempfile.TemporaryDirectory(prefix="mnistkit-") as folder:
        return _Supervisor(settings, listener, folder).run()


class _Supervisor:
    def __init__(self, settings: Settings, listener: socket.socket, folder: str) -> None:
        self._settings, self._listener, self._folder = settings, listener, folder
        self._workers: dict[subprocess.Popen[bytes], float] = {}
        self._stopping = False
        self._early_deaths = 0

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        for number in range(self._settings.workers):
            self._start(announce=number == 0)
        while self._workers:
            time.sleep(_POLL)
            for worker in [worker for worker in self._workers if worker.poll() is not None]:
                self._bury(worker)
        return 1 if self._early_deaths >= _PATIENCE else 0

    def _start(self, *, announce: bool) -> None:
        descriptor = self._listener.fileno()
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
        self._workers[worker] = time.monotonic()

    def _bury(self, worker: subprocess.Popen[bytes]) -> None:
        age = time.monotonic() - self._workers.pop(worker)
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
        self._start(announce=False)

    def _stop(self, number: int = signal.SIGTERM.value, _: FrameType | None = None) -> None:
        self._stopping = True
        self._listener.close()  # the workers have it too, and nobody must queue behind the last of them
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
    from mnistkit.errors import MnistkitError

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
