"""What a report holds, as data: nothing here draws or measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.publish.report.words import Missing, plain

if TYPE_CHECKING:
    from mnistkit.core.about import About
    from mnistkit.publish.report.graph_picture import Picture
    from mnistkit.publish.report.history import History
    from mnistkit.publish.report.parity import Parity
    from mnistkit.publish.report.scores import Quality
    from mnistkit.publish.speed import Speed


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that a report says.

    Attributes:
        name: Name of the model's file, without its folders.
        about: The file itself.
        external: Bytes of weights in files beside it.
        history: The training.
        quality: How well it reads test data.
        parity: Keras' answers against onnxruntime's.
        speed: How long it takes here.
        graph: Its operations.
    """

    name: str
    about: About
    external: int
    history: History | Missing
    quality: Quality | Missing
    parity: Parity | Missing
    speed: Speed | Missing
    graph: Picture | Missing

    @property
    def missing(self) -> tuple[str, ...]:
        """Why parts are missing, in the order of the page."""
        parts = (self.history, self.quality, self.parity, self.speed, self.graph)
        return tuple(part.reason for part in parts if isinstance(part, Missing))

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, without pictures; a number that JSON does not have is ``None``."""
        found = {name: plain(getattr(self, name)) for name in ("history", "quality", "parity", "speed", "graph")}
        return {"name": self.name, "file": self.about.as_json(), "external_bytes": self.external, **found}
