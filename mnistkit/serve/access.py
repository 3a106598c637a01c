"""The access log: one JSON line for each request, written in handfuls so that it costs next to nothing."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING, Any

import orjson

from mnistkit.core.errors import OutputError

if TYPE_CHECKING:
    from mnistkit.serve.http import Request, Response

_FULL = 256  # lines kept before they are written without waiting for the clock


class AccessLog:
    """Collects lines; `flush` writes them.

    Args:
        target: A file to append to, ``-`` for stderr, ``none`` for no log.

    Raises:
        OutputError: The file cannot be opened.
    """

    def __init__(self, target: str) -> None:
        self._lines: list[bytes] = []
        self._notes: list[tuple[float, str, str, str, int, float, int, int]] = []
        self._stream: IO[bytes] | None = None
        self._owned = target not in {"-", "none"}
        if target == "-":
            self._stream = sys.stderr.buffer
        elif target != "none":
            try:
                self._stream = open(target, "ab", buffering=0)  # noqa: SIM115, PTH123 - closed in close()
            except OSError as error:
                raise OutputError(f"--access-log: {target} cannot be opened ({error.strerror})") from None

    def note(self, request: Request, response: Response, seconds: float) -> None:
        """One request; its line is made when it is written."""
        if self._stream is None:
            return
        self._notes.append((time.time(), request.client, request.method, request.path, response.status, seconds,
                            len(request.body), len(response.body)))  # fmt: skip
        if len(self._notes) >= _FULL:
            self.flush()

    def write(self, entry: dict[str, Any]) -> None:
        """Any line."""
        self._format()
        self._line(entry)

    def _format(self) -> None:
        notes, self._notes = self._notes, []
        for at, client, method, path, status, seconds, took, gave in notes:
            entry = {
                "time": int(at * 1000) / 1000,
                "client": client,
                "method": method,
                "path": path,
                "status": status,
                "ms": int(seconds * 1_000_000) / 1000,
                "bytes_in": took,
                "bytes_out": gave,
            }
            self._line(entry)

    def _line(self, entry: dict[str, Any]) -> None:
        try:
            self._lines.append(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        except orjson.JSONEncodeError:  # lone surrogates in a path
            entry["path"] = repr(entry.get("path"))
            self._lines.append(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write what was collected; a log that cannot be written never stops the server."""
        self._format()
        lines, self._lines = self._lines, []
        if not lines or self._stream is None:
            return
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except OSError:
            self._stream = None

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        if self._stream is not None and self._owned:
            self._stream.close()
