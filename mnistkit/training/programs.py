"""The compiled programs of a model: made when needed, kept for the next call, made anew when the model has changed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

from mnistkit.training import keras_hooks
from mnistkit.training.pytree import tree_leaves, tree_map

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnistkit.training.pytree import Arrays, PyTree

_ATTRIBUTE = "_mnistkit_programs"
COMPILE_REST_FROM = 10
"""Epoch from which the smaller last batch of each epoch has a program of its own.

Before that, Keras' own step does this one batch, where the backend has such a step: making the program takes as long as
it saves in many epochs. The number of the epoch decides, not a clock, so that two runs compute the same.
"""


class Program(Protocol):
    """What each backend's ``Program`` does."""

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Get ready for batches of ``size``; leave the model as it is."""

    def compile_rest(self, data: PyTree, n: int, *, size: int, epoch: int) -> None:
        """Get ready for the last batch of each epoch, of ``size``, if that is worth it in this epoch."""

    def run(self, data: PyTree, order: npt.NDArray[np.int64], *, start: int, steps: int, size: int) -> None:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""


class Programs:
    """The train and test program of one call of ``fit``, with its data on the device.

    Programs are kept on the model, as Keras keeps its train function: a second call with arrays of the same shapes
    compiles nothing.

    Args:
        model: compiled Keras model.
        batch_size: samples in a batch.
        validation_batch_size: the same for the validation arrays.
        training: training arrays.
        validation: validation arrays, or None.
    """

    def __init__(
        self,
        model: Any,
        *,
        batch_size: int,
        validation_batch_size: int,
        training: Arrays,
        validation: Arrays | None,
    ) -> None:
        import keras

        self._model = model
        self._batch_sizes = {True: batch_size, False: validation_batch_size}
        self._backend = importlib.import_module(f"mnistkit.training.{keras.backend.backend()}.program")
        self._arrays = {True: training, False: validation}
        self._on_device: dict[bool, PyTree] = {}
        self._store: _Store = vars(model).setdefault(_ATTRIBUTE, _Store())  # past Keras' attribute tracking

    def get(self, *, training: bool, epoch: int) -> tuple[Program, PyTree]:
        """Return the program for the model as it is now, and the data to run it on."""
        arrays = self._arrays[training]
        assert arrays is not None
        if training not in self._on_device:
            self._on_device[training] = self._backend.to_device(arrays.tree)
        on_device = self._on_device[training]
        size = min(self._batch_sizes[training], arrays.n)
        self._build()
        key = (training, size, *_layout(arrays))
        current = _state_of(self._model)
        known = self._store.entries.get(key)
        if known is None or not _same(known[0], current):
            program = self._backend.Program(self._model, training=training)
            program.compile(on_device, arrays.n, size=size)
            known = self._store.entries[key] = (current, program)
        if arrays.n % size:
            known[1].compile_rest(on_device, arrays.n, size=arrays.n % size, epoch=epoch)
        return known[1], on_device

    def _build(self) -> None:
        """Create the variables that are missing, as ``model.fit`` does; a callback may have compiled anew."""
        arrays = self._arrays[True]
        assert arrays is not None
        keras_hooks.build(self._model, tree_map(lambda leaf: leaf[: self._batch_sizes[True]], arrays.tree))


class _Store:
    """Opaque to Keras, which would track, save and copy a plain dict."""

    def __init__(self) -> None:
        self.entries: dict[Any, tuple[list[Any], Program]] = {}

    def __deepcopy__(self, _memo: Any) -> _Store:
        return _Store()

    def __reduce__(self) -> Any:
        return _Store, ()


def _layout(arrays: Arrays) -> tuple[Any, ...]:
    structure = repr(tree_map(lambda _: 0, arrays.tree))
    return (structure, *((leaf.shape, leaf.dtype.str) for leaf in tree_leaves(arrays.tree)))


def _state_of(model: Any) -> list[Any]:
    """List what a compiled step depends on beside its inputs: variables, what compile() sets, constants."""
    optimizer = model.optimizer
    numbers = {k: v for k, v in vars(optimizer).items() if isinstance(v, int | float | str | bool | None)}
    lists = [model.trainable_variables, model.non_trainable_variables, model.metrics_variables, optimizer.variables]
    return [*keras_hooks.compiled_parts(model), numbers, *(list(variables) for variables in lists)]


def _same(old: list[Any], new: list[Any]) -> bool:
    # variables overload ==, so they are told apart by identity; the lists keep them alive, so no address is used twice
    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
        return bool(a == b) if isinstance(a, dict) else a is b

    return all(equal(a, b) for a, b in zip(old, new, strict=True))
