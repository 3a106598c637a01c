"""A time limit that many tasks are under at once, with one timer for all of them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType


class TimeLimit:
    """Cuts off every ``with`` block that takes longer; belongs to the thread of one event loop.

    `asyncio.timeout` makes a timer for each block, which takes four times as long. Here all blocks have the same time,
    so the one that began first is the first to be over, and one timer is enough.

        with limit:
            await something()  # TimeoutError when the time is over

    Where each microsecond counts, `begin` and `end` do the same with less.

    A task is in one block of a limit at a time.

    Args:
        seconds: For each block.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}  # the oldest first
        self._cut_off: dict[asyncio.Task[Any], int] = {}  # how often somebody else had asked them to end
        self._timed = False

    def __enter__(self) -> None:
        self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self.end(task, error):
            raise TimeoutError from error

    def begin(self) -> asyncio.Task[Any]:
        """The time of the current task begins; `end` must follow."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task")
        self._due[task] = time.monotonic() + self.seconds
        if not self._timed:
            self._timed = True
            asyncio.get_running_loop().call_later(self.seconds, self._look)
        return task

    def end(self, task: asyncio.Task[Any], error: BaseException | None = None) -> bool:
        """The block is over; whether its error is this limit's doing."""
        if self._due.pop(task, None) is not None:
            return False
        # As asyncio.timeout does it: a task that somebody else cancels as well stays cancelled.
        return task.uncancel() <= self._cut_off.pop(task) and type(error) is asyncio.CancelledError

    def _look(self) -> None:
        now = time.monotonic()
        while self._due:
            task, due = next(iter(self._due.items()))
            if due > now:
                asyncio.get_running_loop().call_later(due - now, self._look)
                return
            del self._due[task]
            self._cut_off[task] = task.cancelling()
            task.cancel()
        self._timed = False
