"""Shape inference where Keras' own (3.15) refuses what its operations accept, such as grouped convolutions.

Each function returns symbolic outputs like ``Operation.compute_output_spec``; sizes are plain numbers here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import KerasTensor


def infer(target: Any, args: Any, kwargs: Any) -> Any:
    """Infer outputs by Keras, or by the table below for the classes that need it."""
    special = SPECS.get(type(target).__name__) if type(target).__module__.startswith("keras.") else None
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


SPECS: dict[str, Callable[..., Any]] = {
    "Conv": _conv,
    "BatchNorm": _batch_norm,
    "AdaptiveAveragePool": _adaptive_pool,
    "AdaptiveMaxPool": _adaptive_pool,
    "MultiHot": _multi_hot,
}
