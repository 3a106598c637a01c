"""The arrays of a training run: nested as the model takes them, checked, and weighted.

A nest is None, an array, or a list, tuple or dict of nests. Data travel as one nest ``(x, y, sample_weight)``, which is
what a Keras train step unpacks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Nest = Any


@dataclass(frozen=True, slots=True)
class Arrays:
    """Samples in memory.

    Attributes:
        nest: ``(x, y, sample_weight)``; each leaf has the samples along axis 0.
        n: number of samples.
    """

    nest: Nest
    n: int


def gather(x: Nest, y: Nest, *, sample_weight: Nest, class_weight: Mapping[int, float] | None) -> Arrays:
    """Check the arrays and turn class weights into sample weights, as ``model.fit`` does.

    Floating-point arrays become ``keras.config.floatx()``.

    Raises:
        InputError: no samples, different numbers of samples, both kinds of weights, or class weights for
            several outputs.
    """
    x, y, sample_weight = (map_nest(_as_array, nest) for nest in (x, y, sample_weight))
    nested_y = isinstance(y, list | tuple | dict)
    if class_weight is not None:
        if sample_weight is not None:
            raise InputError("class_weight and sample_weight were both given: multiply them into sample_weight")
        if nested_y or y is None:
            raise InputError("class_weight needs one array of labels: give sample_weight, one array per output")
        sample_weight = _per_sample(y, class_weight)
    elif sample_weight is not None and nested_y and not isinstance(sample_weight, list | tuple | dict):
        weight = sample_weight
        sample_weight = map_nest(lambda _: weight, y)
    sizes = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves((x, y, sample_weight))}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(
            f"x, y and sample_weight must hold the same number of samples, at least 1; got {sorted(sizes)}"
        )
    return Arrays(nest=(x, y, sample_weight), n=sizes.pop())


def split(data: Arrays, *, fraction: float) -> tuple[Arrays, Arrays]:
    """Set the last ``fraction`` of the samples apart, as ``validation_split`` of ``model.fit`` does.

    Raises:
        InputError: a fraction that leaves one side empty.
    """
    at = math.floor(data.n * (1.0 - fraction))
    if not 0 < at < data.n:
        raise InputError(f"validation_split={fraction} of {data.n} samples leaves one side empty: choose another")
    return (
        Arrays(nest=map_nest(lambda leaf: leaf[:at], data.nest), n=at),
        Arrays(nest=map_nest(lambda leaf: leaf[at:], data.nest), n=data.n - at),
    )


def map_nest(function: Callable[[Any], Any], nest: Nest) -> Nest:
    """Apply a function to every array of a nest and keep the shape of the nest; None stays None."""
    if nest is None:
        return None
    if isinstance(nest, dict):
        return {key: map_nest(function, value) for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        return type(nest)(map_nest(function, value) for value in nest)
    return function(nest)


def leaves(nest: Nest) -> list[Any]:
    """Return the arrays of a nest from left to right, without the Nones."""
    found: list[Any] = []
    map_nest(found.append, nest)
    return found


def is_in_memory(nest: Nest) -> bool:
    """Tell whether every leaf is a dense numeric array in memory: no generator, text or sparse matrix."""
    return all(_is_array(leaf) for leaf in leaves(nest))


def _is_array(leaf: Any) -> bool:
    if not (hasattr(leaf, "__array__") and hasattr(leaf, "shape")):
        return False
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind in "fiub"
    return type(leaf).__module__.split(".")[0] != "scipy"


def _as_array(leaf: Any) -> np.ndarray[Any, Any]:
    import keras

    is_series = not isinstance(leaf, np.ndarray) and hasattr(leaf, "to_numpy") and leaf.ndim == 1
    array = leaf if isinstance(leaf, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(leaf))
    if is_series:
        array = array[:, None]  # Keras reads a pandas column as (n, 1)
    if array.dtype.kind == "f" and array.dtype.name != keras.config.floatx():
        array = array.astype(keras.config.floatx())
    return array


def _per_sample(y: np.ndarray[Any, Any], class_weight: Mapping[int, float]) -> np.ndarray[Any, Any]:
    import keras

    if y.ndim > 1:
        y = np.argmax(y, axis=-1) if y.shape[-1] != 1 else y[..., 0]
    labels, inverse = np.unique(np.round(y).astype(np.int64), return_inverse=True)
    weights = np.array([class_weight.get(int(label), 1.0) for label in labels], dtype=keras.config.floatx())
    return weights[inverse.reshape(-1)].reshape(y.shape[:1])
