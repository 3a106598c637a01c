"""Loss functions, for models that give one as an output."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from mnistkit.export.native.registry import register_decomposition


@register_decomposition("BinaryCrossentropy")
def binary_crossentropy(op: Any, target: Any, output: Any) -> Any:
    """Cross-entropy of each element."""
    target = ops.cast(target, output.dtype)
    if op.from_logits:
        return ops.relu(output) - output * target + ops.log1p(ops.exp(-ops.abs(output)))
    epsilon = keras.config.epsilon()
    p = ops.clip(output, epsilon, 1.0 - epsilon)
    return -(target * ops.log(p) + (1.0 - target) * ops.log(1.0 - p))


@register_decomposition("CategoricalCrossentropy")
def categorical_crossentropy(op: Any, target: Any, output: Any) -> Any:
    """Cross-entropy over an axis."""
    target = ops.cast(target, output.dtype)
    if op.from_logits:
        log_p = ops.log_softmax(output, axis=op.axis)
    else:
        epsilon = keras.config.epsilon()
        p = output / ops.sum(output, axis=op.axis, keepdims=True)
        log_p = ops.log(ops.clip(p, epsilon, 1.0 - epsilon))
    return -ops.sum(target * log_p, axis=op.axis)


@register_decomposition("SparseCategoricalCrossentropy")
def sparse_categorical_crossentropy(op: Any, target: Any, output: Any) -> Any:
    """Cross-entropy with classes given by index."""
    if len(target.shape) == len(output.shape) and target.shape[-1] == 1:
        target = ops.squeeze(target, -1)
    if op.from_logits:
        log_p = ops.log_softmax(output, axis=op.axis)
    else:
        epsilon = keras.config.epsilon()
        p = output / ops.sum(output, axis=op.axis, keepdims=True)
        log_p = ops.log(ops.clip(p, epsilon, 1.0 - epsilon))
    hot = ops.one_hot(target, output.shape[op.axis], axis=op.axis, dtype=output.dtype)
    return -ops.sum(hot * log_p, axis=op.axis)


@register_decomposition("PSNR")
def psnr(op: Any, x1: Any, x2: Any) -> Any:
    """Peak signal-to-noise ratio in decibels."""
    mse = ops.mean(ops.square(x1 - x2))
    return 20.0 * math.log10(op.max_val) - 10.0 * ops.log10(mse)
