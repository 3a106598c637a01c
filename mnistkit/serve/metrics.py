"""What Prometheus may scrape at ``/metrics``, summed over all worker processes."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from mnistkit.serve.shared_counters import SharedCounters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from mnistkit.serve.served_model import ServedModel

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)
TEXTS = {
    "requests": "Requests answered",
    "seconds": "Time from the whole request to its answer",
    "rows": "Rows in one run of a model",
    "queue": "Requests waiting for a model",
    "in_flight": "Requests being answered",
    "connections": "Connections with a request being received or answered",
    "model": "1 for each model being served",
    "reloads": "Reloads tried",
}


class Metrics:
    """The numbers of this process; belongs to the thread of its event loop.

    Args:
        folder: Where the workers of one server leave their numbers for each other; ``None`` for a single process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._counters = SharedCounters(folder)
        self._tables = self._counters.tables
        self._pairs: dict[tuple[str, int], tuple[list[float], list[float]]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(_Exposition(self._counters))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        pair = self._pairs.get((route, status))
        if pair is None:
            pair = self._pairs[route, status] = (
                self._tables["requests"].setdefault(f"{status} {route}", [0]),
                self._tables["seconds"].setdefault(route, [0] * (len(SECONDS) + 2)),
            )
        requests, times = pair
        requests[0] += 1
        times[bisect_left(SECONDS, seconds)] += 1
        times[-1] += seconds

    def ran(self, model: str, rows: int) -> None:
        """Count a run of a model."""
        sizes = self._tables["rows"].get(model)
        if sizes is None:
            sizes = self._tables["rows"][model] = [0] * (len(ROWS) + 2)
        sizes[bisect_left(ROWS, rows)] += 1
        sizes[-1] += rows

    def set(self, gauge: str, value: int, label: str = "") -> None:
        """Bring ``queue``, ``in_flight`` or ``connections`` up to date."""
        self._tables[gauge][label] = [value]

    def serving(self, model: ServedModel, *, instead_of: ServedModel | None = None) -> None:
        """Note the model being served."""
        if instead_of is not None:
            self._tables["model"].pop(_info(instead_of), None)
        self._tables["model"][_info(model)] = [1]

    def gone(self, model: ServedModel) -> None:
        """Note that a model is served no longer."""
        self._tables["model"].pop(_info(model), None)
        self._tables["queue"].pop(model.name, None)

    def reloaded(self, model: str, *, good: bool) -> None:
        """Count a reload."""
        self._tables["reloads"].setdefault(f"{model} {'done' if good else 'refused'}", [0])[0] += 1

    def publish(self) -> None:
        """Let the other workers see the numbers."""
        self._counters.write()

    def exposition(self) -> bytes:
        """The text to scrape."""
        return bytes(generate_latest(self._registry))


class _Exposition(Collector):
    """The counters in prometheus-client's terms, made when somebody scrapes."""

    def __init__(self, counters: SharedCounters) -> None:
        self._counters = counters

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        tables = self._counters.total()
        requests = CounterMetricFamily("mnistkit_requests", TEXTS["requests"], labels=["route", "status"])
        for labels, (count,) in tables["requests"].items():
            status, _, route = labels.partition(" ")  # gRPC's routes have a space of their own
            requests.add_metric([route, status], count)
        yield requests
        for name, table, label, bounds in (
            ("request_seconds", "seconds", "route", SECONDS),
            ("batch_rows", "rows", "model", ROWS),
        ):
            histogram = HistogramMetricFamily(f"mnistkit_{name}", TEXTS[table], labels=[label])
            for series, (*counts, total) in tables[table].items():
                places = [*(str(float(bound)) for bound in bounds), "+Inf"]
                histogram.add_metric([series], list(zip(places, accumulate(counts), strict=True)), total)
            yield histogram
        for name, table, names in (
            ("queue_depth", "queue", ["model"]),
            ("in_flight", "in_flight", []),
            ("connections", "connections", []),
            ("model_info", "model", ["model", "version", "provider", "weights"]),
        ):
            gauge = GaugeMetricFamily(f"mnistkit_{name}", TEXTS[table], labels=names)
            for labels, (value,) in tables[table].items():
                gauge.add_metric(labels.split(" ") if names else [], 1 if table == "model" else value)
            yield gauge
        reloads = CounterMetricFamily("mnistkit_reloads", TEXTS["reloads"], labels=["model", "result"])
        for labels, (count,) in tables["reloads"].items():
            reloads.add_metric(labels.split(" "), count)
        yield reloads


def _info(model: ServedModel) -> str:
    return " ".join((model.name, model.version, model.provider, model.runtime.metadata.get("weights_sha256", "")[:16]))
