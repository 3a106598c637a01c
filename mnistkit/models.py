"""The models that `mnistkit.train` builds, the same weights on every backend.

Initial weights come from a NumPy generator and not from the backend's own, whose streams differ: this is what lets
three backends start equal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.backend import load_keras
from mnistkit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT_SIZE = 784
CLASSES = 10


def build_model(name: str = "mlp", *, hidden: int = 32, seed: int = 1337) -> Any:
    """Build one of the named models, uncompiled, with seeded weights.

    Args:
        name: ``"mlp"``, the tutorial's: 784 → Dense(hidden) → relu → Dense(10) → softmax.
        hidden: Width of the MLP's hidden layer.
        seed: Seed of the initial weights; the same on every backend.

    Returns:
        A ``keras.Model`` from ``image`` float32 ``[batch, 784]`` in [0, 1] to ``probabilities`` float32
        ``[batch, 10]``.

    Raises:
        InputError: The name is unknown or ``hidden`` is not positive.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}; use one of {', '.join(sorted(MODELS))}")
    if hidden < 1:
        raise InputError(f"hidden must be at least 1, got {hidden}")
    model = MODELS[name](hidden)
    seed_weights(model, seed)
    return model


def seed_weights(model: Any, seed: int) -> None:
    """Redraw every kernel of a built model from a NumPy generator, Glorot-uniform as Keras' default.

    Vectors (biases, scales, moving averages) start from constants on every backend and are left alone.
    Source: Glorot and Bengio 2010, limit = sqrt(6 / (fan_in + fan_out)).
    """
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if len(variable.shape) >= 2:  # noqa: PLR2004  # a matrix or more: a kernel
            receptive = math.prod(variable.shape[:-2])
            limit = math.sqrt(6 / (receptive * (variable.shape[-2] + variable.shape[-1])))
            variable.assign(generator.uniform(-limit, limit, tuple(variable.shape)).astype(np.float32))


def _mlp(hidden: int) -> Any:
    keras = load_keras()
    return keras.Sequential(
        [
            keras.layers.Input(shape=(INPUT_SIZE,), name="image"),
            keras.layers.Dense(hidden, activation="relu", name="hidden"),
            keras.layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ],
        name="mlp",
    )


MODELS: dict[str, Callable[[int], Any]] = {"mlp": _mlp}
"""Builders by name; each takes the hidden width and may ignore it."""
