"""Shape inference where Keras' own (3.15) refuses what its operations accept, such as grouped convolutions.

Each function returns symbolic outputs like ``Operation.compute_output_spec``; sizes are plain numbers here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import KerasTensor

from mnistkit.export.native.keras_hooks import is_own


def infer(target: Any, args: Any, kwargs: Any) -> Any:
    """Infer outputs by Keras, or by the table below for the classes that need it."""
    special = SPECS.get(type(target).__name__) if is_own(type(target)) else None
    return target.compute_output_spec(*args, **kwargs) if special is None else special(target, *args, **kwargs)


def _conv(op: Any, inputs: Any, kernel: Any) -> Any:
    """A kernel with fewer input channels than the images is a grouped one: show Keras one group."""
    last = (op.data_format or keras.config.image_data_format()) == "channels_last"
    shape = list(inputs.shape)
    shape[-1 if last else 1] = kernel.shape[-2]
    out = op.compute_output_spec(KerasTensor(shape, dtype=inputs.dtype, name="t"), kernel)
    return KerasTensor(out.shape, dtype=inputs.dtype, name="t")


def _batch_norm(_: Any, x: Any, *__: Any, **___: Any) -> Any:
    return KerasTensor(x.shape, dtype=x.dtype, name="t")


def _adaptive_pool(op: Any, inputs: Any) -> Any:
    """Keras counts the spatial axes of the output only, and so keeps one too many for some inputs."""
    sizes = op.output_size
    count = len(inputs.shape) - 2
    sizes = (sizes,) * count if isinstance(sizes, int) else tuple(sizes)
    last = (op.data_format or keras.config.image_data_format()) == "channels_last"
    shape = (inputs.shape[0], *sizes, inputs.shape[-1]) if last else (*inputs.shape[:2], *sizes)
    return KerasTensor(shape, dtype=inputs.dtype, name="t")


def _multi_hot(op: Any, inputs: Any) -> Any:
    """The result has the type asked for, not that of the indices."""
    return KerasTensor(op.compute_output_spec(inputs).shape, dtype=op.dtype, name="t")


def _getitem(_: Any, x: Any, key: Any) -> Any:
    """Keras knows no bare ``None``, slice or tensor as a key, and no tensor inside one."""
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    ellipsis = [place for place, part in enumerate(keys) if part is Ellipsis]
    where = ellipsis[0] if ellipsis else len(keys)
    used = sum(1 for part in keys if part is not None and part is not Ellipsis)
    keys[where : where + len(ellipsis)] = [slice(None)] * (len(x.shape) - used)
    left = list(x.shape)
    shape: list[int] = []
    for part in keys:
        if part is None:
            shape.append(1)
            continue
        size = left.pop(0)
        if isinstance(part, slice):
            shape.append(_slice_length(part, size))
        elif not isinstance(part, (int, np.integer)):
            shape += list(getattr(part, "shape", np.shape(part)))
        elif not -size <= part < size:
            raise IndexError(f"index {part} is out of bounds for an axis of length {size}")
    return KerasTensor(tuple(shape), dtype=x.dtype, name="t")


def _slice_length(part: slice, size: int) -> int:
    ends = (part.start, part.stop)
    if any(isinstance(end, KerasTensor) for end in ends):
        raise TypeError("a slice between computed places has a length that depends on the data")
    return len(range(*part.indices(size)))


SPECS: dict[str, Callable[..., Any]] = {
    "Conv": _conv,
    "BatchNorm": _batch_norm,
    "AdaptiveAveragePool": _adaptive_pool,
    "AdaptiveMaxPool": _adaptive_pool,
    "GetItem": _getitem,
    "MultiHot": _multi_hot,
}
