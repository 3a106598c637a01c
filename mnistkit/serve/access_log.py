"""The access log: one JSON line for each request, written by a thread so that no disk holds a request up."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from mnistkit.core.errors import OutputError

if TYPE_CHECKING:
    from mnistkit.serve.http import Request, Response

_MOST = 20_000  # entries that may wait for a writer that does not get on; later ones are counted and dropped
_LONGEST = 300  # characters of a header
_PAUSE = 0.2  # seconds between two writes, so that lines go out in handfuls


class AccessLog:
    """Collects entries from any thread; a thread of its own writes them.

    Args:
        target: A file to append to, ``-`` for stderr, ``none`` for no log.

    Raises:
        OutputError: The file cannot be opened.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._entries: deque[tuple[Any, ...] | dict[str, Any]] = deque()
        self._dropped = 0
        self._reopen = False
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._descriptor = -1
        self._torn = False  # whether the disk took a part of a line
        self._thread: threading.Thread | None = None
        if target == "none":
            return
        try:
            self._open()
        except OSError as error:
            raise OutputError(f"--access-log: {target} cannot be opened ({error.strerror})") from None

    def start(self) -> None:
        """Begin to write; after a fork has been done with."""
        if self._target != "none" and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
            self._thread.start()

    def note(self, request: Request, response: Response, seconds: float) -> None:
        """One request; its line is made when it is written."""
        if self._descriptor < 0:
            return
        if len(self._entries) >= _MOST:
            self._dropped += 1
            return
        headers = request.headers
        self._entries.append((time.time(), request.id, request.client, request.method, request.path, response.status,
                              seconds, request.size, len(response.body), headers.get("user-agent"),
                              headers.get("x-forwarded-for"), headers.get("traceparent")))  # fmt: skip

    def write(self, entry: dict[str, Any]) -> None:
        """Any line."""
        if self._descriptor >= 0 and len(self._entries) < _MOST:
            self._entries.append(entry)
            self._wake.set()

    def reopen(self) -> None:
        """Open the file again by its name, after it was moved away; safe in a signal handler."""
        self._reopen = True
        self._wake.set()

    def close(self) -> None:
        """Write what is left, as far as that takes no longer than a second."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1)

    def _open(self) -> None:
        if self._target == "-":
            self._descriptor = sys.stderr.fileno()
        else:
            self._descriptor = os.open(self._target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _run(self) -> None:
        while True:
            closing = self._closing.is_set()
            if self._reopen:
                self._reopen = False
                self._open_again()
            self._flush()
            if closing:
                return
            self._wake.wait(_PAUSE)
            self._wake.clear()

    def _open_again(self) -> None:
        old = self._descriptor
        with contextlib.suppress(OSError):  # the old file goes on
            self._open()
            if self._target != "-":
                os.close(old)

    def _flush(self) -> None:
        lines = []
        while self._entries:
            entry = self._entries.popleft()
            lines.append(_line(_entry(entry) if isinstance(entry, tuple) else entry))
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            lines.append(_line({"event": "log lines dropped", "count": dropped}))
        data = (b"\n" if self._torn and lines else b"") + b"".join(lines)
        while data:
            try:
                done = os.write(self._descriptor, data)
            except OSError:  # full, or gone: these lines are lost, later ones are tried again
                self._dropped += data.count(b"\n")
                return
            self._torn = data[done - 1 : done] != b"\n"
            data = data[done:]


def _entry(note: tuple[Any, ...]) -> dict[str, Any]:
    at, id_, client, method, path, status, seconds, took, gave, agent, forwarded, trace = note
    entry = {
        "time": int(at * 1000) / 1000,
        "id": id_,
        "client": client,
        "method": method,
        "path": path,
        "status": status,
        "ms": int(seconds * 1_000_000) / 1000,
        "bytes_in": took,
        "bytes_out": gave,
    }
    if agent is not None:
        entry["user_agent"] = agent[:_LONGEST]
    if forwarded is not None:
        entry["forwarded_for"] = forwarded[:_LONGEST]
    if trace is not None:
        entry["traceparent"] = trace[:_LONGEST]
    return entry


def _line(entry: dict[str, Any]) -> bytes:
    try:
        line: bytes = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # lone surrogates do not pass
        line = b"\xff"
    if line.isascii():
        return line
    for name, value in entry.items():
        # C1 controls pass through JSON as they are and steer a terminal.
        if isinstance(value, str) and not value.isprintable():
            entry[name] = value.encode("ascii", "backslashreplace").decode()
    return bytes(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
