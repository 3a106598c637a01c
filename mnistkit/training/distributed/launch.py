"""Start several processes of one command on this machine, for trying, and end them all when one ends badly.

What launchers of the frameworks do across machines: every process gets the variables that say which one it is
(``variables``). Each is in a session of its own, so a signal reaches it once, from here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from mnistkit.training.distributed.variables import variables_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LAUNCHED = "MNISTKIT_LAUNCHED"
"""The environment variable that tells a process that this module started it, and reports for it."""
LOST = 75
"""What a process ends with that ended because another one had: its own message would hide the cause."""

_POLL = 0.05
_NOTICE = 20.0  # seconds in which the others may notice by themselves, and say so
_STOP = 10.0  # seconds from a signal to the next, stronger one
_LAST = 4096  # bytes of what a process said that are looked at


@dataclass(slots=True)
class _Child:
    rank: int
    process: subprocess.Popen[bytes]
    said: IO[bytes] | None


def launch(words: Sequence[str], *, backend: str, count: int) -> int:
    """Run ``python -m mnistkit WORDS`` in several processes; process 0 has this process' output.

    Args:
        words: the command.
        backend: name of the Keras backend.
        count: number of processes.

    Returns:
        The exit code: 0 where all ended with 0; 130 and 143 after SIGINT and SIGTERM; else 1.
    """
    asked: list[int] = []
    with _signals(asked):
        children = [_start(words, backend, rank, ports) for ports in [_free_ports(count)] for rank in range(count)]
        try:
            first = _wait(children, asked)
        finally:
            _end(children)
    try:
        return _report(children, first, asked)
    finally:
        for child in children:
            for stream in (child.process.stdin, child.said):
                if stream is not None:
                    stream.close()


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however that ended; called by those that it starts."""
    import threading

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="mnistkit-parent", daemon=True).start()


def _start(words: Sequence[str], backend: str, rank: int, ports: list[int]) -> _Child:
    said: Any = None if rank == 0 else tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has ended
    process = subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, "-m", "mnistkit", *words],
        env={**os.environ, "KERAS_BACKEND": backend, LAUNCHED: "1", **variables_for(backend, rank=rank, ports=ports)},
        stdin=subprocess.PIPE,
        stdout=None if rank == 0 else subprocess.DEVNULL,
        stderr=said,
        start_new_session=True,
    )
    return _Child(rank, process, said)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def _signals(asked: list[int]) -> Iterator[None]:
    """Note SIGINT and SIGTERM instead of ending at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda got, _frame: asked.append(got))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: list[_Child], asked: list[int]) -> _Child | None:
    """Wait until all have ended; after the first bad end, and after a signal, let the others stop."""
    first: _Child | None = None
    deadline: float | None = None
    told = 0
    while any(child.process.poll() is None for child in children):
        if first is None and not asked:
            first = next((child for child in children if child.process.poll()), None)
            deadline = None if first is None else time.monotonic() + _NOTICE
        if len(asked) > told:
            told = len(asked)
            _signal(children, signal.SIGINT if told == 1 else signal.SIGKILL)  # between two steps, then at once
            deadline = time.monotonic() + _NOTICE
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(_POLL)
    return first or next((child for child in children if child.process.poll()), None)


def _end(children: list[_Child]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(children, number)
        until = time.monotonic() + _STOP
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, until - time.monotonic()))


def _signal(children: list[_Child], number: int) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(number)


def _report(children: list[_Child], first: _Child | None, asked: list[int]) -> int:
    """Say which process ended badly, unless process 0 has said it itself; return the exit code."""
    if asked:
        if children[0].process.returncode != 128 + signal.SIGINT:
            _say("interrupted; no file was half-written")
        return 128 + asked[0]
    if first is None:
        return 0
    if children[0].process.returncode == 1:
        return 1  # it has said why, and the others the same
    culprit = next((c for c in (first, *children) if c.process.returncode not in {0, LOST}), first)
    code, count = culprit.process.returncode, len(children)
    rest = "the others were stopped; no file was half-written, and --resume goes on after the last finished epoch"
    if code < 0:
        _say(f"process {culprit.rank} of {count} was ended by {signal.Signals(-code).name}; {rest}")
    elif culprit.said is not None:
        _say(f"process {culprit.rank} of {count}: {_last_line(culprit.said) or f'ended with code {code}'}; {rest}")
    else:
        _say(f"process {culprit.rank} of {count} ended with code {code}; {rest}")
    return 1


def _last_line(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - _LAST))
    lines = said.read().decode(errors="replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    own = [line for line in told if line.startswith("mnistkit: ")]
    return (own or told or [""])[-1].removeprefix("mnistkit: ")


def _say(line: str) -> None:
    sys.stderr.write(f"mnistkit: {line}\n")
