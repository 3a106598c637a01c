"""From a request to its answer: routes, access control, metrics; knows nothing of sockets."""

from __future__ import annotations

import hmac
import logging
import time
from typing import TYPE_CHECKING, Any

from mnistkit import __version__
from mnistkit.core.errors import InputError
from mnistkit.serve import infer, page
from mnistkit.serve.access import AccessLog
from mnistkit.serve.http import Refusal, Request, Response, bad, json_response, refusal_response, shown
from mnistkit.serve.metrics import CONTENT_TYPE, Metrics
from mnistkit.serve.openapi import document
from mnistkit.serve.predict import Pictures
from mnistkit.serve.repository import Repository, ServedModel
from mnistkit.serve.settings import read_token

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from mnistkit.serve.settings import Settings

    Answer = Response | Awaitable[Response]

logger = logging.getLogger("mnistkit.serve")
_OPEN = frozenset({"health", "page"})  # routes that need no token: an orchestrator and a browser have none


class Service:
    """Answers requests; made once in each process.

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
        self.repository = Repository(settings, observe=self.metrics.ran)
        self.pictures = Pictures(self.repository, settings)
        self.draining = False
        self.in_flight = 0
        self.token = read_token(settings.token_file) if settings.token_file else None
        self._origins = frozenset(filter(None, (settings.cors_origin or "").replace(" ", "").split(",")))
        self._openapi = document(settings)
        self._infer_paths = {f"/v2/models/{name}/infer": name for name in self.repository.models}
        for model in self.repository.models.values():
            self.metrics.serving(model)

    def answer(self, request: Request) -> Answer:
        """Answer at once where that is quick, else give something to await; neither ever raises."""
        start = time.perf_counter()
        route = "other"
        try:
            name = self._infer_paths.get(request.path)
            if name is not None and request.method == "POST" and self.token is None and not self._origins:
                route = "infer"
                result = self._infer(request, self.repository.models[name])
            else:
                route, handler, argument = self._route(request)
                self._admit(request, route)
                result = handler(request, *argument)
        except Exception as error:  # noqa: BLE001 - a bug is answered too
            result = _failure(error)
        if isinstance(result, Response):
            return self._finish(request, route, result, start)
        return self._later(request, route, result, start)

    async def run(self, model: ServedModel, inference: infer.Inference) -> dict[str, Any]:
        """Run a checked request, at once or through the queue; for carriers other than HTTP."""
        if model.is_quick(inference.feeds):
            return model.lane.now(inference.feeds, rows=inference.rows)
        return await model.lane.submit(inference.feeds, rows=inference.rows)

    def gauges(self) -> None:
        """Bring the gauges up to date."""
        for name, model in self.repository.models.items():
            self.metrics.set("queue", model.lane.waiting, name)
        self.metrics.set("queue", self.pictures.waiting, "pictures")
        self.metrics.set("in_flight", self.in_flight)

    def close(self) -> None:
        """Let the threads end and write the log."""
        self.pictures.close()
        for model in self.repository.models.values():
            model.lane.close()
        self.log.close()

    async def _later(self, request: Request, route: str, work: Awaitable[Response], start: float) -> Response:
        self.in_flight += 1
        try:
            response = await work
        except Exception as error:  # noqa: BLE001 - a bug is answered too
            response = _failure(error)
        finally:
            self.in_flight -= 1
        return self._finish(request, route, response, start)

    def _finish(self, request: Request, route: str, response: Response, start: float) -> Response:
        seconds = time.perf_counter() - start
        self.metrics.answered(route, response.status, seconds)
        self.log.note(request, response, seconds)
        if self._origins:
            response.headers += self._cors(request)
        return response

    # --- access -----------------------------------------------------------------------------------------------------

    def _admit(self, request: Request, route: str) -> None:
        if self.token is None or route in _OPEN or request.method == "OPTIONS":
            return
        scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self.token):
            raise Refusal(
                401,
                "header Authorization: expected Bearer and the server's token, got none or another",
                headers=((b"www-authenticate", b"Bearer"),),
            )

    def _cors(self, request: Request) -> tuple[tuple[bytes, bytes], ...]:
        origin = request.headers.get(b"origin", b"")
        if not origin or ("*" not in self._origins and origin.decode("latin-1") not in self._origins):
            return ((b"vary", b"Origin"),)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", b"authorization, content-type, inference-header-content-length"),
            (b"access-control-expose-headers", b"inference-header-content-length, retry-after"),
            (b"vary", b"Origin"),
        )

    # --- routes -----------------------------------------------------------------------------------------------------

    def _route(self, request: Request) -> tuple[str, Any, tuple[Any, ...]]:
        """Name, handler and its arguments.

        Raises:
            Refusal: 404 or 405.
        """
        fixed = _ROUTES.get(request.path)
        if fixed is None and request.path in page.FILES:
            fixed = ("page", "GET", "_page")
        if fixed is not None:
            route, method, handler = fixed
            arguments: tuple[Any, ...] = ()
        else:
            route, method, handler, arguments = _model_route(request.path)
        if request.method == "OPTIONS" and self._origins:
            return route, _nothing, arguments
        allowed = {"GET", "HEAD"} if method == "GET" else {method}
        if request.method not in allowed:
            raise Refusal(
                405, f"method: expected {method} for {shown(request.path)}, got {request.method}",
                headers=((b"allow", b"GET, HEAD" if method == "GET" else method.encode()),),
            )  # fmt: skip
        return route, getattr(self, handler), arguments

    def _infer(self, request: Request, model: ServedModel) -> Answer:
        encoding = request.headers.get(b"content-encoding", b"identity")
        if encoding.strip().lower() not in {b"identity", b""}:
            raise Refusal(415, f"header Content-Encoding: expected none, got {shown(encoding.decode('latin-1'))}")
        inference = infer.parse(request, model, self.settings)
        if model.is_quick(inference.feeds):
            outputs = model.lane.now(inference.feeds, rows=inference.rows)
            return infer.render(inference, outputs, model)
        return self._infer_later(inference, model)

    async def _infer_later(self, inference: infer.Inference, model: ServedModel) -> Response:
        outputs = await model.lane.submit(inference.feeds, rows=inference.rows)
        return infer.render(inference, outputs, model)

    def _infer_named(self, request: Request, name: str, version: str | None) -> Answer:
        return self._infer(request, self.repository.get(name, version))

    def _predict(self, request: Request) -> Answer:
        return self.pictures.answer(request)

    def _live(self, _: Request) -> Response:
        return json_response({"live": True})

    def _ready(self, _: Request) -> Response:
        return json_response({"ready": not self.draining}, 503 if self.draining else 200)

    def _server(self, _: Request) -> Response:
        return json_response({"name": "mnistkit", "version": __version__, "extensions": ["binary_tensor_data"]})

    def _model(self, _: Request, name: str, version: str | None) -> Response:
        return json_response(self.repository.get(name, version).metadata())

    def _model_ready(self, _: Request, name: str, version: str | None) -> Response:
        model = self.repository.get(name, version)
        return json_response({"name": model.name, "ready": not self.draining}, 503 if self.draining else 200)

    def _metrics(self, _: Request) -> Response:
        self.gauges()
        return Response(200, self.metrics.exposition(), CONTENT_TYPE)

    def _describe(self, _: Request) -> Response:
        return json_response(self._openapi)

    def _page(self, request: Request) -> Response:
        return page.response(request.path)


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
    "infer": ("infer", "POST", "_infer_named"),
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
    raise Refusal(404, f"path: expected /v2/..., /predict, /metrics, /openapi.json or /, got {shown(path)}")


def _nothing(*_: Any) -> Response:
    return Response(204)


def _failure(error: Exception) -> Response:
    if isinstance(error, Refusal):
        return refusal_response(error)
    if isinstance(error, InputError):  # onnxruntime's own refusal, as of an index out of range
        return refusal_response(bad(str(error)))
    logger.error("a bug in the server", exc_info=error)
    return refusal_response(Refusal(500, "internal error; the server's log has the details"))
