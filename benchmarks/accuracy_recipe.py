"""The recipe of benchmarks/time_to_accuracy.py: a small convolutional net that needs two passes over MNIST for 99 %.

Strides instead of pooling leave little to compute (12x12, 5x5, 3x3 points); batch normalization and one cycle of a high
learning rate make two passes enough. The batch divides 60,000: no partial batch needs a program of its own.
`keras_model` is what the Keras contenders train. accuracy_by_hand.py has the same net and updates without Keras.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Pair = tuple[NDArray[np.float32], NDArray[np.int32]]
    """Images ``[n, 28, 28, 1]`` in [0, 1] and their digits ``[n]``."""

EPOCHS, BATCH = 2, 125
PEAK, FIRST, RISE = 0.01, 0.1, 0.2  # of the learning rate: highest, share of it at the first step, share of steps up
BETAS, EPSILON = (0.9, 0.99), 1e-8
MOMENTUM, BN_EPSILON = 0.9, 1e-3
TEST_BATCH = 1000
LAYERS = ((1, 16, 5, 2), (16, 32, 3, 2), (32, 64, 3, 1))
"""Of each convolution: channels in, channels out, size, stride."""
FLAT = 576

RECIPE = {
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "optimizer": f"Adam, betas {BETAS}",
    "learning_rate": f"{PEAK * FIRST:g} up to {PEAK:g} in {RISE:.0%} of the steps, then down along a cosine",
    "convolutions": [list(layer) for layer in LAYERS],
}
"""What the figures were measured with; figures of another recipe are not kept beside these."""


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate of a step: up in a straight line, then down to zero along half a cosine."""
    rise = rising_steps(steps)
    if step < rise:
        return PEAK * (FIRST + (1 - FIRST) * step / rise)
    return PEAK * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / (steps - rise))))


def rising_steps(steps: int) -> int:
    """Return how many steps the learning rate rises; at least one, and fewer than all."""
    return max(1, min(steps - 1, round(RISE * steps)))


def initial(seed: int) -> list[NDArray[np.float32]]:
    """Return what is trained: kernel, scale, shift of each layer, then the dense layer. Glorot-uniform kernels."""
    generator = np.random.default_rng(seed)

    def kernel(*shape: int) -> NDArray[np.float32]:
        limit = math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
        return generator.uniform(-limit, limit, shape).astype(np.float32)

    weights = []
    for channels, filters, size, _ in LAYERS:
        weights += [kernel(size, size, channels, filters), np.ones(filters, np.float32), np.zeros(filters, np.float32)]
    return [*weights, kernel(FLAT, 10), np.zeros(10, np.float32)]


def keras_model(seed: int, *, steps: int) -> Any:
    """Return the compiled Keras model, with the initial weights that the hand-written loops have too.

    Args:
        seed: Of the initial weights.
        steps: Of the whole training, at least 2; where the cycle of the learning rate ends.
    """
    import keras

    layers = keras.layers
    image = x = keras.Input((28, 28, 1))
    for _, filters, size, stride in LAYERS:
        x = layers.Conv2D(filters, size, strides=stride, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM, epsilon=BN_EPSILON)(x))
    model = keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))
    for variable, value in zip(model.trainable_variables, initial(seed), strict=True):
        variable.assign(value)
    rise = rising_steps(steps)
    rate = keras.optimizers.schedules.CosineDecay(
        PEAK * FIRST, steps - rise, alpha=0.0, warmup_target=PEAK, warmup_steps=rise
    )
    optimizer = keras.optimizers.Adam(rate, beta_1=BETAS[0], beta_2=BETAS[1], epsilon=EPSILON)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def by_keras(train: Pair, test: Pair, *, seed: int, fit: Callable[..., Any]) -> float:
    """Train by ``fit``, called with the model and the arguments of ``model.fit``; return the test accuracy."""
    model = keras_model(seed, steps=EPOCHS * (len(train[0]) // BATCH))
    history = fit(
        model,
        *train,
        epochs=EPOCHS,
        batch_size=BATCH,
        validation_data=test,
        validation_freq=EPOCHS,
        validation_batch_size=TEST_BATCH,
        verbose=0,
    )
    return float(history.history["val_accuracy"][-1])


def orders(n: int, seed: int) -> Sequence[NDArray[np.int64]]:
    """Return the samples of each step of all epochs."""
    generator = np.random.default_rng(seed)
    return [rows for _ in range(EPOCHS) for rows in generator.permutation(n)[: n // BATCH * BATCH].reshape(-1, BATCH)]
