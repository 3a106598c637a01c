"""Steps on batches that are read while the model trains: data sets, loaders, generators, arrays larger than memory.

The batches come from Keras' own iterator over epochs, so numbers of steps, shuffling, class weights, the ends of
generators and the warnings about them are those of ``model.fit``.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.training import keras_hooks
from mnistkit.training.adapters.raw_batches import RawBatches
from mnistkit.training.ahead import Place, Plan, Reader
from mnistkit.training.feeds import Maker, Part
from mnistkit.training.order import epoch_order
from mnistkit.training.stored_rows import batches
from mnistkit.training.stretches import Stretches

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from mnistkit.training.backend_program import Program
    from mnistkit.training.programs import Programs
    from mnistkit.training.pytree import Arrays, PyTree
    from mnistkit.training.stretches import Stretch


class _Feed:
    """Steps on batches that a plan reads.

    Args:
        programs: gives the programs.
        training: whether to train or to evaluate.
        is_ahead: whether batches are read ahead of the steps; not where something runs after each step.
        steps: number of steps in an epoch where it is known.
    """

    def __init__(self, programs: Programs, *, training: bool, is_ahead: bool, steps: int | None) -> None:
        self._programs, self._training = programs, training
        stretches = Stretches(
            steps=steps if is_ahead else 1,
            as_array=programs.as_array,
            reuse=programs.shares_memory,
            unpack=programs.unpack,
        )
        self.plan = Plan(stretches, ahead=is_ahead)
        self._maker = Maker()
        self.logs: Any = None  # what the last step returned, None where that is the model's metrics
        self._known: dict[Any, Program] = {}  # programs that fit the model as it is now

    def look_again(self) -> None:
        """Ask for the program again before the next step."""
        if self._known and not self._programs.fit_as_before(training=self._training):
            self._known.clear()
            self._maker.look_again()

    def _parts(self, places: Iterator[tuple[bool, Place]]) -> Generator[Part]:
        self._known.clear()
        place = None
        for is_announced, place in places:
            if place.is_last:
                yield _Read(self, place.stretch, place.stretch.steps, is_announced)
                self.plan.stretches.give_back(place.stretch)
        if place is not None and not place.is_last:
            yield _Read(self, place.stretch, place.number + 1, is_announced=False)

    def run(self, stretch: Stretch, *, data: PyTree, start: int, steps: int) -> PyTree:
        """Do steps on the batches of a stretch; return its data on the device."""
        found = None
        if stretch.key is not None and not self._maker.gave_up:
            if data is None:
                data = self._programs.to_device(stretch.tree)
            found = self._maker.get(lambda: (self._program(stretch, data), data))
        if found is not None:
            self.logs = found[0].run(data, None, start=start * stretch.size, steps=steps, size=stretch.size)
            return data
        self.plan.stretches.refused = self._maker.gave_up
        for i in range(start, start + steps):
            batch = stretch.raw if stretch.key is None else self._programs.to_device(stretch.batch(i))
            self.logs = self._programs.own_step(batch, self._training)
        return data

    def _program(self, stretch: Stretch, data: PyTree) -> Program:
        program = self._known.get(stretch.key)
        length = stretch.size * stretch.room
        if program is not None:
            program.compile(data, length, size=stretch.size)  # the same, unless these data need another way
            return program
        with self.plan.still:
            program = self._programs.for_batches(
                data, first=stretch.batch(0), size=stretch.size, training=self._training
            )
        self._known[stretch.key] = program
        return program


@dataclass(slots=True)
class _Read:
    feed: _Feed
    stretch: Stretch
    steps: int
    is_announced: bool
    data: Any = None

    def run(self, start: int, steps: int) -> None:
        self.data = self.feed.run(self.stretch, data=self.data, start=start, steps=steps)


class SourceFeed(_Feed):
    """Steps on the batches of a data set, a loader or a generator.

    Args:
        model: the model.
        programs: gives the programs.
        training: whether to train or to evaluate.
        is_ahead: as above.
        options: of Keras' iterator over epochs.
    """

    def __init__(
        self, model: Any, programs: Programs, *, training: bool, is_ahead: bool, options: dict[str, Any]
    ) -> None:
        self._model, self._options = model, options
        self._epochs: Any = None
        super().__init__(programs, training=training, is_ahead=is_ahead, steps=options["steps_per_epoch"])

    def start(self) -> None:
        """Make the iterator over epochs, and the variables that the model lacks, as ``model.fit`` does."""
        self._epochs = keras_hooks.epoch_iterator(
            self._model,
            backend=self._programs.backend,
            around=self._reader,
            **self._options,
        )
        if self._training and self._programs.fit_builds:
            keras_hooks.build_from(self._model, self._epochs, idle_optimizer=True)
        if self._training:
            self._epochs.reset()
        if self.num_batches is not None:
            self.plan.stretches.limit(self.num_batches)

    def _reader(self, adapter: Any, get_iterator: Callable[[], Any]) -> Reader:
        batches = RawBatches(adapter, backend=self._programs.backend, get_iterator=get_iterator)
        return Reader(batches, self.plan)

    @property
    def num_batches(self) -> int | None:
        """Number of steps in an epoch, None where that is not known."""
        number: int | None = self._epochs.num_batches
        return number

    def parts(self, epoch: int, *, before: Callable[[int], None]) -> Generator[Part]:
        """Give the parts of an epoch."""
        del epoch
        if self._epochs is None:
            self.start()
        if not self._training:
            self._epochs.reset()
        yield from self._parts(self._places(before))

    def _places(self, before: Callable[[int], None]) -> Iterator[tuple[bool, Place]]:
        epochs, announces = self._epochs, not self.plan.is_ahead
        catch = epochs.catch_stop_iteration() if self._programs.backend != "torch" else contextlib.nullcontext()
        self.plan.begin(self.num_batches)
        try:
            with catch:
                for begin, _, item in epochs:
                    if announces:
                        before(begin)
                    yield announces, item[0] if isinstance(item, list) else next(item)
        finally:
            self.plan.end()


class RowsFeed(_Feed):
    """Steps on rows of arrays that are not taken into memory as a whole.

    Args:
        programs: gives the programs.
        arrays: the arrays, read by ``array[rows]``.
        training: whether to train or to evaluate.
        is_ahead: as above.
        batch_size: samples in a batch.
        seed: of the order; None keeps the samples' own.
    """

    def __init__(
        self,
        programs: Programs,
        *,
        arrays: Arrays,
        training: bool,
        is_ahead: bool,
        batch_size: int,
        seed: int | None,
    ) -> None:
        self._arrays, self._batch_size, self._seed = arrays, batch_size, seed
        super().__init__(programs, training=training, is_ahead=is_ahead, steps=self.num_batches)

    @property
    def num_batches(self) -> int | None:
        """Number of steps in an epoch."""
        return -(-self._arrays.n // self._batch_size)

    def parts(self, epoch: int, *, before: Callable[[int], None]) -> Generator[Part]:
        """Give the parts of an epoch; what is read is the feed's own business, so nothing is announced."""
        del before
        yield from self._parts(self._places(epoch))

    def _places(self, epoch: int) -> Iterator[tuple[bool, Place]]:
        self.plan.begin(self.num_batches)
        try:
            order = None if self._seed is None else epoch_order(self._arrays.n, seed=self._seed, epoch=epoch)
            read = batches(self._arrays, order, size=self._batch_size, is_ahead=self.plan.is_ahead)
            yield from ((False, place) for place in Reader(read, self.plan))
        finally:
            self.plan.end()
