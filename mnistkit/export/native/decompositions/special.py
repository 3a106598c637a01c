"""Operations written as other operations of ``keras.ops``."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from mnistkit.export.native.registry import register_decomposition


@register_decomposition("FFT")
def fft(_: Any, x: Any) -> Any:
    """The discrete Fourier transform along the last axis, as products: any length, also a free one."""
    return _transform(x[0], x[1], -1)


@register_decomposition("FFT2")
def fft2(_: Any, x: Any) -> Any:
    """Along the two last axes."""
    return _transform(*_transform(x[0], x[1], -1), -2)


def _transform(real: Any, imag: Any, axis: int) -> tuple[Any, Any]:
    size = real.shape[axis]
    steps = ops.arange(size)
    turns = ops.mod(ops.multiply(ops.expand_dims(steps, 1), ops.expand_dims(steps, 0)), size)
    angle = ops.divide(ops.multiply(ops.cast(turns, "float32"), 2 * math.pi), ops.cast(size, "float32"))
    cos, sin = ops.cast(ops.cos(angle), real.dtype), ops.cast(ops.sin(angle), real.dtype)
    real, imag = ops.swapaxes(real, axis, -1), ops.swapaxes(imag, axis, -1)
    new_real = ops.add(ops.matmul(real, cos), ops.matmul(imag, sin))
    new_imag = ops.subtract(ops.matmul(imag, cos), ops.matmul(real, sin))
    return ops.swapaxes(new_real, axis, -1), ops.swapaxes(new_imag, axis, -1)
