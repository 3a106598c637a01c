"""Threads for what is too heavy for the event loop: large bodies and pictures."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mnistkit.serve.http import out_of_time, too_many_requests

if TYPE_CHECKING:
    from collections.abc import Callable


class Ticket:
    """Tells work in a thread whether anybody still waits for it."""

    __slots__ = ("_timeout", "deadline", "given_up")

    def __init__(self, deadline: float, timeout: float) -> None:
        self.deadline, self._timeout = deadline, timeout
        self.given_up = False

    def check(self) -> None:
        """Go on only where the answer can still be of use.

        Raises:
            HTTPError: 504, the deadline has passed or the client has gone.
        """
        if self.given_up or time.monotonic() >= self.deadline:
            raise out_of_time(self._timeout)


class Pool:
    """A bounded pool; belongs to the thread of one event loop.

    Args:
        name: Of its threads.
        threads: How many.
        max_queue: Pieces of work that may wait for a thread; more get 429.
        timeout: Seconds that a request may take, to be named when they are over.
    """

    def __init__(self, name: str, *, threads: int, max_queue: int, timeout: float) -> None:
        self._threads, self._max_queue, self._timeout = threads, max_queue, timeout
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._pending = 0

    @property
    def waiting(self) -> int:
        """Pieces of work without a thread."""
        return max(0, self._pending - self._threads)

    @property
    def running(self) -> int:
        """Threads at work."""
        return min(self._pending, self._threads)

    async def run(self, work: Callable[..., Any], *arguments: Any, deadline: float) -> Any:
        """Call ``work(ticket, *arguments)`` in a thread.

        A thread cannot be interrupted: after the deadline its caller is answered, and its place is taken until it ends.

        Raises:
            HTTPError: 429 when the queue is full, 504 when the time is up; and what the work raises.
        """
        if self._pending >= self._threads + self._max_queue:
            raise too_many_requests(
                f"the queue is full: expected at most {self._max_queue} requests waiting; try again"
            )
        ticket = Ticket(deadline, self._timeout)
        self._pending += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, _call, ticket, work, arguments)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise out_of_time(self._timeout) from None
        finally:
            ticket.given_up = True

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()  # seen, so that one that came after the deadline is not reported as forgotten


def _call(ticket: Ticket, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    ticket.check()
    return work(ticket, *arguments)
