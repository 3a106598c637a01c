"""Functions of constants, computed by NumPy in double precision while a model is traced.

Layers compute some constants as they run: the root of a variance, the frequencies of a position. Each backend rounds
such functions in its own way, and a file must not show which backend wrote it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import KerasTensor

from mnistkit.export.native.arrays import to_numpy

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "power": np.power,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "arctan": np.arctan,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "divide": np.divide,
    "true_divide": np.divide,
    "reciprocal": lambda x: 1.0 / x,
    "matmul": np.matmul,
}


def fold(name: str, original: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call a backend function on constants; a floating-point result is replaced by the correctly rounded one."""
    result = original(*args)
    if not keras.ops.is_tensor(result) or any(isinstance(x, KerasTensor) for x in args):
        return result
    dtype = keras.backend.standardize_dtype(result.dtype)
    if dtype not in {"float32", "float16"}:
        return result
    with np.errstate(all="ignore"):
        wide = FUNCTIONS[name](*(to_numpy(x).astype(np.float64) for x in args))
    return keras.ops.convert_to_tensor(np.asarray(wide).astype(dtype))
