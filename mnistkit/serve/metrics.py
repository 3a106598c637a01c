"""What Prometheus may scrape at ``/metrics``, summed over all worker processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import prometheus_client as prometheus
from prometheus_client import multiprocess

from mnistkit.serve.metrics_folder import FOLDER_VARIABLE

if TYPE_CHECKING:
    from mnistkit.serve.repository import ServedModel

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)


class Metrics:
    """The numbers of this process; in a server of several workers, `exposition` gives the sum over all."""

    def __init__(self) -> None:
        registry = self._registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "mnistkit_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self._seconds = prometheus.Histogram(
            "mnistkit_request_seconds", "Time from the whole request to its answer", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._rows = prometheus.Histogram(
            "mnistkit_batch_rows", "Rows in one run of a model", ["model"], buckets=_ROWS, registry=registry
        )
        self.queue = prometheus.Gauge(
            "mnistkit_queue_depth", "Requests waiting for a model", ["model"],
            registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self.in_flight = prometheus.Gauge(
            "mnistkit_in_flight", "Requests being answered", registry=registry, multiprocess_mode="livesum"
        )
        self.connections = prometheus.Gauge(
            "mnistkit_connections", "Open connections", registry=registry, multiprocess_mode="livesum"
        )
        self._model = prometheus.Gauge(
            "mnistkit_model_info", "1 for each model being served", ["model", "provider", "weights"],
            registry=registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self._reloads = prometheus.Counter("mnistkit_reloads", "Reloads tried", ["model", "result"], registry=registry)
        self._children: dict[tuple[str, int], tuple[prometheus.Counter, prometheus.Histogram]] = {}
        self._row_children: dict[str, prometheus.Histogram] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        pair = self._children.get((route, status))
        if pair is None:
            pair = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._children[route, status] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def ran(self, model: str, rows: int) -> None:
        """Count a run of a model; called from any thread."""
        child = self._row_children.get(model)
        if child is None:
            child = self._row_children[model] = self._rows.labels(model)
        child.observe(rows)

    def serving(self, model: ServedModel, *, instead_of: ServedModel | None = None) -> None:
        """Note the model being served."""
        if instead_of is not None:
            self._model.labels(*_info(instead_of)).set(0)
        self._model.labels(*_info(model)).set(1)

    def reloaded(self, model: str, *, good: bool) -> None:
        """Count a reload."""
        self._reloads.labels(model, "done" if good else "refused").inc()

    def exposition(self) -> bytes:
        """The text to scrape."""
        if FOLDER_VARIABLE not in os.environ:
            return bytes(prometheus.generate_latest(self._registry))
        registry = prometheus.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return bytes(prometheus.generate_latest(registry))


def _info(model: ServedModel) -> tuple[str, str, str]:
    return model.name, model.provider, model.runtime.metadata.get("weights_sha256", "")[:16]
