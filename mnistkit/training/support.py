"""Which runs the trainer takes, and the reason when it does not."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mnistkit.core.keras_backend import BACKENDS
from mnistkit.training import keras_hooks
from mnistkit.training.hook import first_missing
from mnistkit.training.pytree import is_in_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnistkit.training.pytree import PyTree

_BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)
_OWN_STEPS = (
    "fit",
    "evaluate",
    "train_step",
    "test_step",
    "make_train_function",
    "make_test_function",
    "compute_metrics",
)
_LIMITS = ("max_epochs", "max_steps_per_epoch")  # for debugging; older versions of Keras lack them
_STEP_COUNTS = ("steps_per_epoch", "validation_steps")


def unsupported_reason(
    model: Any, trees: PyTree, *, callbacks: Sequence[Any] | None, shuffle: Any, options: Mapping[str, Any]
) -> str | None:
    """Return why a run must go to ``model.fit``, in a few words, or None when the trainer can take it.

    Args:
        model: compiled Keras model.
        trees: all the data of the run.
        callbacks: as ``fit`` takes them.
        shuffle: as ``fit`` takes it.
        options: the remaining arguments of ``fit``.
    """
    import keras

    if keras.backend.backend() not in BACKENDS:
        return f"the trainer does not support the Keras backend {keras.backend.backend()}"
    missing = _missing_private_name(model)
    if missing is not None:
        return missing
    if not is_in_memory(trees):
        return "the data are not dense numeric arrays in memory"
    counts = [name for name in _STEP_COUNTS if options.get(name) is not None]
    if counts:
        return f"{counts[0]} was given"
    setting = _keras_setting(model)
    if setting is not None:
        return setting
    own = [name for name in _OWN_STEPS if _overrides(model, name)]
    if own:
        return f"{type(model).__name__} has its own {own[0]}"
    if keras.distribution.distribution() is not None or keras_hooks.has_strategy(model):
        return "the model is distributed over devices"
    if shuffle not in (True, False):
        return f"shuffle={shuffle!r} is neither True nor False"
    rate = keras_hooks.learning_rate(model.optimizer)
    if callable(rate) and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return "the learning rate is a Python function"
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return "the callbacks are a CallbackList"
    for callback in keras.tree.flatten(callbacks) if callbacks else []:
        hook = _batch_hook(callback)
        if hook is not None:
            return f"{type(callback).__name__} has {hook}, which wants to run after every batch"
    return None


def _keras_setting(model: Any) -> str | None:
    import keras

    if model.run_eagerly:
        return "the model was compiled with run_eagerly=True"
    if any(hasattr(keras.config, name) and getattr(keras.config, name)() for name in _LIMITS):
        return "Keras is set to stop after so many epochs or steps"
    return None


def _missing_private_name(model: Any) -> str | None:
    import keras

    backend = keras.backend.backend()
    hooks = importlib.import_module(f"mnistkit.training.{backend}.hooks")
    return keras_hooks.missing(model, backend=backend) or first_missing(hooks.HOOKS)


def _overrides(model: Any, name: str) -> bool:
    import keras

    return name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name)


def _batch_hook(callback: Any) -> str | None:
    """Return the name of a callback's method that must run after every batch, or None."""
    import keras

    of_keras = keras.callbacks
    savers = (of_keras.ModelCheckpoint, of_keras.BackupAndRestore)
    if isinstance(callback, savers) and callback.save_freq != "epoch":
        return f"save_freq={callback.save_freq}"
    # these have batch hooks, which only show progress, or do nothing unless asked to save every so many batches
    harmless = (of_keras.Callback, of_keras.ProgbarLogger, *savers)
    for name in _BATCH_HOOKS:
        method = getattr(callback, name)
        function = getattr(method, "__func__", method)
        if all(function is not getattr(kind, name) for kind in harmless):
            return name
    return None
