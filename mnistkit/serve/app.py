"""The application: routes and the way of a request; `mnistkit.serve.rsgi` and `mnistkit.serve.asgi` call it.

It reads no HTTP: the server in front (Granian, or any ASGI server) hands over a head and a body in pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from mnistkit import __version__
from mnistkit.core.errors import InputError
from mnistkit.serve import page
from mnistkit.serve.access import Access
from mnistkit.serve.access_log import AccessLog
from mnistkit.serve.http import HTTPError, Request, Response, bad_request, error_response, json_response, truncate
from mnistkit.serve.limits import Budget
from mnistkit.serve.metrics import CONTENT_TYPE, Metrics
from mnistkit.serve.model_control import ModelControl, check_control_body, index_arguments
from mnistkit.serve.models import Models
from mnistkit.serve.openapi import document
from mnistkit.serve.pictures import Pictures
from mnistkit.serve.pool import Pool
from mnistkit.serve.protocol import inference
from mnistkit.serve.receiving import Receiver, gone
from mnistkit.serve.repository import Decisions
from mnistkit.serve.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine
    from pathlib import Path

    from mnistkit.serve.pool import Ticket
    from mnistkit.serve.receiving import Body
    from mnistkit.serve.served_model import ServedModel
    from mnistkit.serve.settings import Settings

    Soon: TypeAlias = tuple[inference.Inference, ServedModel]
    """A question that is answered in the next turn of the event loop, together with others."""
    Answer: TypeAlias = Response | Awaitable[Response] | Soon

logger = logging.getLogger("mnistkit.serve")
UNLIMITED = frozenset({"health", "metrics"})
"""Routes that no limit on requests refuses."""
_ID = re.compile(r"[!-~]{1,128}")
_HEAVY = 64 * 1024  # bytes of JSON, and elements of an answer in JSON, from which a thread takes over
_HEAVY_BINARY = 1024**2  # bytes of a binary request: checked and copied only, which is fast
_TICK = 0.5
_KNOWN_PATHS = 256
_NOSNIFF = ("x-content-type-options", "nosniff")


class App:
    """Answers requests; made once in each process, and belongs to the thread of one event loop.

    Args:
        settings: Of the server.
        folder: Where the workers of one server add up their metrics.
        metrics: To count with, where it is not this process alone or its workers that are asked.

    Raises:
        MnistkitError: A model cannot be served, or a setting is wrong.
    """

    def __init__(self, settings: Settings, *, folder: Path | None = None, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or Metrics(folder)
        self.log = AccessLog(settings.access_log)
        self._tracing = tracing()
        self.models = Models(settings, observe=self.metrics.ran)
        self.control = ModelControl(self.models, Decisions(folder), self.metrics, note=self.note, spawn=self.spawn)
        self.pictures = Pictures(self.models, settings)
        self.pool = Pool("bodies", threads=1, max_queue=settings.max_queue, timeout=settings.timeout)
        self.budget = Budget(settings)
        self.draining = False
        self.access = Access(settings)
        self._receiver = Receiver(settings, self.budget)
        self._openapi = document(settings)
        self._ids = itertools.count(1)
        self._id_prefix = f"{os.urandom(4).hex()}-"
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticker: asyncio.Task[None] | None = None
        for model in self.models:
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
        for model in self.models:
            model.batcher.close()
        self.log.close()
        if self._tracing is not None:
            self._tracing.close()

    @property
    def extensions(self) -> list[str]:
        """Of the protocol, by their names."""
        return ["binary_tensor_data", *(["model_repository"] if self.models.repository is not None else [])]

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return not self.draining

    @property
    def busy(self) -> bool:
        """Whether a thread is still at work, for nobody perhaps."""
        pools: tuple[Any, ...] = (
            self.pool,
            self.pictures.pool,
            *(model.batcher for model in self.models),
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

    async def reload(self) -> None:
        """Load all models' files again, and the token's."""
        try:
            self.access.reload()
        except InputError as error:
            self.note("token not read again, the old one holds", error=str(error))
        await self.control.reload()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            try:
                self.gauges()
                self.metrics.publish()
                self.control.look_around(watch=self.settings.watch)
            except Exception:  # the clock must not stop, whatever one tick meets
                logger.exception("a bug in the server")

    def gauges(self) -> None:
        """Bring the gauges up to date."""
        waiting: dict[str, int] = {}
        for model in self.models:
            waiting[model.name] = waiting.get(model.name, 0) + model.batcher.waiting
        for name, count in waiting.items():
            self.metrics.set("queue", count, name)
        self.metrics.set("queue", self.pictures.pool.waiting, "pictures")
        self.metrics.set("queue", self.pool.waiting, "bodies")
        self.metrics.set("in_flight", self.budget.requests)
        self.metrics.set("connections", self.budget.requests)

    # --- requests ---------------------------------------------------------------------------------------------------

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
            if problem is not None:
                raise problem  # noqa: TRY301 - answered like any other
            self.access.check_host(request)
            route, handler, arguments = self._route(request, only)
            self.access.check(request, route)
            if route in UNLIMITED:
                response: Response = handler(request, *arguments)
            else:
                response = await self._limited(request, body, handler, arguments)
        except Exception as error:  # noqa: BLE001 - a bug is answered too
            response = _failure(error)
        self.answered(request, route, response, time.monotonic() - start)
        response.headers = (*response.headers, _NOSNIFF, ("x-request-id", request.id))
        if self.access.origins:
            response.headers += self.access.cors(request)
        if self.draining and request.http_version[0] == "1":
            response.headers += (("connection", "close"),)
        return response

    def answered(self, request: Request, route: str, response: Response, seconds: float) -> None:
        """Count a request, and write of it into log and trace."""
        self.metrics.answered(route, response.status, seconds)
        self.log.note(request, response, seconds)
        if self._tracing is not None and route not in UNLIMITED:
            self._tracing.note(request, route, response, seconds)

    async def _limited(self, request: Request, body: Body, handler: Any, arguments: tuple[Any, ...]) -> Response:
        client = request.client
        self.budget.enter(client)
        size = 0
        try:
            if request.method == "POST":
                size = await self._receiver.receive(request, body)
            result: Answer = handler(request, *arguments)
            if isinstance(result, Response):
                return result
            if isinstance(result, tuple):  # too short a time to look after the client
                question, model = result
                return inference.render(question, await model.batcher.share(question.feeds, rows=question.rows), model)
            return await self._while_wanted(result, body)
        finally:
            self.budget.leave(client, size)

    async def _while_wanted(self, work: Awaitable[Response], body: Body) -> Response:
        """Go on only as long as the client is there."""
        task = asyncio.ensure_future(work)
        left = asyncio.ensure_future(body.gone())
        try:
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise gone("the client has gone")
            return task.result()
        finally:
            left.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    # --- routes -----------------------------------------------------------------------------------------------------

    def _route(self, request: Request, only: frozenset[str] | None) -> tuple[str, Any, tuple[Any, ...]]:
        """Name, handler and its arguments.

        Raises:
            HTTPError: 404 or 405.
        """
        route, method, handler, arguments = _find_route(request.path)
        if only is not None and route not in only:
            raise _no_such_path(request.path)
        if request.method == "OPTIONS" and self.access.origins:
            return route, _nothing, arguments
        if request.method != method and (request.method, method) != ("HEAD", "GET"):
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
        request.body = b""  # free for the next request, while the processor's cache still holds it
        if not model.is_quick(question.feeds):
            return self._infer_later(request, question, model)
        if self.budget.requests == 1:  # nobody to share a run with
            return inference.render(question, model.batcher.now(question.feeds, rows=question.rows), model)
        return question, model

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
        """Run a checked request, in this turn of the event loop or through the queue."""
        if model.is_quick(question.feeds):
            return await model.batcher.share(question.feeds, rows=question.rows)
        return await model.batcher.submit(question.feeds, rows=question.rows, deadline=deadline)

    def _predict(self, request: Request) -> Answer:
        return self.pictures.answer(request)

    def _live(self, _: Request) -> Response:
        return json_response({"live": True})

    def _ready(self, _: Request) -> Response:
        return json_response({"ready": self.ready}, 200 if self.ready else 503)

    def _server(self, _: Request) -> Response:
        return json_response({"name": "mnistkit", "version": __version__, "extensions": self.extensions})

    def _model(self, _: Request, name: str, version: str | None) -> Response:
        return json_response(self.models.metadata(name, version))

    def _index(self, request: Request) -> Response:
        return json_response(self.control.index(**index_arguments(request.body, self.settings)))

    async def _load(self, request: Request, name: str) -> Response:
        self.access.check_control()
        check_control_body(request.body, self.settings)
        await self.control.load(name)
        return Response(200)

    async def _unload(self, request: Request, name: str) -> Response:
        self.access.check_control()
        check_control_body(request.body, self.settings)
        await self.control.unload(name)
        return Response(200)

    def _model_ready(self, request: Request, name: str, version: str | None) -> Response:
        discreet = not self.access.authorized(request.headers.get("authorization"))
        model = self.models.get(name, version, discreet=discreet)
        return json_response({"name": model.name, "ready": self.ready}, 200 if self.ready else 503)

    def _metrics(self, _: Request) -> Response:
        self.gauges()
        return Response(200, self.metrics.exposition(), CONTENT_TYPE)

    def _describe(self, _: Request) -> Response:
        return json_response(self._openapi)

    def _page(self, request: Request) -> Response:
        return page.response(request.path)


# --- the rest -------------------------------------------------------------------------------------------------------

_ROUTES = {
    "/predict": ("predict", "POST", "_predict"),
    "/metrics": ("metrics", "GET", "_metrics"),
    "/openapi.json": ("metadata", "GET", "_describe"),
    "/v2": ("metadata", "GET", "_server"),
    "/v2/": ("metadata", "GET", "_server"),
    "/v2/health/live": ("health", "GET", "_live"),
    "/v2/health/ready": ("health", "GET", "_ready"),
    "/v2/repository/index": ("repository", "POST", "_index"),
}
_MODEL_ROUTES = {
    "": ("metadata", "GET", "_model"),
    "infer": ("infer", "POST", "_infer"),
    "ready": ("health", "GET", "_model_ready"),
}


@functools.lru_cache(_KNOWN_PATHS)
def _find_route(path: str) -> tuple[str, str, str, tuple[Any, ...]]:
    """Route of a path, its method, the name of its handler and what that is called with."""
    fixed = _ROUTES.get(path)
    if fixed is not None:
        return (*fixed, ())
    return ("page", "GET", "_page", ()) if path in page.FILES else _model_route(path)


def _model_route(path: str) -> tuple[str, str, str, tuple[str, ...] | tuple[str, str | None]]:
    """Route of ``/v2/models/NAME[/versions/VERSION][/infer|/ready]``, ``/v2/repository/models/NAME/load|unload``."""
    parts = path.removesuffix("/").split("/")
    if parts[:4] == ["", "v2", "repository", "models"] and len(parts) == 6 and parts[5] in {"load", "unload"}:  # noqa: PLR2004 - the name, and what to do
        return "repository", "POST", f"_{parts[5]}", (parts[4],)
    if parts[:3] == ["", "v2", "models"] and len(parts) > 3:  # noqa: PLR2004 - the name is the fourth
        name, rest = parts[3], parts[4:]
        version = None
        if len(rest) > 1 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        known = _MODEL_ROUTES.get("/".join(rest))
        if known is not None:
            return (*known, (name, version))
    raise _no_such_path(path)


def _no_such_path(path: str) -> HTTPError:
    return HTTPError(
        404, f"path: expected /v2/..., /predict, /metrics, /openapi.json, /docs or /, got {truncate(path)}"
    )


def _parse(ticket: Ticket, request: Request, model: ServedModel, settings: Settings) -> inference.Inference:
    question = inference.parse(request, model, settings)
    request.body = b""
    ticket.check()
    return question


def _render(_: Ticket, question: inference.Inference, outputs: dict[str, Any], model: ServedModel) -> Response:
    return inference.render(question, outputs, model)


def _nothing(*_: Any) -> Response:
    return Response(204)


def _failure(error: Exception) -> Response:
    if isinstance(error, HTTPError):
        return error_response(error)
    if isinstance(error, InputError):  # onnxruntime's own refusal, as of an index out of range
        return error_response(bad_request(str(error)))
    logger.error("a bug in the server", exc_info=error)
    return error_response(HTTPError(500, "internal error; the server's log has the details"))
