"""Small questions to the backend itself, for operations that the backends answer differently.

The file of a model answers as the model's own backend does. Which way that is cannot be told from types and shapes, so
the operation is run on a few numbers that tell the ways apart.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np


def ask(function: Any, *args: Any) -> np.ndarray[Any, Any]:
    """Return what the backend answers, as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(function(*(keras.ops.convert_to_tensor(x) for x in args))))


@functools.cache
def integers_are_close_when_equal() -> bool:
    """Say whether ``isclose`` of integers means equality; JAX compares them as floats, with the tolerances."""
    return not bool(ask(keras.ops.isclose, np.asarray([10**6], "int32"), np.asarray([10**6 + 1], "int32"))[0])


@functools.cache
def integers_are_rounded_as_floats() -> bool:
    """Say whether ``round`` takes integers through single precision, in which those above 2^24 change."""
    return bool(ask(keras.ops.round, np.asarray([2**24 + 1], "int32"))[0] != 2**24 + 1)


@functools.cache
def floats_are_single_beside_doubles() -> bool:
    """Say whether a Python number beside a tensor of double precision is rounded to single precision first."""
    return bool(ask(lambda x: keras.ops.multiply(x, 0.1), np.ones(1, "float64"))[0] != 0.1)  # noqa: PLR2004  a tenth has no exact form


_PRODUCTS = {
    "matmul": keras.ops.matmul,
    "dot": keras.ops.dot,
    "tensordot": lambda a, b: keras.ops.tensordot(a, b, axes=1),
    "einsum": lambda a, b: keras.ops.einsum("ij,jk->ik", a, b),
    "inner": lambda a, b: keras.ops.inner(a[0], b[0]),
    "vdot": lambda a, b: keras.ops.vdot(a[0], b[0]),
}


@functools.cache
def integers_are_multiplied_as_floats(product: str, dtype: str) -> bool:
    """Say whether a product of integer matrices goes through single precision, in which numbers above 2^24 change."""
    odd = 2**24 + 1
    return int(ask(_PRODUCTS[product], np.asarray([[odd]], dtype), np.asarray([[1]], dtype)).reshape(-1)[0]) != odd
