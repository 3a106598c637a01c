"""The epochs of a run: what ``model.fit`` does around its steps, here around chunks of steps.

A chunk is as many steps as take a fraction of a second. Between chunks the model's variables are up to date, progress
is shown, and Ctrl-C takes effect. Within a chunk only the program runs.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mnistkit.training import keras_hooks
from mnistkit.training.batch_hooks import BatchHooks, runs_own_code
from mnistkit.training.distributed.together import Together
from mnistkit.training.own_steps import epoch_results, step_results

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator

    from mnistkit.training.feeds import Feed
    from mnistkit.training.programs import Programs

_CHUNK_SECONDS = 0.25  # short enough for a live display and a prompt Ctrl-C, long enough to cost nothing
_FIRST_STEPS = 16  # of a program whose speed is not known yet


@dataclass(slots=True)
class Run:
    """One call of ``fit``.

    Attributes:
        model: compiled Keras model.
        programs: gives the train and test programs that fit the model as it is now.
        training: the steps of an epoch.
        validation: the same for evaluation, or None.
        validation_freq: validate after every so many epochs, or after the epochs of these numbers, from 1.
    """

    model: Any
    programs: Programs
    training: Feed
    validation: Feed | None
    validation_freq: int | Collection[int]
    _seconds_per_step: dict[bool, float] = field(default_factory=dict)
    _together: Together | None = None

    def epochs(self, callbacks: Any, *, initial_epoch: int, epochs: int) -> None:
        """Run the epochs and call the callbacks as Keras does."""
        model = self.model
        model.stop_training = False
        callbacks.on_train_begin()
        logs: dict[str, Any] = {}
        finished = False
        try:
            logs = self._epochs(callbacks, keras_hooks.resumed_epoch(model) or initial_epoch, epochs)
            finished = True
        finally:
            if epochs > 0 and model.optimizer is not None and (finished or self.programs.finalizes_after_errors):
                model.optimizer.finalize_variable_values(model.trainable_weights)
        callbacks.on_train_end(logs=logs)

    def _epochs(self, callbacks: Any, first: int, last: int) -> dict[str, Any]:
        model, logs = self.model, {}
        may_change_data = any(runs_own_code(callback) for callback in callbacks.callbacks)
        for epoch in range(first, last):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            if may_change_data:
                self.programs.read_arrays_again()
            logs = self._train(callbacks, epoch)
            if self._others is not None:
                self._others.check_state()
            if self.validation is not None and self._is_validated(epoch):
                logs.update({f"val_{name}": value for name, value in self._validate(callbacks, epoch).items()})
            callbacks.on_epoch_end(epoch, logs)
            if self._others is not None:
                self._others.check_stop()
            if model.stop_training:
                break
        return logs

    @property
    def _others(self) -> Together | None:
        """What keeps the processes of a group in step."""
        if self._together is None and self.programs.group is not None:
            local = self.programs.metrics_are_local
            self._together = Together(self.programs.group, self.model, metrics_are_local=local)
        return self._together

    def _is_validated(self, epoch: int) -> bool:
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def _train(self, callbacks: Any, epoch: int) -> dict[str, Any]:
        model, hooks = self.model, BatchHooks(callbacks, training=True)
        displays = [] if hooks.interval else [one for one in callbacks.callbacks if _shows_progress(one)]
        number = self.training.num_batches
        with contextlib.closing(self._chunks(self.training, hooks, epoch=epoch)) as chunks:
            for done in chunks:
                if displays and done != number:
                    logs = step_results(model, self.training.logs)
                    for display in displays:
                        display.on_train_batch_end(done - 1, logs)
                if model.stop_training and hooks.interval:
                    break
        return self._results(self.training)

    def _validate(self, callbacks: Any, epoch: int) -> dict[str, Any]:
        assert self.validation is not None
        model, hooks = self.model, BatchHooks(callbacks, training=False)
        model.stop_evaluating = False
        callbacks.on_test_begin()
        model.reset_metrics()
        with contextlib.closing(self._chunks(self.validation, hooks, epoch=epoch)) as chunks:
            for _ in chunks:
                if model.stop_evaluating and hooks.interval:
                    break
        logs = self._results(self.validation)
        callbacks.on_test_end(logs)
        return logs

    def _results(self, feed: Feed) -> dict[str, Any]:
        """Return the metrics of all processes, or what the last step of an epoch returned."""
        if self._others is not None:
            self._others.add_up_metrics()
        return epoch_results(self.model, feed.logs)

    def _chunks(self, feed: Feed, hooks: BatchHooks, *, epoch: int) -> Generator[int]:
        """Do all steps of an epoch; yield after each chunk how many are done."""
        training = hooks.training
        done = 0
        with contextlib.closing(feed.parts(epoch, before=hooks.before)) as parts:
            for part in parts:
                at = 0
                while at < part.steps:
                    pace = self._seconds_per_step.get(training)
                    steps = _FIRST_STEPS if pace is None else max(1, int(_CHUNK_SECONDS / pace))
                    steps = min(steps, part.steps - at, hooks.steps_from(done))
                    if not part.is_announced:
                        hooks.before_unless_within(done)
                    begun = time.perf_counter()
                    with _uninterrupted():
                        part.run(at, steps)
                    if part.steps > 1:
                        seconds = (time.perf_counter() - begun) / steps
                        slowest = seconds if self._others is None else self._others.slowest(seconds)
                        self._seconds_per_step[training] = slowest
                    at, done = at + steps, done + steps
                    if hooks.after(done, lambda: step_results(self.model, feed.logs)):
                        feed.look_again()
                    yield done
        hooks.after(done, lambda: step_results(self.model, feed.logs), is_last=True)


def _shows_progress(callback: Any) -> bool:
    import keras

    return isinstance(callback, keras.callbacks.ProgbarLogger)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, so that no variable is half-updated or donated to a program."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers Ctrl-C to the main thread alone
        return
    pressed: list[tuple[int, Any]] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield  # ignored, or left to the system: nothing to delay
        return
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            before(*pressed[0])
