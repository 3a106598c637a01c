"""The server's numbers among Ray's, which its agent on each node gives to Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.serve.metrics import Counter, Gauge, Histogram

from mnistkit.serve.http import HTTPError
from mnistkit.serve.metrics import ROWS, SECONDS, TEXTS, Metrics

if TYPE_CHECKING:
    from mnistkit.serve.served_model import ServedModel

_GAUGES = {"queue": "mnistkit_queue_depth", "in_flight": "mnistkit_in_flight"}


class ReplicaMetrics(Metrics):
    """As `Metrics`, for a process that nobody can ask by itself: the proxy would choose the replica that answers."""

    def __init__(self) -> None:
        super().__init__()
        self._requests = Counter("mnistkit_requests", TEXTS["requests"], tag_keys=("http_route", "status"))
        self._seconds = Histogram(
            "mnistkit_request_seconds", TEXTS["seconds"], boundaries=list(SECONDS), tag_keys=("http_route",)
        )
        self._rows = Histogram("mnistkit_batch_rows", TEXTS["rows"], boundaries=list(ROWS), tag_keys=("model",))
        self._reloads = Counter("mnistkit_reloads", TEXTS["reloads"], tag_keys=("model", "result"))
        self._gauges = {name: Gauge(_GAUGES[name], TEXTS[name], tag_keys=("model",)) for name in _GAUGES}
        self._info = Gauge("mnistkit_model_info", TEXTS["model"], tag_keys=("model", "version", "provider"))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        super().answered(route, status, seconds)
        self._requests.inc(1, {"http_route": route, "status": str(status)})
        self._seconds.observe(seconds, {"http_route": route})

    def ran(self, model: str, rows: int) -> None:
        """Count a run of a model."""
        super().ran(model, rows)
        if rows:
            self._rows.observe(rows, {"model": model})

    def set(self, gauge: str, value: int, label: str = "") -> None:
        """Bring a gauge up to date."""
        super().set(gauge, value, label)
        if gauge in self._gauges:
            self._gauges[gauge].set(value, {"model": label})

    def serving(self, model: ServedModel, *, instead_of: ServedModel | None = None) -> None:
        """Note the model being served."""
        super().serving(model, instead_of=instead_of)
        self._info.set(1, {"model": model.name, "version": model.version, "provider": model.provider})

    def reloaded(self, model: str, *, good: bool) -> None:
        """Count a reload."""
        super().reloaded(model, good=good)
        self._reloads.inc(1, {"model": model, "result": "done" if good else "refused"})

    def exposition(self) -> bytes:
        """Say where the numbers of all replicas are.

        Raises:
            HTTPError: 404, always: one replica's numbers would look like those of all.
        """
        raise HTTPError(404, "metrics: expected a scrape of Ray's own port on each node, which has mnistkit_* as well")
