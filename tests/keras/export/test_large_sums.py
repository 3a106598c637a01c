"""Sums over hundreds of thousands of elements, as instance normalization of a picture takes them."""

from __future__ import annotations

import keras
import numpy as np
from comparing import session
from keras import layers, ops

from mnistkit.export.native import convert


def answers(shape, pixels):
    """Sum, mean and variance over all axes but the batch, from the file."""
    inputs = keras.Input(shape)
    axes = (1, 2, 3)
    parts = layers.Lambda(lambda x: ops.stack([ops.sum(x, axes), ops.mean(x, axes), ops.var(x, axes)], axis=1))(inputs)
    written = convert(keras.Model(inputs, parts))
    (got,) = session(written.proto).run(None, {written.inputs: pixels})
    exact = pixels.astype("float64")
    expected = np.stack([exact.sum(axes), exact.mean(axes), exact.var(axes)], axis=1)
    kinds = [node.op_type for node in written.proto.graph.node if node.op_type.startswith("Reduce")]
    return np.abs(got / expected - 1).max(), kinds


def test_the_variance_of_a_large_picture_keeps_its_digits():
    pixels = np.maximum(np.random.default_rng(0).normal(size=(2, 128, 128, 16)), 0).astype("float32")
    fixed, _ = answers((128, 128, 16), pixels)
    free, _ = answers((None, None, 16), pixels)
    assert fixed < 2e-6  # one sum over all axes is 8e-5 off
    assert free < 2e-6


def test_a_small_sum_is_one_reduction():
    off, kinds = answers((4, 4, 2), np.random.default_rng(0).random((2, 4, 4, 2)).astype("float32"))
    assert off < 2e-6
    assert kinds == ["ReduceSum", "ReduceMean", "ReduceMean", "ReduceMean"]
