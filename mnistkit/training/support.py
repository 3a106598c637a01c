"""Which runs the trainer takes, and the reason when it does not."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mnistkit.core.keras_backend import BACKENDS
from mnistkit.training import keras_hooks
from mnistkit.training.batch_hooks import batch_hook
from mnistkit.training.hook import first_missing
from mnistkit.training.own_steps import overrides
from mnistkit.training.pytree import is_in_memory
from mnistkit.training.source_kinds import is_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnistkit.training.pytree import PyTree

_OWN_LOOPS = ("fit", "evaluate", "make_train_function", "make_test_function")
_LIMITS = ("max_epochs", "max_steps_per_epoch")  # for debugging; older versions of Keras lack them
_STEP_COUNTS = ("steps_per_epoch", "validation_steps")


def unsupported_reason(
    model: Any, trees: PyTree, *, callbacks: Sequence[Any] | None, shuffle: Any, options: Mapping[str, Any]
) -> str | None:
    """Return why a run must go to ``model.fit``, in a few words, or None when the trainer can take it.

    Args:
        model: compiled Keras model.
        trees: x, y, sample weights and validation data of the run.
        callbacks: as ``fit`` takes them.
        shuffle: as ``fit`` takes it.
        options: the remaining arguments of ``fit``.
    """
    import keras

    backend = keras.backend.backend()
    if backend not in BACKENDS:
        return f"the trainer does not support the Keras backend {backend}"
    missing = _missing_private_name(model)
    if missing is not None:
        return missing
    of_data = _data_reason(trees, backend=backend, options=options)
    if of_data is not None:
        return of_data
    setting = _keras_setting(model)
    if setting is not None:
        return setting
    own = [name for name in _OWN_LOOPS if overrides(model, name)]
    if own:
        return f"{type(model).__name__} has its own {own[0]}"
    if keras.distribution.distribution() is not None or keras_hooks.has_strategy(model):
        return "the model is distributed over devices"
    if shuffle not in (True, False):
        return f"shuffle={shuffle!r} is neither True nor False"
    rate = keras_hooks.learning_rate(model.optimizer)
    if callable(rate) and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return "the learning rate is a Python function"
    return _callback_reason(model, callbacks)


def _data_reason(trees: PyTree, *, backend: str, options: Mapping[str, Any]) -> str | None:
    x, y, sample_weight, validation = trees
    sources = {"steps_per_epoch": is_source(x), "validation_steps": is_source(validation)}
    if any(sources.values()) and not keras_hooks.has_epoch_iterator(backend):
        return "this version of Keras takes its batches from elsewhere"
    if sources["steps_per_epoch"] and options.get("validation_split"):
        return "validation_split was given, which needs arrays"
    arrays = ((None if sources["steps_per_epoch"] else x), y, sample_weight)
    if not is_in_memory(arrays) or not (sources["validation_steps"] or is_in_memory(validation)):
        return "the data are neither dense numeric arrays nor batches of them"
    counts = [name for name in _STEP_COUNTS if options.get(name) is not None and not sources[name]]
    return f"{counts[0]} was given" if counts else None


def _callback_reason(model: Any, callbacks: Any) -> str | None:
    import keras

    if isinstance(callbacks, keras.callbacks.CallbackList):
        return "the callbacks are a CallbackList"
    if model.steps_per_execution == 1:
        return None
    for callback in keras.tree.flatten(callbacks) if callbacks else []:
        hook = batch_hook(callback)
        if hook is not None:
            return f"{type(callback).__name__} has {hook}, and the model has steps_per_execution"
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
