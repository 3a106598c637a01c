"""What several processes can train together, and what is refused because it would come out differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.training import keras_hooks
from mnistkit.training.own_steps import own_methods
from mnistkit.training.pytree import is_stored, tree_leaves
from mnistkit.training.source_kinds import is_source

if TYPE_CHECKING:
    from mnistkit.training.distributed.group import Group
    from mnistkit.training.pytree import PyTree

_WRITERS = ("ModelCheckpoint", "CSVLogger", "TensorBoard", "RemoteMonitor", "OrbaxCheckpoint")
_MEANS = ("sum_over_batch_size", "mean")


def prepare_callbacks(callbacks: Any, group: Group) -> list[Any] | None:
    """Return the callbacks that run in this process: those that write files run in process 0 alone.

    Raises:
        InputError: A callback cannot work in one process of several.
    """
    import keras

    flat: list[Any] = keras.tree.flatten(callbacks) if callbacks else []
    for callback in flat:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise InputError(
                "BackupAndRestore would restore each process by itself; use ModelCheckpoint, and load the model in all"
            )
    return [one for one in flat if group.is_first or not _writes(one)] or None


def check_supported(model: Any, trees: PyTree, *, group: Group, batch_size: int, reason: str | None) -> None:
    """Refuse what several processes would train otherwise than one.

    Args:
        model: compiled Keras model.
        trees: x, y, sample weights and validation data.
        group: the processes.
        batch_size: samples in a batch of all processes together.
        reason: why a run of one process would go to ``model.fit``, or None.

    Raises:
        InputError: With what to do instead.
    """
    import keras

    together = f"{group.count} processes cannot train this together"
    x = trees[0]
    if is_source(x) or is_source(trees[3]):
        raise InputError(f"{together}: the data come batch by batch; give arrays, the same to every process")
    if any(is_stored(leaf) for leaf in tree_leaves(trees)):
        raise InputError(f"{together}: the arrays are not in memory; read them with numpy.asarray first")
    own = own_methods(model)
    if reason is None and own:
        reason = f"{type(model).__name__} has its own {own[0]}"
    if reason is not None:
        raise InputError(f"{together}, because {reason}, and model.fit would train each alone; change that")
    samples = min((len(leaf) for leaf in tree_leaves(x)), default=0)
    if batch_size < group.count:
        raise InputError(
            f"{together}: batch_size is {batch_size}, less than a sample for each; it counts the samples of all "
            f"processes, so give {group.count} or more, or start fewer processes"
        )
    if samples < batch_size:
        raise InputError(
            f"{together}: there are {samples} samples, less than one batch of {batch_size}; give a smaller batch_size, "
            "or train in one process"
        )
    if keras.backend.backend() != "jax":
        _check_sums(model, x, together)


def _check_sums(model: Any, x: PyTree, together: str) -> None:
    """Refuse what is no sum over samples, where each process computes its share by itself."""
    import keras

    cure = "KERAS_BACKEND=jax computes it over all processes"
    for layer in keras_hooks.flatten_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            raise InputError(
                f"{together}: {layer.name} normalizes by the mean of a batch, of which each process has a part; "
                f"{cure}, or use GroupNormalization"
            )
    for loss in _losses(model):
        reduction = getattr(loss, "reduction", _MEANS[0])
        if reduction not in _MEANS:
            raise InputError(f"{together}: a loss has reduction={reduction!r}; use {_MEANS[0]!r}, or {cure}")
    for variable in model.metrics_variables:
        how = getattr(variable, "aggregation", "sum")
        if how != "sum":
            raise InputError(f"{together}: the metric variable {variable.path} has aggregation={how!r}; {cure}")
    if _has_masked_output(model, x):
        raise InputError(f"{together}: the loss is a mean over unmasked steps, which are unequally many; {cure}")


def _losses(model: Any) -> list[Any]:
    import keras

    given = keras.tree.flatten(model.loss) if model.loss is not None else []
    return [keras.losses.get(one) if isinstance(one, str) else one for one in given if one is not None]


def _has_masked_output(model: Any, x: PyTree) -> bool:
    import keras

    first = keras.tree.map_structure(lambda leaf: keras.ops.convert_to_tensor(np.asarray(leaf)[:1]), x)
    outputs = model(first, training=False)
    return any(getattr(one, "_keras_mask", None) is not None for one in keras.tree.flatten(outputs))


def _writes(callback: Any) -> bool:
    kinds = {kind.__name__ for kind in type(callback).__mro__ if kind.__module__.startswith("keras")}
    return bool(kinds & set(_WRITERS)) or type(callback).__module__.startswith("mnistkit.export")
