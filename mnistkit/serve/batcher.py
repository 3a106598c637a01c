"""One model's way through the processor: small requests at once, the others through a bounded queue in batches.

Small requests that come in one turn of the event loop share a run. Greedy while busy: a request is sent the moment a
worker is free, and whatever queued meanwhile goes as one batch. No request ever waits for a batch to fill. What has
expired or was given up is dropped before it costs anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.serve.http import out_of_time, too_many_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


@dataclass(slots=True, eq=False)
class _Job:
    feeds: Arrays
    rows: int
    kind: tuple[Any, ...]  # jobs of the same kind can share a batch
    future: asyncio.Future[Arrays]


class Batcher:
    """Runs one model; belongs to the thread of one event loop.

    Args:
        run: The model.
        batched: Whether first axes are independent rows in every input and output.
        concurrency: Runs at a time.
        max_batch: Rows gathered into one run.
        max_rows: Rows of one request in one run, where rows are known to be independent: more take memory, not less
            time, and cannot be stopped half-way. ``None`` for no such limit.
        max_queue: Jobs that may wait.
        timeout: Seconds that a request may take, to be named when they are over.
        observe: Called with the rows of each run.
    """

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        *,
        batched: bool,
        concurrency: int,
        max_batch: int,
        max_rows: int | None = None,
        max_queue: int,
        timeout: float,
        observe: Callable[[int], None],
    ) -> None:
        self._run, self._observe = run, observe
        self._max_batch = max_batch if batched else 1
        self._max_rows = max_rows if batched else None
        self._max_queue, self._timeout = max_queue, timeout
        self._free = self._concurrency = concurrency
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="model")
        self._queue: deque[_Job] = deque()
        self._turn: deque[_Job] = deque()  # small ones of this turn of the event loop
        self._closing = self._shut = False

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Threads at work."""
        return self._concurrency - self._free

    def now(self, feeds: Arrays, *, rows: int) -> Arrays:
        """Run at once in this thread, for requests that cost less than handing them over."""
        self._observe(rows)
        return self._run(feeds)

    async def share(self, feeds: Arrays, *, rows: int) -> Arrays:
        """Run in this thread, together with what else comes in this turn of the event loop.

        Of 64 requests at a time each takes half the processor time of one that runs alone, 58 against 117 µs. The first
        one runs them all in the loop's next turn, without another turn for itself.

        Raises:
            InputError: onnxruntime refuses the arrays.
        """
        job = _Job(feeds, rows, _kind(feeds), asyncio.get_running_loop().create_future())
        self._turn.append(job)
        if len(self._turn) == 1:
            try:
                await asyncio.sleep(0)
            except BaseException:
                job.future.cancel()
                raise
            finally:
                self._run_turn()  # for the others too, should the first one have been given up
        return await job.future

    async def submit(self, feeds: Arrays, *, rows: int, deadline: float) -> Arrays:
        """Run as soon as a worker is free.

        Args:
            feeds: One array for each input.
            rows: Size of the first axis.
            deadline: On the clock of `time.monotonic`.

        Raises:
            HTTPError: 429 when the queue is full, 504 when the time is up.
            InputError: onnxruntime refuses the arrays.
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise out_of_time(self._timeout)
        if not self._free and len(self._queue) >= self._max_queue:
            raise too_many_requests(
                f"the queue is full: expected at most {self._max_queue} requests waiting; try again"
            )
        loop = asyncio.get_running_loop()
        job = _Job(feeds, rows, _kind(feeds), loop.create_future())
        self._queue.append(job)
        self._dispatch()
        timer = loop.call_later(left, self._expire, job)
        try:
            return await job.future
        finally:
            timer.cancel()
            if not job.future.done():
                job.future.cancel()
            if job.future.cancelled() and job in self._queue:
                self._queue.remove(job)

    def close(self) -> None:
        """Let the threads end once everything that was submitted has finished."""
        self._closing = True
        if not self._queue:
            self._shut = True
            self._pool.shutdown(wait=False)

    def _expire(self, job: _Job) -> None:
        if job in self._queue:
            self._queue.remove(job)
        if not job.future.done():
            job.future.set_exception(out_of_time(self._timeout))

    def _dispatch(self) -> None:
        while self._free and self._queue:
            jobs = self._gather(self._queue)
            if not jobs:
                continue
            self._free -= 1
            self._observe(sum(job.rows for job in jobs))
            # A request that was being read when its model was replaced runs in the loop's own threads.
            pool = None if self._shut else self._pool
            task = asyncio.get_running_loop().run_in_executor(pool, self._answers, jobs)
            task.add_done_callback(lambda done, jobs=jobs: self._finish(jobs, done))  # type: ignore[misc]

    def _run_turn(self) -> None:
        turn, self._turn = self._turn, deque()
        while turn:
            jobs = self._gather(turn)
            if not jobs:
                continue
            self._observe(sum(job.rows for job in jobs))
            try:
                answers: list[Arrays | BaseException] = [*self._answers(jobs)]
            except Exception as error:  # noqa: BLE001 - handed to the requests it belongs to
                answers = [error] * len(jobs)
            _hand_out(jobs, answers)

    def _gather(self, queue: deque[_Job]) -> list[_Job]:
        """The oldest job and those behind it that fit into one batch with it; abandoned ones are dropped."""
        first = queue.popleft()
        if first.future.done():
            return []
        jobs, rows = [first], first.rows
        while queue and queue[0].kind == first.kind and rows + queue[0].rows <= self._max_batch:
            job = queue.popleft()
            if not job.future.done():
                jobs.append(job)
                rows += job.rows
        return jobs

    def _answers(self, jobs: list[_Job]) -> list[Arrays | Exception]:
        """In a worker thread: one answer or exception for each job."""
        if len(jobs) == 1:
            return [self._one(jobs[0])]
        feeds = {name: np.concatenate([job.feeds[name] for job in jobs]) for name in jobs[0].feeds}
        total = sum(job.rows for job in jobs)
        try:
            outputs = self._run(feeds)
        except InputError:
            return [self._one(job) for job in jobs]  # one wrong job must not spoil its neighbours
        if any(array.shape[:1] != (total,) for array in outputs.values()):
            return [self._one(job) for job in jobs]  # the rows are not independent after all
        answers: list[Arrays | Exception] = []
        start = 0
        for job in jobs:
            end = start + job.rows
            answer: Arrays = {}
            for name, array in outputs.items():
                answer[name] = array[start:end]
            answers.append(answer)
            start = end
        return answers

    def _one(self, job: _Job) -> Arrays | Exception:
        try:
            if self._max_rows is not None and job.rows > self._max_rows:
                return self._in_parts(job, self._max_rows)
            return self._run(job.feeds)
        except Exception as error:  # noqa: BLE001 - handed to the request it belongs to
            return error

    def _in_parts(self, job: _Job, rows: int) -> Arrays:
        """Run a large job a part after the other, as long as somebody waits for it."""
        parts: list[Arrays] = []
        for start in range(0, job.rows, rows):
            if job.future.done():
                raise out_of_time(self._timeout)
            parts.append(self._run({name: array[start : start + rows] for name, array in job.feeds.items()}))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _finish(self, jobs: list[_Job], done: asyncio.Future[list[Arrays | Exception]]) -> None:
        self._free += 1
        error = done.exception()
        _hand_out(jobs, [error] * len(jobs) if error else done.result())
        self._dispatch()
        if self._closing and not self._queue:
            self._shut = True
            self._pool.shutdown(wait=False)


def _kind(feeds: Arrays) -> tuple[Any, ...]:
    if len(feeds) == 1:
        ((name, array),) = feeds.items()
        return name, array.dtype, array.shape[1:]
    return tuple([(name, array.dtype, array.shape[1:]) for name, array in feeds.items()])


def _hand_out(jobs: Sequence[_Job], answers: Sequence[Arrays | BaseException]) -> None:
    for job, answer in zip(jobs, answers, strict=True):
        if job.future.done():
            continue
        if isinstance(answer, BaseException):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)
