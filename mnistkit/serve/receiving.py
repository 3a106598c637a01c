"""Reading the body of a request, under every limit that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mnistkit.serve.http import CLOSE, HTTPError, Request, bad_request, truncate
from mnistkit.serve.protocol import inference
from mnistkit.serve.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from mnistkit.serve.limits import Budget
    from mnistkit.serve.settings import Settings

GONE = 499  # as nginx notes a client that left before its answer


class Body(Protocol):
    """The body of a request, before it has been read."""

    def whole(self, size: int) -> Awaitable[bytes]:
        """All of it, of the announced size; raises where the client left too early."""

    def pieces(self) -> AsyncIterator[bytes]:
        """All of it, piece by piece."""

    async def gone(self) -> None:
        """Returns when the client has left."""


class Receiver:
    """Reads bodies."""

    def __init__(self, settings: Settings, budget: Budget) -> None:
        self._settings, self._budget = settings, budget
        self._patience = TimeLimit(settings.receive_timeout)
        self._most, self._most_json = settings.max_body, min(settings.max_json, settings.max_body)

    async def receive(self, request: Request, body: Body) -> int:
        """Read a body into its request; gives the bytes to release.

        Raises:
            HTTPError: 400, 408, 411, 413, 415, 429, or `GONE`.
        """
        headers = request.headers
        if "content-encoding" in headers:
            _check_encoding(headers["content-encoding"])
        announced, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if announced is None and coding is None and request.http_version[0] == "1":
            return 0
        if coding is not None and coding.strip().lower() != "chunked":
            raise bad_request(f"header Transfer-Encoding: expected chunked, got {truncate(coding)}")
        header = headers.get(inference.LENGTH_HEADER)
        limit = self._most if header is not None or request.path == "/predict" else self._most_json
        if announced is None:
            if header is not None and not header.strip("0"):  # nothing else would tell that it was cut off
                raise HTTPError(411, "header Content-Length: expected one for a raw tensor, got none")
            return await self._pieces(request, body, limit)
        size = int(announced[:20]) if announced.isascii() and announced.isdigit() else 0
        if size > limit:
            raise self._too_large(limit)
        self._budget.reserve(size)
        task = self._patience.begin()
        try:
            whole = await body.whole(size)
        except BaseException as error:
            self._budget.release(size)
            if self._patience.end(task, error):
                raise self._too_slow() from None
            if isinstance(error, Exception):  # Granian's ProtocolClosed, or another server's
                raise gone("body: expected all of it, got a part") from error
            raise
        self._patience.end(task)
        request.body = whole if type(whole) is bytes else bytes(whole)
        request.size = len(whole)
        return size

    async def _pieces(self, request: Request, body: Body, limit: int) -> int:
        """Read a body of unknown length; gives the bytes to release.

        Granian (2.8.9) ends the iteration in silence where a chunk is malformed or the client leaves: what a cut-off
        body could mean is refused later, by its form.
        """
        length, pieces = 0, []
        try:
            with self._patience:
                async for piece in body.pieces():
                    if length + len(piece) > limit:
                        raise self._too_large(limit)  # noqa: TRY301 - what has been reserved is given back below
                    self._budget.reserve(len(piece))
                    length += len(piece)
                    pieces.append(piece)
        except TimeoutError:
            self._budget.release(length)
            raise self._too_slow() from None
        except BaseException:
            self._budget.release(length)
            raise
        request.body = b"".join(pieces)
        request.size = length
        return length

    def _too_large(self, limit: int) -> HTTPError:
        what = "bytes of JSON" if limit < self._most else "bytes"
        return HTTPError(413, f"body: expected at most {limit} {what}, got more", headers=CLOSE)

    def _too_slow(self) -> HTTPError:
        limit = f"{self._settings.receive_timeout:g} s"
        return HTTPError(408, f"request: expected all of it within {limit}, got a part", headers=CLOSE)


def _check_encoding(encoding: str) -> None:
    if encoding.strip().lower() not in {"identity", ""}:
        raise HTTPError(415, f"header Content-Encoding: expected none, got {truncate(encoding.strip().lower())}")


def gone(message: str) -> HTTPError:
    """For a client that has left: nobody reads it but the log."""
    return HTTPError(GONE, message)
