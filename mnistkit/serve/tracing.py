"""A span for each request, in OpenTelemetry's terms, where the extra ``otel`` is installed and its variables are set.

Nothing of OpenTelemetry is imported otherwise. Names of attributes are those of its semantic conventions for HTTP.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from mnistkit import __version__
from mnistkit.core.errors import InputError
from mnistkit.core.install import install_hint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnistkit.serve.http import Request, Response

logger = logging.getLogger("mnistkit.serve")
_VARIABLES = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PATIENCE = 2.0  # seconds at the end for spans that have not been sent
_BUG = 500


class Tracing:
    """Makes spans; safe in threads.

    Args:
        exporter: Where they go: OpenTelemetry's ``SpanExporter``.
    """

    def __init__(self, exporter: Any) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        given = Resource.create()
        named = given if os.environ.get("OTEL_SERVICE_NAME") else given.merge(Resource({SERVICE_NAME: "mnistkit"}))
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mnistkit.serve", __version__)
        self._extract = TraceContextTextMapPropagator().extract
        self._server, self._error = SpanKind.SERVER, StatusCode.ERROR

    def note(self, request: Request, route: str, response: Response, seconds: float) -> None:
        """A request that has just been answered; its ``traceparent`` is the parent."""
        end = time.time_ns()
        attributes = {
            "http.request.method": request.method,
            "http.response.status_code": response.status,
            "http.request.body.size": request.size,
            "http.response.body.size": len(response.body),
            "url.path": request.path,
            "client.address": request.client,
            "user_agent.original": request.headers.get("user-agent", ""),
            "mnistkit.route": route,
            "mnistkit.request_id": request.id,
        }
        span = self._tracer.start_span(
            f"{request.method} {route}",
            context=self._extract(request.headers),
            kind=self._server,
            attributes=attributes,
            start_time=end - int(seconds * 1e9),
        )
        if response.status >= _BUG:
            span.set_status(self._error)
        span.end(end)

    def close(self) -> None:
        """Send what is left, as far as that takes no longer than two seconds."""
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(_PATIENCE)


def tracing(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """What OpenTelemetry's variables ask for; ``None`` where they ask for nothing.

    Raises:
        InputError: They ask for an exporter that is not there.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(environment.get, _VARIABLES)):
        return None
    kind = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if kind == "none":
        return None
    if importlib.util.find_spec("opentelemetry") is None or importlib.util.find_spec("opentelemetry.sdk") is None:
        # Not an error: clusters set these variables for every service.
        logger.warning(
            "variables ask for spans, but OpenTelemetry's SDK is not installed; run %s", install_hint("otel")
        )
        return None
    if kind == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return Tracing(ConsoleSpanExporter())
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if kind != "otlp" or protocol not in {None, "", "http/protobuf"}:
        raise InputError(
            f"OTEL_TRACES_EXPORTER: expected otlp (over http/protobuf), console or none, got {kind} {protocol or ''}"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise InputError(
            f"OTEL_TRACES_EXPORTER: expected the exporter over HTTP, got none; run {install_hint('otel')}"
        ) from None
    return Tracing(OTLPSpanExporter())
