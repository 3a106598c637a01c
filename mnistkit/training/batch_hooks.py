"""Callbacks' methods for each batch: which there are, how often they run, and the values that they get."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.core.thread_patches import ThreadPatch

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = "batch_hook_interval"
"""Class attribute of a callback: its batch hooks need to run only after every so many batches, and read logs alone."""
_OF_TRAINING = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_OF_TESTS = ("on_test_batch_begin", "on_test_batch_end")


class BatchHooks:
    """The batch hooks of a list of callbacks.

    Between two calls of the hooks lie ``interval`` steps, as if the model had been compiled with so many
    ``steps_per_execution``: the first gets the number of the first of these steps, the second that of the last.

    Args:
        callbacks: Keras' ``CallbackList``.
        training: whether for training or for evaluation.

    Attributes:
        training: The same.
        interval: Steps between two calls; 0 where there are no hooks.
    """

    def __init__(self, callbacks: Any, *, training: bool) -> None:
        self.training = training
        names = _OF_TRAINING if training else _OF_TESTS
        having = [one for one in callbacks.callbacks if batch_hook(one, names) is not None]
        self.interval = interval(callbacks.callbacks, training=training)
        self._changes = self.interval == 1 and any(runs_own_code(one) for one in having)
        kind = "train" if training else "test"
        self._before = getattr(callbacks, f"on_{kind}_batch_begin")
        self._after = getattr(callbacks, f"on_{kind}_batch_end")

    def steps_from(self, done: int) -> int:
        """Return how many steps there are until the hooks run next, after so many steps."""
        return self.interval - done % self.interval if self.interval else 2**31

    def before(self, step: int) -> None:
        """Call the hooks before a step."""
        if self.interval:
            self._before(step)

    def before_unless_within(self, step: int) -> None:
        """Call the hooks before a step, if it is the first of an interval."""
        if self.interval and step % self.interval == 0:
            self._before(step)

    def after(self, done: int, logs: Callable[[], dict[str, Any]], *, is_last: bool = False) -> bool:
        """Call the hooks after so many steps, if it is time; tell whether they may have changed the model.

        Args:
            done: number of steps.
            logs: gives the values for the hooks.
            is_last: whether the epoch ends here.
        """
        if not self.interval or (done % self.interval == 0) == is_last:
            return False
        self._after(done - 1, logs())
        return self._changes


def interval(callbacks: list[Any], *, training: bool) -> int:
    """Return after how many batches the hooks of callbacks need to run, 0 where there are none."""
    names = _OF_TRAINING if training else _OF_TESTS
    return math.gcd(*(_interval_of(one) for one in callbacks if batch_hook(one, names) is not None))


def _interval_of(callback: Any) -> int:
    number = getattr(callback, INTERVAL, 1)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError(f"{type(callback).__name__}.{INTERVAL} is {number!r}: give an integer from 1 up")
    return number


def batch_hook(callback: Any, names: tuple[str, ...] = (*_OF_TRAINING, *_OF_TESTS)) -> str | None:
    """Return the name of a callback's method that must run after every batch, or None."""
    import keras

    of_keras = keras.callbacks
    savers = (of_keras.ModelCheckpoint, of_keras.BackupAndRestore)
    if isinstance(callback, savers) and callback.save_freq != "epoch":
        return "on_train_batch_end" if "on_train_batch_end" in names else None
    # these have batch hooks, which only show progress, or do nothing unless asked to save every so many batches
    harmless = (of_keras.Callback, of_keras.ProgbarLogger, *savers)
    for name in names:
        method = getattr(callback, name)
        function = getattr(method, "__func__", method)
        if all(function is not getattr(kind, name) for kind in harmless):
            return name
    return None


def results(model: Any) -> dict[str, Any]:
    """Return the model's metrics: numbers, and arrays where a metric has several values."""
    import keras

    results: dict[str, Any] = {}
    with _REPLACED_MEAN(_mean) as original:
        _ORIGINAL.mean = original
        metrics = model.get_metrics_result()
    for name, value in metrics.items():
        parts = value if isinstance(value, dict) else {name: value}
        for part, number in parts.items():
            array = number if isinstance(number, np.floating) else np.asarray(keras.ops.convert_to_numpy(number))
            results[part] = float(array) if array.ndim == 0 else array
    return results


def _owner_of_mean() -> tuple[Any, str]:
    import keras

    return keras.metrics.Mean, "result"


class _Original(threading.local):
    mean: Any = None


_ORIGINAL = _Original()
_REPLACED_MEAN = ThreadPatch(_owner_of_mean)


def _mean(metric: Any) -> Any:
    """Divide as ``keras.metrics.Mean`` does, in NumPy: for two numbers, a framework takes a hundred times as long."""
    import keras

    if metric.total.dtype != "float32" or metric.count.dtype != "float32" or metric.dtype != "float32":
        return _ORIGINAL.mean(metric)
    total, count = (np.float32(keras.ops.convert_to_numpy(one.value)) for one in (metric.total, metric.count))
    with np.errstate(all="ignore"):
        return total / count if count else np.float32(0)


def runs_own_code(callback: Any) -> bool:
    """Tell whether a callback runs code of the user's, which may change the arrays in place."""
    import keras

    of_keras = type(callback).__module__.partition(".")[0] == "keras"
    return not of_keras or isinstance(callback, keras.callbacks.LambdaCallback)
