"""Private names of Keras' data adapters: from where each takes the batches of its source.

``model.fit`` makes an adapter of each source. It has an iterator over the batches for each backend, which this module
can also let run on other batches: so a batch is converted, checked and refused as ``model.fit`` does it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from mnistkit.training.hook import Hook

if TYPE_CHECKING:
    from collections.abc import Iterator

_PURPOSE = "take batches as the source gives them"
_PLACES = {  # of the iterator, or of what returns it
    "GeneratorDataAdapter": "generator",
    "PyDatasetAdapter": "_get_iterator",
    "TFDatasetAdapter": "_dataset",
    "TorchDataLoaderAdapter": "_dataloader",
}
_SIGNATURE = "_output_signature"
_RETURNED = {"GeneratorDataAdapter", "PyDatasetAdapter"}  # by a function
_OWN = {"tensorflow": "TFDatasetAdapter", "torch": "TorchDataLoaderAdapter"}  # sources that a backend takes as they are

HOOKS = (
    Hook(
        ("keras.src.trainers.data_adapters.py_dataset_adapter:PyDatasetAdapter._get_iterator",),
        _PURPOSE,
        required=False,
    ),
)


def is_own(adapter: Any, *, backend: str) -> bool:
    """Tell whether a step of Keras gets the batches of a source as they are."""
    return _OWN.get(backend) == type(adapter).__name__


def gives_tuples(adapter: Any, *, backend: str) -> bool:
    """Tell whether Keras makes a tuple of each batch of a source."""
    return type(adapter).__name__ == "TorchDataLoaderAdapter" and backend != "torch"


def raw_iterator(adapter: Any) -> Iterator[Any] | None:
    """Return an iterator over the batches of a source that asks for none yet, or None where the place is not known."""
    kind = type(adapter).__name__
    place = getattr(adapter, _PLACES.get(kind, ""), None)
    if place is None:
        return None
    if kind in _RETURNED:
        batches: Iterator[Any] = iter(place())
        return batches
    return _batches_of(place)


def keras_iterator(adapter: Any, batches: Iterator[Any], *, backend: str) -> Iterator[Any]:
    """Return what Keras makes of batches that stand in the place of those of a source."""
    kind, other = type(adapter).__name__, copy.copy(adapter)
    if is_own(adapter, backend=backend):
        return batches
    vars(other)[_PLACES[kind]] = (lambda: batches) if kind in _RETURNED else batches
    if backend == "tensorflow":
        return iter(other.get_tf_dataset())
    if backend == "torch":
        return iter(other.get_torch_dataloader().dataset)  # an iterator of the loader would draw a random number
    return iter(other.get_jax_iterator())


def signature(adapter: Any) -> Any:
    """Return the ``TensorSpec`` of each leaf of a batch, as TensorFlow reads the source; None where that is unknown."""
    return getattr(adapter, _SIGNATURE, None)


def _batches_of(source: Any) -> Iterator[Any]:
    """Begin with a source when a batch is asked for, as Keras does: it may draw random numbers there."""
    yield from source
