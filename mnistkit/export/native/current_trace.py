"""The trace that the calling thread is in, if any."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from mnistkit.core.errors import ExportError
from mnistkit.core.thread_patches import ThreadPatches
from mnistkit.export.native.records import Record, Trace


class ActiveTracer(Protocol):
    """What decompositions and patches need of the :class:`~.tracer.Tracer`, which is built on top of them."""

    trace: Trace
    suspended: bool
    pretend_numpy: bool
    queried_backend: bool
    symbolic_backends: int
    quantized_calls: int
    answer_type: str | None
    follows_framework: bool

    @property
    def scope(self) -> str:
        """The path of the layer being called."""

    def operation(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an operation, or run its decomposition."""

    def layer(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Enter a layer, or record it whole."""

    def record(
        self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any, *, is_layer: bool = False
    ) -> None:
        """Append one record."""

    def call_framework(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what a function of PyTorch does, on symbolic tensors."""

    def framework_attribute(self, tensor: Any, name: str) -> Any:
        """Return an attribute that a tensor of the framework has."""

    def infer(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the symbolic outputs of an operation or a layer."""

    def suspend(self) -> AbstractContextManager[None]:
        """Let Keras behave as usual within the block."""

    def kept_states(self, layer: Any, batch: Any) -> Any:
        """Return what a layer with ``stateful=True`` begins with."""

    def keep_states(self, layer: Any, states: Any) -> None:
        """Note what such a layer keeps for the next call."""

    def sub_trace(self) -> AbstractContextManager[list[Record]]:
        """Record into a list of its own."""


TRACING: ThreadPatches[ActiveTracer] = ThreadPatches()


def active_tracer() -> ActiveTracer:
    """Return the tracer at work in this thread.

    Raises:
        ExportError: None is: this is called from decompositions only.
    """
    tracer = TRACING.active
    if tracer is None:
        raise ExportError("a decomposition was called outside a trace; call convert instead")
    return tracer
