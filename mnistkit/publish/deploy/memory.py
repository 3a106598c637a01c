"""How much memory a server with one model needs: the server's own, measured once, and the model's, measured here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mnistkit.core.errors import MnistkitError
from mnistkit.publish.bench import bench

if TYPE_CHECKING:
    from mnistkit.publish.deploy.model import ServedFile

SERVER: Final = 128
"""MiB of a server that answers: 89 with the tutorial's model, 108 after the first picture."""
WORST: Final = 512
"""MiB more under the worst load: ``--max-memory`` of request bodies (256), and pictures of ``--max-pixels`` being
decoded. A load of everything at once took 543 in all (docs/serving.md)."""
_ROWS = 32
_ROOM = 1.5
_STEP = 64
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Memory:
    """What to ask for.

    Attributes:
        request: MiB that are always needed.
        limit: MiB that are never exceeded.
        reason: Where the numbers come from, in words.
    """

    request: int
    limit: int
    reason: str


def needed_memory(model: ServedFile, *, server: int = SERVER, worst: int = WORST) -> Memory:
    """Measure a model in a process of its own, with batches of 1 and 32 rows.

    Args:
        model: The file.
        server: MiB of the server without it.
        worst: MiB that a load may take beside.
    """
    try:
        measured = bench(model.path, device="cpu", threads=1, batch_sizes=(1, _ROWS), keras=False).memory
    except MnistkitError:  # no inputs can be drawn for it
        measured = None
    if measured is None:
        own = 3 * model.size / _MIB
        reason = f"three times the file's {model.size / _MIB:.1f} MiB, not measured"
    else:
        own = _ROOM * measured / _MIB
        reason = f"{measured / _MIB:.0f} MiB measured on the CPU, batches of 1 and {_ROWS}, and half as much again"
    request = _up(server + own)
    return Memory(request, _up(request + worst), f"the server {server} MiB; the model {reason}")


def _up(mib: float) -> int:
    return -int(-mib // _STEP) * _STEP
