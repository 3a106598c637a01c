"""Where the steps of an epoch come from: arrays in memory, or batches that are read while the model trains.

A feed gives an epoch as parts: some steps that one program does. ``Run`` decides how many of them at a time. Where no
program can be made, Keras does the steps itself, one by one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mnistkit.core.errors import InputError, MnistkitError
from mnistkit.training.fallback import cause
from mnistkit.training.order import epoch_order

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy.typing as npt

    from mnistkit.training.backend_program import Program
    from mnistkit.training.programs import Programs
    from mnistkit.training.pytree import Arrays, PyTree

_MOST_CHANGES = 5  # programs made anew because of what batch hooks change, until Keras' own steps are faster


class Part(Protocol):
    """Some steps of an epoch.

    Attributes:
        steps: How many there are.
        is_announced: Whether the feed has called ``before`` for the first of them.
    """

    steps: int
    is_announced: bool

    def run(self, start: int, steps: int) -> None:
        """Do some of the steps."""


class Feed(Protocol):
    """Gives the steps of each epoch.

    Attributes:
        logs: What the last step returned, None where that is the model's metrics.
    """

    logs: Any

    @property
    def num_batches(self) -> int | None:
        """Number of steps in an epoch, None where that is not known."""

    def parts(self, epoch: int, *, before: Callable[[int], None]) -> Generator[Part]:
        """Give the parts of an epoch.

        Args:
            epoch: its number.
            before: to be called with the number of a step where a batch of a source is about to be read for it.
        """

    def look_again(self) -> None:
        """Look before the next step whether the program still fits the model; something may have changed it."""


class Maker:
    """Gets programs, and gives up where that fails or does not pay: Keras does the steps then.

    Args:
        may_give_up: False where several processes train together: Keras' own steps would train each alone.

    Attributes:
        gave_up: Whether it has.
    """

    def __init__(self, *, may_give_up: bool = True) -> None:
        self._may_give_up = may_give_up
        self.gave_up = False
        self._last: Any = None
        self._changes = 0
        self._looks_again = False

    def look_again(self) -> None:
        """Take the next program that is another one for a change by a batch hook."""
        self._looks_again = True

    def get(self, get: Callable[[], tuple[Program, PyTree]]) -> tuple[Program, PyTree] | None:
        """Return a program and its data, or None."""
        import keras

        try:
            program, data = get()
        except MnistkitError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a framework raises, Keras' own step is the judge
            self._give_up(f"{keras.backend.backend()} cannot compile it ({cause(error)})")
            return None
        if self._looks_again and self._last is not None and program is not self._last:
            self._changes += 1
        self._last, self._looks_again = program, False
        if self._changes > _MOST_CHANGES:
            self._give_up("a callback changes again and again what its step reads")
            return None
        return program, data

    def _give_up(self, reason: str) -> None:
        if not self._may_give_up:
            raise InputError(f"several processes train together with compiled steps alone, but {reason}")
        self.gave_up = True
        sys.stderr.write(f"mnistkit: training with Keras' own steps, because {reason}\n")


class ArraysFeed:
    """Steps on arrays in memory.

    Args:
        programs: gives the program and the data on the device.
        arrays: the arrays.
        training: whether to train or to evaluate.
        batch_size: samples in a batch; the last one of an epoch holds what is left.
        seed: of the order; None keeps the samples' own.
    """

    def __init__(
        self, programs: Programs, *, arrays: Arrays, training: bool, batch_size: int, seed: int | None
    ) -> None:
        self._programs, self._training, self._seed = programs, training, seed
        self._n, self._batch_size = arrays.n, batch_size
        self._epoch = 0
        self.logs: Any = None
        self._maker = Maker(may_give_up=programs.group is None)
        self._ready: tuple[Program, PyTree] | None = None

    @property
    def num_batches(self) -> int | None:
        """Number of steps in an epoch."""
        return -(-self._n // self._batch_size)

    def parts(self, epoch: int, *, before: Callable[[int], None]) -> Generator[Part]:
        """Give the whole batches, then the rest; nothing is read, so nothing is announced."""
        del before
        n, size = self._n, min(self._batch_size, self._n)
        order = np.arange(n) if self._seed is None else epoch_order(n, seed=self._seed, epoch=epoch)
        self._epoch, self._ready = epoch, None
        full, rest = divmod(n, size)
        yield _OfArrays(self, order, 0, size, full)
        if rest:
            yield _OfArrays(self, order, full * size, rest, 1)

    def look_again(self) -> None:
        """Ask for the program again before the next step."""
        if self._ready is not None and not self._programs.fit_as_before(training=self._training):
            self._ready = None
            self._maker.look_again()

    def run(self, order: npt.NDArray[np.int64], *, start: int, steps: int, size: int) -> None:
        """Do steps on batches of an order."""
        if self._ready is None and not (
            self._maker.gave_up or self._programs.are_keras_steps_faster(training=self._training)
        ):
            self._ready = self._maker.get(lambda: self._programs.get(training=self._training, epoch=self._epoch))
        stop = start + steps * size
        if start == 0:
            self._programs.arrays_are_taken(training=self._training)
        if self._ready is not None:
            program, data = self._ready
            self.logs = program.run(data, order, start=start, steps=steps, size=size)
        else:
            for rows in order[start:stop].reshape(steps, size):
                batch = self._programs.batch(rows, training=self._training)
                self.logs = self._programs.own_step(batch, self._training)
        if stop == self._n:
            self._programs.arrays_are_taken(training=self._training)


@dataclass(slots=True)
class _OfArrays:
    feed: ArraysFeed
    order: npt.NDArray[np.int64]
    first: int
    size: int
    steps: int
    is_announced: bool = False

    def run(self, start: int, steps: int) -> None:
        self.feed.run(self.order, start=self.first + start * self.size, steps=steps, size=self.size)
