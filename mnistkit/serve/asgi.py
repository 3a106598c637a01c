"""The same application for ASGI servers and frameworks (uvicorn, FastAPI's ``mount``, Ray Serve).

    app = mnistkit.serve.asgi.ASGI(App(Settings(...)))

Connections, TLS, timeouts for heads and the stop are then the other server's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.serve.http import Request, check_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mnistkit.serve.app import App

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]


class ASGI:
    """An ASGI 3 application; starts on the lifespan's event, or with its first request."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._started = False

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        self._start()
        items = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        client = (scope.get("client") or ("",))[0]
        query, version = scope["query_string"].decode("latin-1"), scope["http_version"]
        request = Request(scope["method"], path, query, dict(items), b"", client, version)
        problem = check_head(request, items, self._app.settings)
        response = await self._app.answer(request, _Body(receive), problem=problem)
        headers = [("content-type", response.content_type), *response.headers]
        if response.status != 204:  # noqa: PLR2004 - has no body
            headers.append(("content-length", str(len(response.body))))
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": response.status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else response.body})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.startup":
                self._start()
            else:
                self._app.draining = True
                self._app.close()
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._app.start()


class _Body:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def whole(self, size: int) -> bytes:
        pieces, length = [], 0
        async for piece in self.pieces():
            length += len(piece)
            pieces.append(piece)
            if length > size:
                break
        if length != size:
            raise ConnectionError("the body has another length than its head says")
        return b"".join(pieces)

    async def pieces(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def gone(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
