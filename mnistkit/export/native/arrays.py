"""Backend tensors as NumPy arrays."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def to_numpy(value: Any) -> np.ndarray[Any, Any]:
    """Return the content of a variable, tensor, number or list."""
    if isinstance(value, (np.ndarray, np.generic, int, float, list, tuple)):
        return np.asarray(value)
    return np.asarray(keras.ops.convert_to_numpy(value))
