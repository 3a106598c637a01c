"""The fast trainer: the learning of ``model.fit`` with the epoch inside one compiled or replayed program.

    from mnistkit import fit
    history = fit(model, x, y, epochs=2, batch_size=32, seed=0)

It takes any compiled Keras 3 model and arrays that fit in memory; what it cannot compile goes to ``model.fit``, with
one line on stderr that says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["fit"]


def fit(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    epochs: int = 1,
    batch_size: int | None = 32,
    validation_data: Any = None,
    validation_split: float = 0.0,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    callbacks: Sequence[Any] | None = None,
    shuffle: bool = True,
    initial_epoch: int = 0,
    verbose: int | str = "auto",
    seed: int | None = None,
) -> Any:
    """Train a compiled Keras model as ``model.fit`` does, only faster.

    The arguments mean what they mean in ``model.fit``. The differences:

    - The order of the samples comes from ``seed`` (``mnistkit.training.order.epoch_order``): the same on every backend,
      and with ``initial_epoch`` the order the epoch would have had in one long run. Dropout and other random layers
      draw from Keras' own seed generators, which differ from backend to backend.
    - The progress bar moves a few times a second, not after every batch.
    - Ctrl-C takes effect between two stretches of steps; the model is then as after the last finished one.
    - What callbacks change between epochs counts from then on: weights, optimizer state, learning rate,
      ``stop_training``, another ``compile``. A changed Python attribute of a layer (a dropout rate) does not, until
      the next ``compile``, as in any compiled Keras function.

    Args:
        model: compiled Keras 3 model, built or not.
        x: array of shape (n, ...), or a list, tuple or dict of such arrays for several inputs.
        y: targets in the same way, or None where the model needs none.
        epochs: number of the epoch to stop before.
        batch_size: samples in a batch; the last batch of an epoch holds what is left. None is 32.
        validation_data: ``(x, y)`` or ``(x, y, sample_weight)``, evaluated after each epoch.
        validation_split: share of the samples, from the end, to set apart as validation data.
        class_weight: weight of each class label; one output only.
        sample_weight: array of shape (n,), or one array per output.
        callbacks: Keras callbacks; those that want to run after every batch make the run fall back.
        shuffle: whether to draw a new order for each epoch.
        initial_epoch: number of the first epoch.
        verbose: 0 silent, 1 progress bar, 2 one line an epoch, "auto" is 1.
        seed: integer from 0 up; None takes one from NumPy's global generator, which ``keras.utils.set_random_seed``
            sets.

    Returns:
        The ``keras.callbacks.History`` of the run.

    Raises:
        InputError: an argument that cannot be right, or a model that was not compiled.
    """
    import keras
    import numpy as np

    from mnistkit.training import fallback
    from mnistkit.training import pytree as arrays
    from mnistkit.training.loop import Run
    from mnistkit.training.programs import Programs
    from mnistkit.training.support import why_not

    if not getattr(model, "compiled", False):
        raise InputError("the model is not compiled: call model.compile(optimizer=..., loss=...) first")
    batch_size = 32 if batch_size is None else batch_size  # as model.fit
    for name, value, least in (("batch_size", batch_size, 1), ("epochs", epochs, 0), ("seed", seed, 0)):
        if name == "seed" and seed is None:
            continue
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise InputError(f"{name} is {value!r}: give an integer from {least} up")
    options = {
        "epochs": epochs,
        "batch_size": batch_size,
        "validation_data": validation_data,
        "validation_split": validation_split,
        "class_weight": class_weight,
        "sample_weight": sample_weight,
        "callbacks": callbacks,
        "shuffle": shuffle,
        "initial_epoch": initial_epoch,
        "verbose": verbose,
    }
    reason = why_not(model, (x, y, sample_weight, validation_data), callbacks=callbacks, shuffle=shuffle)
    if reason is not None:
        return fallback.run(model, x, y, options=options, seed=seed, reason=reason)

    training = arrays.gather(x, y, sample_weight=sample_weight, class_weight=class_weight)
    validation = None
    if validation_data is not None:
        val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(validation_data)
        validation = arrays.gather(val_x, val_y, sample_weight=val_weight, class_weight=None)
    elif validation_split:
        training, validation = arrays.split(training, fraction=validation_split)
    programs = Programs(model, batch_size=batch_size, training=training, validation=validation)
    try:
        programs.get(training=True, epoch=initial_epoch)
        if validation is not None:
            programs.get(training=False, epoch=initial_epoch)
    except Exception as error:  # noqa: BLE001 - whatever a framework raises, model.fit is the judge of the model
        reason = f"{keras.backend.backend()} cannot compile it ({fallback.cause(error)})"
        return fallback.run(model, x, y, options=options, seed=seed, reason=reason)
    if seed is None:
        seed = int(np.random.randint(2**31 - 1))  # noqa: NPY002 - the generator that keras.utils.set_random_seed sets
    run = Run(model, programs, training, validation, batch_size=batch_size, shuffle=shuffle, seed=seed)
    run.epochs(
        keras.callbacks.CallbackList(
            keras.tree.flatten(callbacks) if callbacks else [],
            add_history=True,
            add_progbar=verbose != 0,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=-(-training.n // batch_size),
        ),
        initial_epoch=initial_epoch,
        epochs=epochs,
    )
    return model.history
