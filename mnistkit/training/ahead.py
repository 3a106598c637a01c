"""Reading batches ahead of the program, in a thread that ends with each epoch.

The thread reads no further than ``model.fit`` would read in the epoch. What it reads, it puts into stretches. Whoever
iterates gets one ``Place`` for each batch, in order; an error of the source comes after the batches before it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.training.stretches import Stretch, Stretches

_READY = 1  # stretches read and not yet taken, beside the one that is filled
_PATIENCE = 5.0  # seconds for a source to answer when a run ends early


class Place(NamedTuple):
    """Where a batch is.

    Attributes:
        stretch: The stretch.
        number: Its number in the stretch.
    """

    stretch: Stretch
    number: int

    @property
    def is_last(self) -> bool:
        """Whether no further batch of the stretch follows."""
        return self.number + 1 == self.stretch.steps


class Plan:
    """What the readers of one source share.

    Args:
        stretches: what batches are put into.
        ahead: whether to read in a thread; otherwise a batch is read when it is asked for.

    Attributes:
        is_ahead: whether batches are read in a thread.
        still: held while the source is asked for a batch; who needs it to stand still takes it.
    """

    def __init__(self, stretches: Stretches, *, ahead: bool) -> None:
        self.stretches = stretches
        self.still = threading.Lock()
        self.is_ahead = ahead
        self._epoch: _Epoch | None = None
        self._steps: int | None = None
        self._is_open = False

    def begin(self, steps: int | None) -> None:
        """Begin an epoch of at most so many batches; None is as many as there are."""
        self._steps, self._is_open = steps, True

    def end(self) -> None:
        """End the epoch and its thread."""
        self._is_open = False
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            epoch.end()

    def next_of(self, batches: Iterator[Any]) -> Any:
        """Return the next place of an iterator over batches; outside an epoch, the batch as the source gives it."""
        if not self._is_open:
            return next(batches).by_keras()
        if not self.is_ahead:
            return Place(self.stretches.put(next(batches), None)[0], 0)
        if self._epoch is None or self._epoch.batches is not batches:
            if self._epoch is not None:
                self._epoch.end()
            self._epoch = _Epoch(batches, self, self._steps)
            self._epoch.start()  # once it is known here: Ctrl-C may come from now on
        return self._epoch.next_place()


class Reader:
    """Iterates over the places of the batches of an iterator."""

    def __init__(self, batches: Iterator[Any], plan: Plan) -> None:
        self._batches, self._plan = batches, plan

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> Any:
        return self._plan.next_of(self._batches)


class _Epoch:
    """The thread that reads the batches of one epoch."""

    def __init__(self, batches: Iterator[Any], plan: Plan, steps: int | None) -> None:
        self.batches = batches
        self._plan, self._steps = plan, steps
        self._changed = threading.Condition()
        self._ready: deque[Stretch] = deque()
        self._open: Stretch | None = None  # what the thread fills
        self._error: BaseException | None = None
        self._stopped = self._ended = False
        self._taken: Stretch | None = None
        self._index = 0
        self._thread = threading.Thread(target=self._read, name="mnistkit-batches", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def next_place(self) -> Place:
        if self._taken is None or self._index == self._taken.steps:
            self._taken, self._index = self._take(), 0
        self._index += 1
        return Place(self._taken, self._index - 1)

    def end(self) -> None:
        """End the thread. One that waits for its source for long is left behind: it ends when the source answers."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():  # Ctrl-C may have come before its start
            self._thread.join(_PATIENCE)

    def _take(self) -> Stretch:
        with self._changed:
            while not (self._ready or self._open or self._ended):
                self._changed.wait()
            if self._ready:
                stretch = self._ready.popleft()
            elif self._open:
                stretch, self._open = self._open, None
            else:
                error, self._error = self._error, None
                raise StopIteration if error is None else error
            self._changed.notify_all()
            return stretch

    def _read(self) -> None:
        """Read to the epoch's end; runs in the thread."""
        error: BaseException | None = None
        done = 0
        try:
            while (self._steps is None or done < self._steps) and not self._stopped:
                with self._plan.still:
                    batch = next(self.batches)
                self._put(batch)
                done += 1
        except StopIteration:
            pass
        except BaseException as raised:  # noqa: BLE001 - raised where the batch is asked for
            error = raised
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _put(self, batch: Any) -> None:
        with self._changed:
            while len(self._ready) >= _READY and not self._stopped:
                self._changed.wait()
            if self._stopped:
                return
            stretch, is_new = self._plan.stretches.put(batch, self._open)
            if is_new and self._open:
                self._ready.append(self._open)
            self._open = stretch
            self._changed.notify_all()
