"""Batches of pages, made by worker processes while the net learns; the same batches however many there are."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mnistkit.core.errors import MnistkitError
from mnistkit.digits.reader.pages import SIDE, PageMaker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.digits.reader.ink import Fonts

    Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]

_AHEAD: Final = 3  # batches that each worker may have ready
_READY: Final = 4  # batches in this process
_PATIENCE: Final = 120  # seconds for one batch


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """What the pages are made from.

    Attributes:
        images: uint8 ``[n, 28, 28]``.
        labels: Digits ``[n]``.
        fonts: For text.
        seed: Of all chance.
        batch_size: Pages a step.
        side: Pixels of a page, each way.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.integer]
    fonts: Fonts
    seed: int
    batch_size: int
    side: int = SIDE

    def maker(self) -> PageMaker:
        """Who makes the pages."""
        return PageMaker(self.images, self.labels, fonts=self.fonts, seed=self.seed)


def batch_of(maker: PageMaker, number: int, size: int, *, side: int = SIDE) -> Batch:
    """Pages ``[size, side, side, 2]`` and their boxes, of one step."""
    pages = [maker.make(number * size + page, side=side) for page in range(size)]
    return np.stack([page.pixels for page in pages]), np.stack([page.boxes for page in pages])


class Batches:
    """Batches in order, made ahead by processes.

    Args:
        book: What they are made from.
        workers: Processes.
    """

    def __init__(self, book: Book, *, workers: int) -> None:
        self._book = book
        context = multiprocessing.get_context("spawn")
        self._queues: list[Any] = [context.Queue(_AHEAD) for _ in range(max(workers, 1))]
        self._processes = [
            context.Process(target=_work, args=(book, place, len(self._queues), made), daemon=True)
            for place, made in enumerate(self._queues)
        ]
        self._ready: queue.Queue[Batch | MnistkitError] = queue.Queue(_READY)
        self._stopped = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for process in self._processes:
            process.terminate()
        for made in self._queues:
            made.cancel_join_thread()
            made.close()

    def take(self) -> Batch:
        """The next one.

        Raises:
            MnistkitError: The process that makes it ended, or takes minutes.
        """
        batch = self._ready.get()
        if isinstance(batch, MnistkitError):
            raise batch
        return batch

    def _read(self) -> None:
        """In a thread: take from the processes in turn, so that the order does not depend on their speed."""
        number = 0
        while not self._stopped.is_set():
            batch = self._from(number % len(self._queues))
            number += 1
            while not self._stopped.is_set():
                try:
                    self._ready.put(batch, timeout=1)
                except queue.Full:
                    continue
                break
            if isinstance(batch, MnistkitError):
                return

    def _from(self, place: int) -> Batch | MnistkitError:
        for _ in range(_PATIENCE):
            if self._stopped.is_set():
                break
            try:
                batch: Batch = self._queues[place].get(timeout=1)
            except queue.Empty:
                if not self._processes[place].is_alive():
                    break
            else:
                return batch
        return MnistkitError("a process that makes pages ended; see its message above, and use fewer --workers")


def _work(book: Book, place: int, workers: int, made: Any) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    maker = book.maker()
    number = place
    while True:
        made.put(batch_of(maker, number, book.batch_size, side=book.side))
        number += workers
