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

import numpy as np

from mnistkit.training import keras_hooks
from mnistkit.training.order import epoch_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy.typing as npt

    from mnistkit.training.programs import Programs
    from mnistkit.training.pytree import Arrays

_CHUNK_SECONDS = 0.25  # short enough for a live display and a prompt Ctrl-C, long enough to cost nothing
_FIRST_STEPS = 16  # of a program whose speed is not known yet


@dataclass(slots=True)
class Run:
    """One call of ``fit``.

    Attributes:
        model: compiled and built Keras model.
        programs: gives the train and test programs that fit the model as it is now.
        data: training arrays.
        validation: validation arrays, or None.
        batch_size: samples in a batch; the last batch of an epoch holds what is left.
        validation_batch_size: the same for the validation arrays.
        validation_freq: validate after every so many epochs, or after the epochs of these numbers, from 1.
        shuffle: whether to draw the order of each epoch, or keep the samples' own.
        seed: of the order.
    """

    model: Any
    programs: Programs
    data: Arrays
    validation: Arrays | None
    batch_size: int
    validation_batch_size: int
    validation_freq: int | Collection[int]
    shuffle: bool
    seed: int
    _seconds_per_step: dict[bool, float] = field(default_factory=dict)

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
        may_change_data = any(_runs_own_code(callback) for callback in callbacks.callbacks)
        for epoch in range(first, last):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            if may_change_data:
                self.programs.read_arrays_again()
            logs = self._train(callbacks, epoch)
            if self.validation is not None and self._is_validated(epoch):
                logs.update({f"val_{name}": value for name, value in self._validate(callbacks, epoch).items()})
            callbacks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        return logs

    def _is_validated(self, epoch: int) -> bool:
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def _train(self, callbacks: Any, epoch: int) -> dict[str, Any]:
        data = self.data
        order = epoch_order(data.n, seed=self.seed, epoch=epoch) if self.shuffle else np.arange(data.n)
        displays = [callback for callback in callbacks.callbacks if _shows_progress(callback)]
        for done in self._chunks(data, order, training=True, epoch=epoch):
            if displays and done * self.batch_size < data.n:
                logs = _results(self.model)
                for display in displays:
                    display.on_train_batch_end(done - 1, logs)
        return _results(self.model)

    def _validate(self, callbacks: Any, epoch: int) -> dict[str, Any]:
        assert self.validation is not None
        self.model.stop_evaluating = False
        callbacks.on_test_begin()
        self.model.reset_metrics()
        for _ in self._chunks(self.validation, np.arange(self.validation.n), training=False, epoch=epoch):
            pass
        logs = _results(self.model)
        callbacks.on_test_end(logs)
        return logs

    def _chunks(self, data: Arrays, order: npt.NDArray[np.int64], *, training: bool, epoch: int) -> Iterator[int]:
        """Visit all batches of an order; yield after each chunk how many are done."""
        size = min(self.batch_size if training else self.validation_batch_size, data.n)
        full, rest = divmod(data.n, size)
        program, on_device = self.programs.get(training=training, epoch=epoch)
        done = 0
        while done < full:
            pace = self._seconds_per_step.get(training)
            steps = _FIRST_STEPS if pace is None else max(1, int(_CHUNK_SECONDS / pace))
            stop = min(done + steps, full)
            begun = time.perf_counter()
            with _uninterrupted():
                program.run(on_device, order, start=done * size, steps=stop - done, size=size)
            self._seconds_per_step[training] = (time.perf_counter() - begun) / (stop - done)
            done = stop
            yield done
        if rest:
            with _uninterrupted():
                program.run(on_device, order, start=full * size, steps=1, size=rest)
            yield done + 1


def _results(model: Any) -> dict[str, Any]:
    """Return the model's metrics: numbers, and arrays where a metric has several values."""
    import keras

    results: dict[str, Any] = {}
    for name, value in model.get_metrics_result().items():
        parts = value if isinstance(value, dict) else {name: value}
        for part, number in parts.items():
            array = np.asarray(keras.ops.convert_to_numpy(number))
            results[part] = float(array) if array.ndim == 0 else array
    return results


def _runs_own_code(callback: Any) -> bool:
    """Tell whether a callback runs code of the user's, which may change the arrays in place."""
    import keras

    of_keras = type(callback).__module__.partition(".")[0] == "keras"
    return not of_keras or isinstance(callback, keras.callbacks.LambdaCallback)


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
