"""Batch normalization of pictures by TensorFlow's one kernel for it.

Keras computes mean and variance, then the outputs, and TensorFlow differentiates each of these: outside XLA that is a
dozen passes over the tensor where the fused kernel needs three. It gives the same numbers, rounded elsewhere.
"""

from __future__ import annotations

import contextlib
import types
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from mnistkit.training.tensorflow.hooks import fused_batch_norm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PICTURES = 4  # dimensions: batch, height, width, channels


@contextlib.contextmanager
def fused_normalization(layers: Sequence[Any]) -> Iterator[None]:
    """Trace within the block with the fused kernel where one of these layers does what the kernel does.

    Each layer gets an attribute ``call``, past Keras' attribute tracking; the class and other models stay as they are.
    """
    usual = [layer for layer in layers if type(layer) is keras.layers.BatchNormalization and "call" not in vars(layer)]
    for layer in usual:
        vars(layer)["call"] = types.MethodType(_call, layer)
    try:
        yield
    finally:
        for layer in usual:
            del vars(layer)["call"]


def _call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
    if not training or mask is not None or not _fits(self, inputs):
        return keras.layers.BatchNormalization.call(self, inputs, training=training, mask=mask)
    outputs, mean, variance, *_ = fused_batch_norm(
        x=inputs, scale=self.gamma, offset=self.beta, mean=[], variance=[], epsilon=self.epsilon, is_training=True
    )
    count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
    variance *= (count - 1) / count  # the kernel reports the variance of the population that the batch stands for
    for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
        average.assign(average * self.momentum + value * (1.0 - self.momentum))
    return outputs


def _fits(layer: Any, inputs: Any) -> bool:
    usual = layer.scale and layer.center and layer.trainable and not layer.synchronized
    renormalized = getattr(layer, "renorm", False)  # Keras has it since 3.14
    simple = usual and not renormalized and layer.compute_dtype == "float32"
    # the kernel takes no smaller epsilon
    return (
        simple
        and layer.epsilon >= 1.001e-5  # noqa: PLR2004
        and layer.axis in (-1, _PICTURES - 1)
        and inputs.dtype == tf.float32
        and len(inputs.shape) == _PICTURES
        and inputs.shape[-1] is not None
    )
