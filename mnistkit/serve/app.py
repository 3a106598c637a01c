"""The application: routes, limits, access control. RSGI calls it; `mnistkit.serve.asgi` adapts it to ASGI.

It reads no HTTP: the server in front (Granian, or any ASGI server) hands over a head and a body in pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any, Protocol

from mnistkit import __version__
from mnistkit.core.errors import InputError, MnistkitError
from mnistkit.serve import page
from mnistkit.serve.access_log import AccessLog
from mnistkit.serve.http import (
    SINGLE_HEADERS,
    HTTPError,
    Request,
    Response,
    bad_request,
    error_response,
    json_response,
    truncate,
)
from mnistkit.serve.limits import Budget
from mnistkit.serve.metrics import CONTENT_TYPE, Metrics
from mnistkit.serve.models import Models, ServedModel, file_stamp
from mnistkit.serve.openapi import document
from mnistkit.serve.pictures import Pictures
from mnistkit.serve.pool import Pool
from mnistkit.serve.protocol import inference
from mnistkit.serve.settings import read_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable
    from pathlib import Path

    from mnistkit.serve.http import Headers
    from mnistkit.serve.pool import Ticket
    from mnistkit.serve.settings import Settings

    Answer = Response | Awaitable[Response]

logger = logging.getLogger("mnistkit.serve")
_OPEN = frozenset({"health", "page"})  # routes that need no token: an orchestrator and a browser have none
_UNLIMITED = frozenset({"health", "metrics"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(?::\d{1,5})?", re.IGNORECASE)
_ID = re.compile(r"[!-~]{1,128}")
_HEAVY = 64 * 1024  # bytes of JSON, and elements of an answer in JSON, from which a thread takes over
_HEAVY_BINARY = 1024**2  # bytes of a binary request: checked and copied only, which is fast
_KNOWN_HOSTS = 256
_TICK = 0.5
_GONE = 499  # as nginx notes a client that left before its answer
_CLOSE = (("connection", "close"),)
_NOSNIFF = ("x-content-type-options", "nosniff")


class Body(Protocol):
    """The body of a request, before it has been read."""

    async def whole(self) -> bytes:
        """All of it; raises where the client left too early."""

    def pieces(self) -> AsyncIterator[bytes]:
        """All of it, piece by piece."""

    async def gone(self) -> None:
        """Returns when the client has left."""


class App:
    """Answers requests; made once in each process, and belongs to the thread of one event loop.

    Args:
        settings: Of the server.
        folder: Where the workers of one server add up their metrics.

    Raises:
        MnistkitError: A model cannot be served, or a setting is wrong.
    """

    def __init__(self, settings: Settings, *, folder: Path | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics(folder)
        self.log = AccessLog(settings.access_log)
        self.models = Models(settings, observe=self.metrics.ran)
        self.pictures = Pictures(self.models, settings)
        self.pool = Pool("bodies", threads=1, max_queue=settings.max_queue, timeout=settings.timeout)
        self.budget = Budget(settings)
        self.draining = False
        self.token = read_token(settings.token_file) if settings.token_file else None
        self._origins = _split(settings.cors_origin)
        self._hosts = _allowed_hosts(settings)
        self._known_hosts: set[str] = set()
        self._openapi = document(settings)
        self._ids = itertools.count(1)
        self._id_prefix = f"{os.urandom(4).hex()}-"
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticker: asyncio.Task[None] | None = None
        for model in self.models.models.values():
            self.metrics.serving(model)

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with what goes on beside requests: the log, the gauges, ``--watch``. Needs a running event loop."""
        self.log.start()
        self._ticker = self.spawn(self._tick())

    def close(self) -> None:
        """Let the threads end and write the log."""
        if self._ticker is not None:
            self._ticker.cancel()
        self.pictures.pool.close()
        self.pool.close()
        for model in self.models.models.values():
            model.batcher.close()
        self.log.close()

    @property
    def busy(self) -> bool:
        """Whether a thread is still at work, for nobody perhaps."""
        pools: tuple[Any, ...] = (
            self.pool,
            self.pictures.pool,
            *(model.batcher for model in self.models.models.values()),
        )
        return any(pool.running for pool in pools)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside requests; the loop itself keeps no hold on it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def note(self, event: str, **about: Any) -> None:
        """A line in the log that is no request's."""
        self.log.write({"event": event, "pid": os.getpid(), **about})

    async def reload(self, names: Iterable[str] | None = None) -> None:
        """Load models' files again, all of them by default, and the token's."""
        async with self._reloading:
            if names is None and self.settings.token_file:
                try:
                    self.token = read_token(self.settings.token_file)
                except InputError as error:
                    self.note("token not read again, the old one holds", error=str(error))
            for name in list(self.models.models) if names is None else names:
                old = self.models.models[name]
                try:
                    new = await asyncio.to_thread(self.models.load_again, name)
                except MnistkitError as error:
                    self.metrics.reloaded(name, good=False)
                    self.note("not reloaded, the old model serves on", model=name, error=str(error))
                    continue
                self.models.swap(new)
                self.metrics.serving(new, instead_of=old)
                self.metrics.reloaded(name, good=True)
                self.note("reloaded", model=name, weights=new.runtime.metadata.get("weights_sha256", "")[:16])

    async def _tick(self) -> None:
        seen: dict[str, Any] = {}
        while True:
            await asyncio.sleep(_TICK)
            try:
                self.gauges()
                self.metrics.publish()
                if self.settings.watch and not self._reloading.locked():
                    seen = self._watch(seen)
            except Exception:  # the clock must not stop, whatever one tick meets
                logger.exception("a bug in the server")

    def _watch(self, seen: dict[str, Any]) -> dict[str, Any]:
        """Reload files that changed and then stayed the same for one tick: not one that is being written."""
        models = self.models.models
        now = {name: file_stamp(models[name].path) for name in self.models.changed()}
        settled = [name for name, stamp in now.items() if seen.get(name) == stamp]
        if settled:
            self.spawn(self.reload(settled))
            for name in settled:  # a file that is refused is not tried again until it changes again
                models[name].stamp = now[name]
        return now

    def gauges(self) -> None:
        """Bring the gauges up to date."""
        for name, model in self.models.models.items():
            self.metrics.set("queue", model.batcher.waiting, name)
        self.metrics.set("queue", self.pictures.pool.waiting, "pictures")
        self.metrics.set("queue", self.pool.waiting, "bodies")
        self.metrics.set("in_flight", self.budget.requests)
        self.metrics.set("connections", self.budget.requests)

    # --- requests ---------------------------------------------------------------------------------------------------

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Granian's entry."""
        await rsgi(self, scope, protocol)

    async def answer(
        self, request: Request, body: Body, *, problem: HTTPError | None = None, only: frozenset[str] | None = None
    ) -> Response:
        """Answer a request; never raises but when the task is cancelled.

        Args:
            request: With an empty body.
            body: What to read it from.
            problem: What is wrong with the head already.
            only: Names of the routes that there are; ``None`` for all.
        """
        start = time.monotonic()
        request.deadline = start + self.settings.timeout
        given = request.headers.get("x-request-id")
        request.id = given if given and _ID.fullmatch(given) else f"{self._id_prefix}{next(self._ids):x}"
        if self.settings.proxy_headers and (forwarded := request.headers.get("x-forwarded-for")):
            request.client = forwarded.rpartition(",")[2].strip()[:64]
        route = "other"
        try:
            self._check_host(request, problem)
            route, handler, arguments = self._route(request, only)
            self._check_access(request, route)
            if route in _UNLIMITED:
                response: Response = handler(request, *arguments)
            else:
                response = await self._limited(request, body, handler, arguments)
        except Exception as error:  # noqa: BLE001 - a bug is answered too
            response = _failure(error)
        seconds = time.monotonic() - start
        self.metrics.answered(route, response.status, seconds)
        self.log.note(request, response, seconds)
        response.headers += (_NOSNIFF, ("x-request-id", request.id))
        if self._origins:
            response.headers += self._cors(request)
        if self.draining and request.http_version[0] == "1":
            response.headers += (("connection", "close"),)
        return response

    async def _limited(self, request: Request, body: Body, handler: Any, arguments: tuple[Any, ...]) -> Response:
        client = request.client
        self.budget.enter(client)
        size = 0
        try:
            if request.method == "POST":
                size = await self._receive(request, body)
            result: Response | Awaitable[Response] = handler(request, *arguments)
            if isinstance(result, Response):
                return result
            return await self._while_wanted(result, body)
        finally:
            self.budget.leave(client)
            self.budget.release(size)

    async def _receive(self, request: Request, body: Body) -> int:
        """Read the body; gives the bytes to release."""
        headers, settings = request.headers, self.settings
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", ""}:
            raise HTTPError(415, f"header Content-Encoding: expected none, got {truncate(encoding)}")
        announced, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if announced is None and coding is None and request.http_version[0] == "1":
            return 0
        if coding is not None and coding.strip().lower() != "chunked":
            raise bad_request(f"header Transfer-Encoding: expected chunked, got {truncate(coding)}")
        header = headers.get(inference.LENGTH_HEADER)
        limit, what = settings.max_body, "bytes"
        if header is None and request.path != "/predict" and settings.max_json < limit:
            limit, what = settings.max_json, "bytes of JSON"
        too_large = HTTPError(413, f"body: expected at most {limit} {what}, got more", headers=_CLOSE)
        if announced is None:
            if header is not None and not header.strip("0"):  # nothing else would tell that it was cut off
                raise HTTPError(411, "header Content-Length: expected one for a raw tensor, got none")
            return await self._receive_pieces(request, body, limit, too_large)
        size = int(announced[:20]) if announced.isascii() and announced.isdigit() else 0
        if size > limit:
            raise too_large
        self.budget.reserve(size)
        try:
            async with asyncio.timeout(settings.receive_timeout):
                whole = await body.whole()
            request.body = whole if type(whole) is bytes else bytes(whole)
        except TimeoutError:
            self.budget.release(size)
            raise self._too_slow() from None
        except BaseException as error:
            self.budget.release(size)
            if isinstance(error, Exception):  # Granian's ProtocolClosed, or another server's
                raise _gone("body: expected all of it, got a part") from error
            raise
        return size

    async def _receive_pieces(self, request: Request, body: Body, limit: int, too_large: HTTPError) -> int:
        """Read a body of unknown length; gives the bytes to release.

        Granian (2.8.9) ends the iteration in silence where a chunk is malformed or the client leaves: what a cut-off
        body could mean is refused later, by its form.
        """
        length, pieces = 0, []
        try:
            async with asyncio.timeout(self.settings.receive_timeout):
                async for piece in body.pieces():
                    if length + len(piece) > limit:
                        raise too_large  # noqa: TRY301 - what has been reserved is given back below
                    self.budget.reserve(len(piece))
                    length += len(piece)
                    pieces.append(piece)
        except TimeoutError:
            self.budget.release(length)
            raise self._too_slow() from None
        except BaseException:
            self.budget.release(length)
            raise
        request.body = b"".join(pieces)
        return length

    def _too_slow(self) -> HTTPError:
        limit = f"{self.settings.receive_timeout:g} s"
        return HTTPError(408, f"request: expected all of it within {limit}, got a part", headers=_CLOSE)

    async def _while_wanted(self, work: Awaitable[Response], body: Body) -> Response:
        """Go on only as long as the client is there."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(body.gone())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _gone("the client has gone")
            return task.result()
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    # --- access -----------------------------------------------------------------------------------------------------

    def _check_host(self, request: Request, problem: HTTPError | None) -> None:
        """Refuse a request with a problem, or that names no host, or one that is not served here (DNS rebinding)."""
        if problem is not None:
            raise problem
        host = request.headers.get("host")
        if request.authority is not None:
            host = request.authority
        if host in self._known_hosts:
            return
        if host is None:
            if request.http_version in {"1", "1.0"}:
                return
            raise bad_request("header Host: expected one, got none")
        found = _HOST.fullmatch(host)
        if found is None:
            raise bad_request(f"header Host: expected a name and perhaps a port, got {truncate(host)}")
        if self._hosts is not None and found[1].lower() not in self._hosts:
            raise bad_request(
                f"header Host: expected a name that is served here, got {truncate(host)}; see --allowed-hosts"
            )
        if len(self._known_hosts) < _KNOWN_HOSTS:
            self._known_hosts.add(host)

    def _check_access(self, request: Request, route: str) -> None:
        if request.method == "OPTIONS":
            return
        if request.method == "POST":
            self._check_origin(request)
        if route not in _OPEN and not self.authorized(request.headers.get("authorization")):
            raise HTTPError(
                401,
                "header Authorization: expected Bearer and the server's token, got none or another",
                headers=(("www-authenticate", "Bearer"), ("connection", "close")),
            )

    def authorized(self, given: str | None) -> bool:
        """Whether a header ``Authorization`` has the server's token, where there is one."""
        if self.token is None:
            return True
        scheme, _, token = (given or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token)

    def _check_origin(self, request: Request) -> None:
        """Refuse what another site's page sends: a browser sends simple POSTs without asking."""
        origin = request.headers.get("origin")
        if origin is not None and self._is_allowed(origin):
            return
        site = request.headers.get("sec-fetch-site", "none")
        own = origin is None or origin.partition("://")[2].lower() == request.headers.get("host", "").lower()
        if site not in {"none", "same-origin"} or not own:
            raise HTTPError(
                403,
                f"header Origin: expected this server's or one of --cors-origin, got {truncate(origin or site)}",
                headers=(("connection", "close"),),
            )

    def _is_allowed(self, origin: str) -> bool:
        return bool(origin) and ("*" in self._origins or origin in self._origins)

    def _cors(self, request: Request) -> Headers:
        origin = request.headers.get("origin", "")
        if not self._is_allowed(origin):
            return (("vary", "Origin"),)
        headers: Headers = (
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET, POST"),
            (
                "access-control-allow-headers",
                "authorization, content-type, inference-header-content-length, x-request-id",
            ),
            ("access-control-expose-headers", "inference-header-content-length, retry-after, x-request-id"),
            ("vary", "Origin"),
        )
        if request.headers.get("access-control-request-private-network") == "true":
            headers += (("access-control-allow-private-network", "true"),)
        return headers

    # --- routes -----------------------------------------------------------------------------------------------------

    def _route(self, request: Request, only: frozenset[str] | None) -> tuple[str, Any, tuple[Any, ...]]:
        """Name, handler and its arguments.

        Raises:
            HTTPError: 404 or 405.
        """
        fixed = _ROUTES.get(request.path)
        if fixed is None and request.path in page.FILES:
            fixed = ("page", "GET", "_page")
        if fixed is not None:
            route, method, handler = fixed
            arguments: tuple[Any, ...] = ()
        else:
            route, method, handler, arguments = _model_route(request.path)
        if only is not None and route not in only:
            raise _no_such_path(request.path)
        if request.method == "OPTIONS" and self._origins:
            return route, _nothing, arguments
        allowed = {"GET", "HEAD"} if method == "GET" else {method}
        if request.method not in allowed:
            raise HTTPError(
                405, f"method: expected {method} for {truncate(request.path)}, got {truncate(request.method)}",
                headers=(("allow", "GET, HEAD" if method == "GET" else method),),
            )  # fmt: skip
        return route, getattr(self, handler), arguments

    def _infer(self, request: Request, name: str, version: str | None) -> Answer:
        model = self.models.get(name, version)
        heavy = _HEAVY_BINARY if inference.LENGTH_HEADER in request.headers else _HEAVY
        if len(request.body) > heavy:
            return self._infer_heavy(request, model)
        question = inference.parse(request, model, self.settings)
        if model.is_quick(question.feeds):
            outputs = model.batcher.now(question.feeds, rows=question.rows)
            return inference.render(question, outputs, model)
        return self._infer_later(request, question, model)

    async def _infer_heavy(self, request: Request, model: ServedModel) -> Response:
        question = await self.pool.run(_parse, request, model, self.settings, deadline=request.deadline)
        return await self._infer_later(request, question, model)

    async def _infer_later(self, request: Request, question: inference.Inference, model: ServedModel) -> Response:
        outputs = await self.run(model, question, deadline=request.deadline)
        if sum(outputs[name].size for name, binary in question.outputs.items() if not binary) <= _HEAVY:
            return inference.render(question, outputs, model)
        response: Response = await self.pool.run(_render, question, outputs, model, deadline=request.deadline)
        return response

    async def run(self, model: ServedModel, question: inference.Inference, *, deadline: float) -> dict[str, Any]:
        """Run a checked request, at once or through the queue."""
        if model.is_quick(question.feeds):
            return model.batcher.now(question.feeds, rows=question.rows)
        return await model.batcher.submit(question.feeds, rows=question.rows, deadline=deadline)

    def _predict(self, request: Request) -> Answer:
        return self.pictures.answer(request)

    def _live(self, _: Request) -> Response:
        return json_response({"live": True})

    def _ready(self, _: Request) -> Response:
        return json_response({"ready": not self.draining}, 503 if self.draining else 200)

    def _server(self, _: Request) -> Response:
        return json_response({"name": "mnistkit", "version": __version__, "extensions": ["binary_tensor_data"]})

    def _model(self, _: Request, name: str, version: str | None) -> Response:
        return json_response(self.models.get(name, version).metadata())

    def _model_ready(self, request: Request, name: str, version: str | None) -> Response:
        discreet = not self.authorized(request.headers.get("authorization"))
        model = self.models.get(name, version, discreet=discreet)
        return json_response({"name": model.name, "ready": not self.draining}, 503 if self.draining else 200)

    def _metrics(self, _: Request) -> Response:
        self.gauges()
        return Response(200, self.metrics.exposition(), CONTENT_TYPE)

    def _describe(self, _: Request) -> Response:
        return json_response(self._openapi)

    def _page(self, request: Request) -> Response:
        return page.response(request.path)


class AdminApp:
    """Health and metrics of an `App` on a port of their own, where its limits on connections do not count."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Granian's entry."""
        await rsgi(self._app, scope, protocol, only=_UNLIMITED)


# --- RSGI -----------------------------------------------------------------------------------------------------------


class _RSGIBody:
    __slots__ = ("ended", "protocol")

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.ended = False

    async def whole(self) -> bytes:
        body: bytes = await self.protocol()
        self.ended = True
        return body

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self.protocol:
            yield piece
        self.ended = True

    async def gone(self) -> None:
        await self.protocol.client_disconnect()


_LINGER = 1.0  # seconds for which a client may go on sending after its refusal, unread


async def rsgi(app: App, scope: Any, protocol: Any, *, only: frozenset[str] | None = None) -> None:
    """Answer one RSGI request."""
    if scope.proto != "http":
        protocol.close(403)
        return
    items = scope.headers.items()
    headers = dict(items)
    client = scope.client.rpartition(":")[0] or scope.client
    request = Request(
        scope.method,
        scope.path,
        scope.query_string,
        headers,
        b"",
        client,
        scope.http_version,
        scope.authority,
    )
    body = _RSGIBody(protocol)
    response = await app.answer(request, body, problem=check_head(request, items, app.settings), only=only)
    if response.status == _GONE:
        protocol.response_empty(408, [("connection", "close")])
        return
    sent = [("content-type", response.content_type), *response.headers]
    if response.status == 204:  # noqa: PLR2004 - has neither body nor type
        protocol.response_empty(204, sent[1:])
    else:
        protocol.response_bytes(response.status, sent, response.body)
    if not body.ended and response.status >= 400 and ("content-length" in headers or "transfer-encoding" in headers):  # noqa: PLR2004
        # Closing while the client still sends would reset the connection, and the client would never see the answer.
        left = app.settings.max_body
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_LINGER):
                async for piece in protocol:
                    left -= len(piece)
                    if left < 0:
                        break


def check_head(request: Request, items: list[tuple[str, str]], settings: Settings) -> HTTPError | None:
    """What is wrong with the head of a request, if anything.

    Args:
        request: With its headers, of which a name that comes twice has been left out once.
        items: All headers.
        settings: Of the server.
    """
    size = len(request.path) + len(request.query) + 16
    for name, value in items:
        size += len(name) + len(value) + 4
    if len(items) > settings.max_headers or size > settings.max_header_bytes:
        return HTTPError(
            431,
            f"headers: expected at most {settings.max_headers} lines and {settings.max_header_bytes} bytes, got more",
            headers=(("connection", "close"),),
        )
    if len(items) != len(request.headers):
        seen = set()
        for name, _ in items:
            if name in seen and name in SINGLE_HEADERS:
                return bad_request(f"header {name}: expected it once, got it again")
            seen.add(name)
    return None


# --- the rest -------------------------------------------------------------------------------------------------------

_ROUTES = {
    "/predict": ("predict", "POST", "_predict"),
    "/metrics": ("metrics", "GET", "_metrics"),
    "/openapi.json": ("metadata", "GET", "_describe"),
    "/v2": ("metadata", "GET", "_server"),
    "/v2/": ("metadata", "GET", "_server"),
    "/v2/health/live": ("health", "GET", "_live"),
    "/v2/health/ready": ("health", "GET", "_ready"),
}
_MODEL_ROUTES = {
    "": ("metadata", "GET", "_model"),
    "infer": ("infer", "POST", "_infer"),
    "ready": ("health", "GET", "_model_ready"),
}


def _model_route(path: str) -> tuple[str, str, str, tuple[str, str | None]]:
    """Route of ``/v2/models/NAME[/versions/VERSION][/infer|/ready]``."""
    parts = path.removesuffix("/").split("/")
    if parts[:3] == ["", "v2", "models"] and len(parts) > 3:  # noqa: PLR2004 - the name is the fourth
        name, rest = parts[3], parts[4:]
        version = None
        if len(rest) > 1 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        known = _MODEL_ROUTES.get("/".join(rest))
        if known is not None:
            return (*known, (name, version))
    raise _no_such_path(path)


def _gone(message: str) -> HTTPError:
    return HTTPError(_GONE, message)


def _no_such_path(path: str) -> HTTPError:
    return HTTPError(404, f"path: expected /v2/..., /predict, /metrics, /openapi.json or /, got {truncate(path)}")


def _parse(ticket: Ticket, request: Request, model: ServedModel, settings: Settings) -> inference.Inference:
    question = inference.parse(request, model, settings)
    ticket.check()
    return question


def _render(_: Ticket, question: inference.Inference, outputs: dict[str, Any], model: ServedModel) -> Response:
    return inference.render(question, outputs, model)


def _nothing(*_: Any) -> Response:
    return Response(204)


def _split(text: str | None) -> frozenset[str]:
    return frozenset(filter(None, (text or "").replace(" ", "").split(",")))


def _allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Names to answer to, in small letters; ``None`` for any."""
    if settings.allowed_hosts is not None:
        names = frozenset(name.lower() for name in _split(settings.allowed_hosts))
        return None if "*" in names else names
    host = f"[{settings.host}]" if ":" in settings.host else settings.host.lower()
    if settings.uds is None and (host in _LOOPBACK or host.startswith("127.")):
        return _LOOPBACK | {host}
    return None


def _failure(error: Exception) -> Response:
    if isinstance(error, HTTPError):
        return error_response(error)
    if isinstance(error, InputError):  # onnxruntime's own refusal, as of an index out of range
        return error_response(bad_request(str(error)))
    logger.error("a bug in the server", exc_info=error)
    return error_response(HTTPError(500, "internal error; the server's log has the details"))
