"""The trace that the calling thread is in, if any."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mnistkit.core.errors import ExportError
from mnistkit.export.native.thread_patches import Patch, ThreadPatches

if TYPE_CHECKING:
    from mnistkit.export.native.tracer import Tracer


def _patches() -> Iterable[Patch]:
    from mnistkit.export.native.patches import patches  # it needs the tracer, which needs this module

    return patches()


TRACING: ThreadPatches[Tracer] = ThreadPatches(_patches)


def active_tracer() -> Tracer:
    """Return the tracer at work in this thread.

    Raises:
        ExportError: None is: this is called from decompositions only.
    """
    tracer = TRACING.active
    if tracer is None:
        raise ExportError("a decomposition was called outside a trace; call convert instead")
    return tracer
