"""One HTTP/1.1 connection: llhttp (through httptools) parses, the service answers, every limit is kept here.

No ASGI between: a small answer is made and written while the bytes that asked for it are being read, which is more
than half of a small request's cost.
"""

from __future__ import annotations

import asyncio
import http
import logging
import os
import time
import urllib.parse
from collections import deque
from email.utils import formatdate
from typing import TYPE_CHECKING

import httptools

from mnistkit.serve.http import Refusal, Request, Response, refusal_response

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mnistkit.serve.service import Service
    from mnistkit.serve.settings import Settings

logger = logging.getLogger("mnistkit.serve")
_LINGER = 1.0  # seconds for which a refused client may go on sending, unread
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}


class Connections:
    """All connections of a process, and the clock that closes the slow ones."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.settings: Settings = service.settings
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.stopping = False
        self.heads: dict[tuple[int, bytes], bytes] = {}
        self.tick()

    def __call__(self) -> Connection:
        """A protocol for a new connection, as `loop.create_server` asks for."""
        return Connection(self)

    def tick(self) -> None:
        """Twice a second: the date header, the deadlines, the log."""
        self.heads.clear()
        now = time.monotonic()
        for connection in list(self.open):
            connection.check(now)
        self.service.log.flush()
        self.service.metrics.set("connections", len(self.open))

    def head(self, status: int, content_type: bytes) -> bytes:
        """What answers of a kind begin with, until the next tick."""
        made = self.heads.get((status, content_type))
        if made is None:
            made = _STATUS[status] + b"date: " + formatdate(usegmt=True).encode() + b"\r\n"
            if status != http.HTTPStatus.NO_CONTENT:
                made += b"content-type: " + content_type + b"\r\ncontent-length: "
            self.heads[status, content_type] = made
        return made

    def stop(self) -> None:
        """Close idle connections now and the others after their answer."""
        self.stopping = True
        for connection in list(self.open):
            connection.stop()


class Connection(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_body", "_busy", "_client", "_closing", "_descriptor", "_expect", "_header_bytes", "_headers", "_in_body",
        "_known", "_last", "_length", "_parser", "_queue", "_refused", "_shared", "_since", "_stuck", "_transport",
        "_url", "_used",
    )  # fmt: skip

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1  # of the socket, unless TLS is between; good while the transport is not closing
        self._queue: deque[tuple[Request, bool]] = deque()  # pipelined requests behind a slow one
        self._busy = False
        self._closing = False  # nothing more is read
        self._refused: Refusal | None = None
        self._client = ""
        self._since: float | None = None  # when the request being received began
        self._used = 0.0  # when the connection last did something, for keep-alive
        self._stuck: float | None = None  # since when the client takes no more of the response
        self._last: tuple[Request, int] | None = None  # the request read last, with keep-alive, and its body's length
        self._known: tuple[bytes, int, Request] | None = None  # a head seen before, the size of all, what it meant
        self._in_body = False
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._length = 0
        self._header_bytes = 0
        self._expect = False
        self._in_body = False

    # --- asyncio ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        if transport.get_extra_info("sslcontext") is None:
            self._descriptor = transport.get_extra_info("socket").fileno()
        peer = transport.get_extra_info("peername")
        self._client = peer[0] if isinstance(peer, tuple) else ""
        self._since = self._used = time.monotonic()
        self._shared.open.add(self)
        limit = self._shared.settings.max_connections
        if len(self._shared.open) > limit:
            self._reject(Refusal(503, f"connections: expected at most {limit} at a time, got one more; try again",
                                 headers=((b"retry-after", b"1"),)))  # fmt: skip

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone; answers under way are thrown away when they come."""
        del exc
        self._closing = True
        self._queue.clear()
        self._shared.open.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._closing:
            return
        fresh = self._since is None
        if fresh:
            known = self._known
            if known is not None and len(data) == known[1] and data.startswith(known[0]) and not self._busy:
                _, _, like = known
                request = Request(like.method, like.path, like.query, like.headers, data[len(known[0]) :], like.client)
                self._answer(request, True)
                return
            self._since = time.monotonic()
            self._last = None
        if not self._in_body:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._closing = True  # the request was answered without upgrading, as HTTP allows; what follows is not HTTP
            self._close_if_done()
        except httptools.HttpParserCallbackError:
            if self._refused is None:
                logger.exception("a bug in the server")
                self._refused = Refusal(500, "internal error; the server's log has the details")
            self._reject(self._refused)
        except httptools.HttpParserError as error:
            self._reject(Refusal(400, f"request: expected HTTP/1.1, got something else ({error})"))
        else:
            # A header that never ends is kept by the parser, out of sight; so bytes are counted as they come.
            if not self._in_body and self._header_bytes > self._shared.settings.max_header_bytes:
                self._reject(self._headers_too_large())
            elif fresh and self._since is None and self._last is not None:
                self._learn(data, *self._last)

    def _learn(self, data: bytes, request: Request, length: int) -> None:
        """Remember a head that came in one piece with its body and nothing else.

        A client that keeps its connection sends the same head again and again, and the same bytes mean the same: they
        need no second parsing. The comparison is with all bytes up to the first empty line, in which no line ends
        otherwise than HTTP says, so there is no second reading of where the body begins.
        """
        end = data.find(b"\r\n\r\n") + 4
        if end + length == len(data) and data.count(b"\n", 0, end) == data.count(b"\r\n", 0, end):
            like = Request(request.method, request.path, request.query, request.headers, b"", request.client)
            self._known = data[:end], len(data), like
        self._last = None

    def eof_received(self) -> bool:
        """The client has sent everything; answers under way still go out."""
        self._closing = True
        return self._busy

    def pause_writing(self) -> None:
        """The client does not take the response."""
        self._stuck = time.monotonic()

    def resume_writing(self) -> None:
        """It does again."""
        self._stuck = None

    # --- httptools --------------------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes | None) -> None:
        """One header, whole."""
        if len(self._headers) >= self._shared.settings.max_headers:
            self._refuse(self._headers_too_large())
        name = name.lower()
        if name == b"expect":
            self._expect = (value or b"").lower() == b"100-continue"
        self._headers[name] = value or b""

    def on_headers_complete(self) -> None:
        """The body comes next; refuse what is announced as too large."""
        self._in_body = True
        settings = self._shared.settings
        size = len(self._url) + sum(map(len, self._headers)) + sum(map(len, self._headers.values()))
        if size > settings.max_header_bytes:
            self._refuse(self._headers_too_large())
        announced = self._headers.get(b"content-length", b"0")
        if int(announced) > settings.max_body:
            self._refuse(self._body_too_large())
        if self._expect and not self._busy and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._length += len(body)
        if self._length > self._shared.settings.max_body:
            self._refuse(self._body_too_large())
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole: answer it, or queue it behind the one being answered."""
        url = self._url
        if url[:1] != b"/":
            parsed = urllib.parse.urlsplit(url)  # absolute form, as proxies send it
            url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        raw, _, query = url.partition(b"?")
        path = raw.decode("latin-1")
        if "%" in path:
            path = urllib.parse.unquote(path)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode()
        request = Request(method, path, query, self._headers, body, self._client)
        keep = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        if keep and not self._expect and b"transfer-encoding" not in self._headers:
            self._last = request, self._length
        self._reset()
        self._since = None
        if self._busy:
            self._queue.append((request, keep))
        else:
            self._answer(request, keep)

    # --- answering --------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, keep: bool) -> None:  # noqa: FBT001 - private
        result = self._shared.service.answer(request)
        if isinstance(result, Response):
            self._write(request, result, keep)
            return
        self._busy = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._later(request, result, keep))
        self._shared.tasks.add(task)  # the loop itself keeps no hold on it
        task.add_done_callback(self._shared.tasks.discard)

    async def _later(self, request: Request, work: Awaitable[Response], keep: bool) -> None:  # noqa: FBT001 - private
        response = await work
        self._busy = False
        self._write(request, response, keep)
        while self._queue and not self._busy and self._transport is not None and not self._transport.is_closing():
            self._answer(*self._queue.popleft())
        if not self._busy and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._close_if_done()

    def _write(self, request: Request, response: Response, keep: bool) -> None:  # noqa: FBT001 - private
        if self._transport is None or self._transport.is_closing():
            return
        keep = keep and not self._shared.stopping
        self._send(self._bytes(response, keep=keep, with_body=request.method != "HEAD"))
        self._used = time.monotonic()
        if not keep:
            self._closing = True
            self._transport.close()

    def _send(self, data: bytes) -> None:
        """Write at once what the socket takes.

        uvloop keeps writes until every connection with something to read has been served, so with 64 clients the first
        answer would wait for the sixty-fourth, and the clients with it.
        """
        transport = self._transport
        assert transport is not None
        if self._descriptor >= 0 and not transport.get_write_buffer_size():
            try:
                sent = os.write(self._descriptor, data)
            except OSError:  # full, or gone: the transport knows what to do
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)

    def _bytes(self, response: Response, *, keep: bool, with_body: bool) -> bytes:
        parts = [self._shared.head(response.status, response.content_type)]
        if response.status != http.HTTPStatus.NO_CONTENT:
            parts.append(b"%d\r\n" % len(response.body))
        for name, value in response.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if keep else b"connection: close\r\n\r\n")
        if with_body:
            parts.append(response.body)
        return b"".join(parts)

    # --- limits -----------------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Close the connection if the other end is too slow."""
        settings, transport = self._shared.settings, self._transport
        if transport is None or transport.is_closing():
            if transport is not None and self._stuck is not None and now - self._stuck > settings.receive_timeout:
                transport.abort()
        elif self._stuck is not None and now - self._stuck > settings.receive_timeout:
            transport.abort()
        elif self._busy:
            return
        elif self._since is not None and now - self._since > settings.receive_timeout:
            limit = f"{settings.receive_timeout:g} s"
            self._reject(Refusal(408, f"request: expected all of it within {limit}, got a part"))
        elif self._since is None and now - self._used > settings.keep_alive:
            transport.close()

    def stop(self) -> None:
        """Close now if nothing is under way."""
        # One that was made a moment ago is about to ask: closing it would lose a request that was let in.
        fresh = self._since is not None and time.monotonic() - self._since < _LINGER
        idle = self._since is None or not (self._header_bytes or self._in_body or fresh)
        if not self._busy and idle and self._transport is not None:
            self._transport.close()

    def _close_if_done(self) -> None:
        if self._closing and not self._busy and not self._queue and self._transport is not None:
            self._transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """From a parser callback: stop parsing."""
        self._refused = refusal
        raise refusal

    def _reject(self, refusal: Refusal) -> None:
        """Answer outside the service, which never saw a whole request, and close."""
        self._closing = True
        if self._transport is None or self._transport.is_closing():
            return
        self._shared.service.metrics.answered("refused", refusal.status, 0.0)
        if self._busy:
            return  # the answer under way goes out first, and `_later` closes behind it
        self._transport.write(self._bytes(refusal_response(refusal), keep=False, with_body=True))
        if refusal.status == http.HTTPStatus.SERVICE_UNAVAILABLE or not self._transport.can_write_eof():
            self._transport.close()
            return
        # Closing while the client still sends would reset the connection, and the client would never see the answer.
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER, self._transport.close)

    def _body_too_large(self) -> Refusal:
        return Refusal(413, f"body: expected at most {self._shared.settings.max_body} bytes, got more")

    def _headers_too_large(self) -> Refusal:
        settings = self._shared.settings
        return Refusal(431, f"headers: expected at most {settings.max_headers} lines and {settings.max_header_bytes} "
                            "bytes, got more")  # fmt: skip
