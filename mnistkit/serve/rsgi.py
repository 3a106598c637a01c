"""The application for Granian, by its RSGI interface."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from mnistkit.serve.app import UNLIMITED
from mnistkit.serve.http import Request, check_head
from mnistkit.serve.receiving import GONE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from mnistkit.serve.app import App

_ERROR = 400
_BODY_HEADERS = frozenset({"content-length", "transfer-encoding"})
_LINGER = 5.0  # seconds for which a client may go on sending after its answer, unread


class RSGI:
    """An RSGI application.

    Args:
        app: That answers.
        only: Names of the routes that there are; ``None`` for all.
    """

    def __init__(self, app: App, *, only: frozenset[str] | None = None) -> None:
        self._app, self._only = app, only

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Granian's entry: answer one request."""
        if scope.proto != "http":
            protocol.close(403)
            return
        items = scope.headers.items()
        headers = dict(items)
        client = scope.client
        request = Request(
            scope.method,
            scope.path,
            scope.query_string,
            headers,
            b"",
            client.rpartition(":")[0] or client,
            scope.http_version,
            scope.authority,
        )
        body = _RSGIBody(protocol)
        problem = check_head(request, items, self._app.settings)
        response = await self._app.answer(request, body, problem=problem, only=self._only)
        if response.status == GONE:
            protocol.response_empty(408, [("connection", "close")])
            return
        sent = [("content-type", response.content_type), *response.headers]
        if response.status == 204:  # noqa: PLR2004 - has neither body nor type
            protocol.response_empty(204, sent[1:])
        else:
            protocol.response_bytes(response.status, sent, response.body)
        if response.status >= _ERROR and not body.ended and not headers.keys().isdisjoint(_BODY_HEADERS):
            await _take_rest(protocol, self._app.settings.max_body)


def admin(app: App) -> RSGI:
    """Health, metrics and the model repository, for a port of their own, where limits on connections do not count."""
    return RSGI(app, only=UNLIMITED | {"repository"})


class _RSGIBody:
    __slots__ = ("ended", "protocol")

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.ended = False

    def whole(self, _: int) -> Awaitable[bytes]:
        self.ended = True  # whatever comes of it, no more can be read
        body: Awaitable[bytes] = self.protocol()  # never more than was announced
        return body

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self.protocol:
            yield piece
        self.ended = True

    async def gone(self) -> None:
        await self.protocol.client_disconnect()


async def _take_rest(protocol: Any, most: int) -> None:
    """Read on for a while: closing now would reset the connection, and the client would never see its answer."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_LINGER):
            async for piece in protocol:
                most -= len(piece)
                if most < 0:
                    break
