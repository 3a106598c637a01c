"""Batch normalization of pictures by TensorFlow's one kernel for it.

Keras computes mean and variance, then the outputs, and TensorFlow differentiates each of these: outside XLA that is a
dozen passes over the tensor where the fused kernel needs three. It gives the same numbers, rounded elsewhere.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from unittest import mock

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator

_PICTURES = 4  # dimensions: batch, height, width, channels


@contextlib.contextmanager
def fused_normalization() -> Iterator[None]:
    """Trace within the block with the fused kernel where a layer does what the kernel does."""
    with mock.patch.object(keras.layers.BatchNormalization, "call", _call):
        yield


_keras_call = keras.layers.BatchNormalization.call


def _call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
    if not training or mask is not None or not _fits(self, inputs):
        return _keras_call(self, inputs, training=training, mask=mask)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=self.gamma, offset=self.beta, mean=[], variance=[], epsilon=self.epsilon, is_training=True
    )
    count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
    variance *= (count - 1) / count  # the kernel reports the variance of the population that the batch stands for
    for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
        average.assign(average * self.momentum + value * (1.0 - self.momentum))
    return outputs


def _fits(layer: Any, inputs: Any) -> bool:
    usual = type(layer) is keras.layers.BatchNormalization and layer.scale and layer.center and layer.trainable
    simple = usual and not layer.renorm and not layer.synchronized and layer.compute_dtype == "float32"
    # the kernel takes no smaller epsilon
    return (
        simple
        and layer.epsilon >= 1.001e-5  # noqa: PLR2004
        and layer.axis in (-1, _PICTURES - 1)
        and inputs.dtype == tf.float32
        and len(inputs.shape) == _PICTURES
        and inputs.shape[-1] is not None
    )
