"""The batches of a source as it gives them, past what Keras puts between a source and a step.

Keras brings batches to a step through a loader of PyTorch, a data set of TensorFlow or a conversion of each array. That
costs more than the step of a small model. Arrays whose values these would not change are taken as the source gives
them. From the first batch on that holds anything else, and where the source raises an error, the rest of the iterator
goes through Keras.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mnistkit.training.adapters import hooks
from mnistkit.training.pytree import structure_of, tree_leaves, tree_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree

_PLAIN = {
    np.dtype(name)  # in this machine's byte order: every framework has them
    for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
}


class Batch(NamedTuple):
    """A batch of a source.

    Attributes:
        arrays: The batch with an array for each leaf, on the source's own memory; None where Keras makes its tensors.
        by_keras: What Keras makes of it: of the arrays only when it is called.
    """

    arrays: PyTree
    by_keras: Callable[[], Any]


class RawBatches:
    """Iterates over the batches of a source.

    Args:
        adapter: Keras' own, of the source.
        backend: the Keras backend.
        get_iterator: makes what Keras reads the source with.
    """

    def __init__(self, adapter: Any, *, backend: str, get_iterator: Callable[[], Any]) -> None:
        self._adapter, self._backend = adapter, backend
        self._is_own = hooks.is_own(adapter, backend=backend)
        self._gives_tuples = hooks.gives_tuples(adapter, backend=backend)
        self._by_keras: Iterator[Any] | None = None
        raw = None if self._is_own else hooks.raw_iterator(adapter)
        if self._is_own:
            raw = iter(get_iterator())
        elif raw is None:
            self._by_keras = iter(get_iterator())
        elif backend == "torch":
            iter(get_iterator())  # a loader draws a random number
        self._raw: Iterator[Any] = iter(()) if raw is None else raw
        self._specs = None
        if backend == "tensorflow" and not self._is_own:
            self._specs = _specs(hooks.signature(adapter))

    def __iter__(self) -> RawBatches:
        return self

    def __next__(self) -> Batch:
        if self._by_keras is None:
            raw, arrays = self._next()
            if arrays is not None:
                return Batch(arrays, lambda: raw if self._is_own else self._converted(arrays))
        assert self._by_keras is not None
        batch = next(self._by_keras)
        return Batch(None, lambda: batch)

    def _next(self) -> tuple[Any, PyTree]:
        """Return a batch and its arrays, or None for them and let Keras go on with it."""
        try:
            raw = next(self._raw)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - Keras gives it the type that model.fit raises
            self._go_on_by_keras(_raising(error))
            return None, None
        arrays = self._arrays(raw)
        if arrays is None:
            self._go_on_by_keras(itertools.chain([raw], self._raw))
        return raw, arrays

    def _go_on_by_keras(self, batches: Iterator[Any]) -> None:
        self._by_keras = hooks.keras_iterator(self._adapter, batches, backend=self._backend)

    def _arrays(self, raw: Any) -> PyTree:
        if self._gives_tuples:
            if type(raw) not in {tuple, list}:
                return None
            raw = tuple(raw)
        try:
            arrays = _map(raw, _array)
        except _OtherError:
            return None
        if self._backend == "tensorflow" and not self._is_own and not _fits(arrays, self._specs):
            return None
        return arrays

    def _converted(self, arrays: PyTree) -> PyTree:
        """Return what Keras makes of arrays; a copy, because a source may fill its arrays again."""
        import keras

        return tree_map(np.array if self._backend == "jax" else keras.ops.convert_to_tensor, arrays)


class _OtherError(Exception):
    """A leaf or a container that Keras treats in a way of its own."""


def _map(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to the leaves of plain containers."""
    kind = type(tree)
    if tree is None:
        return None
    if kind is tuple or kind is list:
        return kind([_map(part, function) for part in tree])
    if kind is dict:
        return {name: _map(part, function) for name, part in tree.items()}
    return function(tree)


def _array(leaf: Any) -> npt.NDArray[Any]:
    """Return an array on the memory of a leaf, if it has the values that every conversion would give."""
    kind = type(leaf)
    if kind is not np.ndarray and kind is not np.memmap:
        try:
            leaf = _array_on(leaf)
        except Exception as error:  # whatever a framework raises for a tensor that NumPy cannot have
            raise _OtherError from error
    if leaf is None or leaf.ndim == 0 or leaf.dtype not in _PLAIN:
        raise _OtherError
    array: npt.NDArray[Any] = leaf
    return array


def _array_on(tensor: Any) -> npt.NDArray[Any] | None:
    """Return an array on the memory of a dense tensor of PyTorch or TensorFlow; raise or return None for others."""
    kind = type(tensor)
    if kind.__name__ == "EagerTensor":
        return np.asarray(memoryview(tensor))
    if kind.__module__ == "torch" and kind.__name__ == "Tensor":
        array: npt.NDArray[Any] = tensor.numpy()
        return array
    return None


class _Specs(NamedTuple):
    structure: Any
    leaves: list[tuple[np.dtype[Any], list[int | None]]]  # type and shape


def _specs(signature: Any) -> _Specs | None:
    import keras

    try:
        leaves = [(np.dtype(leaf.dtype.as_numpy_dtype), leaf.shape.as_list()) for leaf in keras.tree.flatten(signature)]
    except (AttributeError, TypeError, ValueError):  # no dense tensors, or none of known shapes
        return None
    return _Specs(structure_of(signature), leaves)


def _fits(arrays: PyTree, specs: _Specs | None) -> bool:
    """Tell whether TensorFlow takes a batch for one like those from which it made the signature."""
    if specs is None or structure_of(arrays) != specs.structure:
        return False
    return all(
        leaf.dtype == dtype
        and len(leaf.shape) == len(shape)
        and all(size is None or size == given for size, given in zip(shape, leaf.shape, strict=True))
        for leaf, (dtype, shape) in zip(tree_leaves(arrays), specs.leaves, strict=True)
    )


def _raising(error: Exception) -> Iterator[Any]:
    yield from ()
    raise error
