"""The fast trainer: ``model.fit`` with many steps in one compiled or replayed program.

    from mnistkit import fit
    history = fit(model, x, y, epochs=2, batch_size=32, seed=0)

It trains any compiled Keras 3 model on arrays, data sets, loaders and generators. What it cannot compile goes to
``model.fit`` or is done by Keras' own steps, with one line on stderr that gives the reason.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Literal

from mnistkit.core.errors import InputError
from mnistkit.training.distributed import connect
from mnistkit.training.on_ray import ray_trainer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from types import ModuleType

    from mnistkit.training.distributed import Group

__all__ = ["connect", "fit", "ray_trainer"]


def fit(  # noqa: PLR0917 - the arguments of model.fit, in its order
    model: Any,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: int | Literal["auto"] = "auto",
    callbacks: Sequence[Any] | None = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,  # noqa: FBT001, FBT002 - as above
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int | Collection[int] = 1,
    *,
    seed: int | None = None,
) -> Any:
    """Train a compiled Keras model as ``model.fit`` does, only faster.

    The arguments are those of ``model.fit``, in the same order and with the same meaning, and ``seed``. Differences:

    - The order of the samples comes from ``seed`` (``mnistkit.training.order.epoch_order``). It is the same on every
      backend. A run with ``initial_epoch`` has the order that these epochs have in one long run. Dropout and other
      random layers draw from Keras' own seed generators, which differ from backend to backend.
    - The progress bar moves a few times a second, not after every batch.
    - Ctrl-C takes effect between two chunks of steps. The model is then as after the last finished chunk.
    - Changes that callbacks make between epochs take effect in the next epoch: weights, optimizer state, learning
      rate, ``stop_training``, another ``compile``. A changed Python attribute of a layer (a dropout rate) takes
      effect in the next epoch under PyTorch and at the next ``compile`` elsewhere, as in ``model.fit``.
    - Arrays that a callback changes in place count in the next epoch, on every backend. ``model.fit`` does not see such
      a change under TensorFlow.

    Where a launcher started several processes (see `connect`), they train one model together: every process calls this
    with the same arguments, and ``batch_size`` counts the samples of all of them. What cannot be trained so is refused.

    Args:
        model: compiled Keras 3 model, built or not.
        x: array of shape (n, ...), or a list, tuple or dict of such arrays for several inputs. Arrays larger than
            memory (``np.memmap``, objects with ``shape``, ``dtype`` and ``array[rows]``) are read piece by piece. Or
            what gives batches: a ``tf.data.Dataset``, a ``torch.utils.data.DataLoader``, a
            ``keras.utils.PyDataset``, a generator or another iterator; a thread reads them ahead.
        y: targets in the same way, or None where the model needs none or ``x`` gives batches.
        batch_size: samples in a batch; the last batch of an epoch holds what is left. None is 32.
        epochs: number of the epoch to stop before.
        verbose: 0 silent, 1 progress bar, 2 one line an epoch, "auto" is 1.
        callbacks: Keras callbacks. Methods for every batch run after every step, or, where the callback has an
            attribute ``batch_hook_interval``, at least after every so many.
        validation_split: share of the samples, from the end, to set apart as validation data.
        validation_data: ``(x, y)`` or ``(x, y, sample_weight)``, or what gives batches, evaluated after each epoch.
        shuffle: whether to draw a new order for each epoch.
        class_weight: weight of each class label; one output only.
        sample_weight: array of shape (n,), or one array per output.
        initial_epoch: number of the first epoch.
        steps_per_epoch: batches of an epoch; with arrays, sends the run to ``model.fit``.
        validation_steps: batches of an evaluation; with arrays, sends the run to ``model.fit``.
        validation_batch_size: samples in a batch of validation data; None is ``batch_size``.
        validation_freq: validate after every so many epochs, or after the epochs of these numbers, from 1.
        seed: integer from 0 up; None takes one from NumPy's global generator, which ``keras.utils.set_random_seed``
            sets.

    Returns:
        The ``keras.callbacks.History`` of the run.

    Raises:
        InputError: an argument that cannot be right, a model that was not compiled, or what several processes cannot
            train together.
        DistributedError: several processes disagree, or one of them went away.
        MissingExtraError: Keras is not installed.
    """
    _keras()
    from mnistkit.training.distributed.support import prepare_callbacks
    from mnistkit.training.keras_hooks import without_own_distribution

    if not getattr(model, "compiled", False):
        raise InputError("the model is not compiled: call model.compile(optimizer=..., loss=...) first")
    batch_size = _integer("batch_size", 32 if batch_size is None else batch_size, least=1)
    epochs = _integer("epochs", epochs, least=0)
    seed = None if seed is None else _integer("seed", seed, least=0)
    if validation_batch_size is not None:
        validation_batch_size = _integer("validation_batch_size", validation_batch_size, least=1)
    if not isinstance(validation_freq, list | tuple | set):
        validation_freq = _integer("validation_freq", validation_freq, least=1)
    options = {
        "batch_size": batch_size,
        "epochs": epochs,
        "verbose": verbose,
        "callbacks": callbacks,
        "validation_split": validation_split,
        "validation_data": validation_data,
        "shuffle": shuffle,
        "class_weight": class_weight,
        "sample_weight": sample_weight,
        "initial_epoch": initial_epoch,
        "steps_per_epoch": steps_per_epoch,
        "validation_steps": validation_steps,
        "validation_batch_size": validation_batch_size,
        "validation_freq": validation_freq,
    }
    group = connect()
    if group is not None:
        options["callbacks"] = prepare_callbacks(callbacks, group)
        options["verbose"] = verbose if group.is_first else 0
    with contextlib.nullcontext() if group is None else without_own_distribution(model):
        return _run(model, x, y, options=options, seed=seed, group=group)


def _run(model: Any, x: Any, y: Any, *, options: dict[str, Any], seed: int | None, group: Group | None) -> Any:
    """Train by programs, or by ``model.fit`` where that cannot be; return the History."""
    from mnistkit.training import fallback
    from mnistkit.training.assemble import CannotCompileError, assemble
    from mnistkit.training.distributed.support import check_supported
    from mnistkit.training.support import unsupported_reason

    keras, callbacks = _keras(), options["callbacks"]
    trees = (x, y, options["sample_weight"], options["validation_data"])
    reason = unsupported_reason(model, trees, callbacks=callbacks, shuffle=options["shuffle"], options=options)
    if group is not None:
        check_supported(model, trees, group=group, batch_size=options["batch_size"], reason=reason)
    run = None
    if reason is None:
        try:
            run = assemble(model, x, y, options=options, seed=seed, group=group)
        except CannotCompileError as error:
            reason = f"{keras.backend.backend()} cannot compile it ({fallback.cause(error.__cause__ or error)})"
            if group is not None:
                check_supported(model, trees, group=group, batch_size=options["batch_size"], reason=reason)
    if run is None:
        assert reason is not None
        return fallback.run(model, x, y, options=options, seed=seed, reason=reason)
    run.epochs(
        keras.callbacks.CallbackList(
            keras.tree.flatten(callbacks) if callbacks else [],
            add_history=True,
            add_progbar=options["verbose"] != 0,
            model=model,
            verbose=options["verbose"],
            epochs=options["epochs"],
            steps=run.training.num_batches,
        ),
        initial_epoch=options["initial_epoch"],
        epochs=options["epochs"],
    )
    return model.history


def _keras() -> ModuleType:
    """Return Keras with the backend that it is loaded with, or load it."""
    if "keras" in sys.modules:
        return sys.modules["keras"]
    from mnistkit.core.keras_backend import load_keras

    return load_keras()


def _integer(name: str, value: Any, *, least: int) -> int:
    import numpy as np

    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}: give an integer from {least} up")
    return int(value)
