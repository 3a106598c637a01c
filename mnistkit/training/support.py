"""What the engine can compile, and the reason when it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.training.pytree import is_in_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnistkit.training.pytree import Nest

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_TEST_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
_OWN_STEPS = ("fit", "train_step", "test_step", "make_train_function", "compute_metrics")


def why_not(model: Any, nests: Nest, *, callbacks: Sequence[Any] | None, shuffle: Any) -> str | None:
    """Return why this run must go to ``model.fit``, in a few words, or None when the engine can take it."""
    import keras

    if not is_in_memory(nests):
        return "the data are not dense numeric arrays in memory"
    if model.run_eagerly:
        return "the model was compiled with run_eagerly=True"
    own = [name for name in _OWN_STEPS if _overrides(model, name)]
    if own:
        return f"{type(model).__name__} has its own {own[0]}"
    if keras.distribution.distribution() is not None or getattr(model, "_distribute_strategy", None) is not None:
        return "the model is distributed over devices"
    if shuffle not in (True, False):
        return f"shuffle={shuffle!r} is neither True nor False"
    rate = getattr(model.optimizer, "_learning_rate", None)
    if callable(rate) and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return "the learning rate is a Python function"
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return "the callbacks are a CallbackList"
    for callback in keras.tree.flatten(callbacks) if callbacks else []:
        hook = _batch_hook(callback)
        if hook is not None:
            return f"{type(callback).__name__} has {hook}, which wants to run after every batch"
    return None


def _overrides(model: Any, name: str) -> bool:
    import keras

    return name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name)


def _batch_hook(callback: Any) -> str | None:
    import keras

    if isinstance(callback, keras.callbacks.ProgbarLogger):
        return None
    if isinstance(callback, keras.callbacks.ModelCheckpoint | keras.callbacks.BackupAndRestore):
        # they have a batch hook, which does nothing unless asked to save every so many batches
        return None if callback.save_freq == "epoch" else f"save_freq={callback.save_freq}"
    return next((name for name in _BATCH_HOOKS + _TEST_HOOKS if not _is_default(callback, name)), None)


def _is_default(callback: Any, name: str) -> bool:
    import keras

    method = getattr(callback, name)
    return getattr(method, "__func__", method) is getattr(keras.callbacks.Callback, name)
