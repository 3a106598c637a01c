"""An end to waiting for processes that never come, where a framework has none or aborts with a stack trace."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.training.distributed.variables import Place


@contextlib.contextmanager
def meeting_within(seconds: float, place: Place, *, cure: str) -> Iterator[None]:
    """End this process with one line, exit code 1, if the block takes longer: its call cannot be interrupted.

    Args:
        seconds: for the block.
        place: of this process.
        cure: what to do, as the end of the line.
    """
    line = (
        f"mnistkit: process {place.rank} of {place.count} did not meet the others at {place.address} within "
        f"{seconds:g} s; start all {place.count}, {cure}\n"
    )
    timer = threading.Timer(seconds, _end, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(line: str) -> None:
    os.write(2, line.encode())
    os._exit(1)
