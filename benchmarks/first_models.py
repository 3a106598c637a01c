"""Models and data of `train_first.py`, from a tiny one to one that takes seconds to compile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras  # noqa: TID253 - after the backend is chosen
import numpy as np
from keras import layers  # noqa: TID253

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 1337


def tiny() -> tuple[Any, Callable[[int], Any]]:
    """Two dense layers on 20 numbers."""
    model = keras.Sequential([keras.Input((20,)), layers.Dense(32, "relu"), layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, lambda n: (numbers(n, 20), whole(n, 2))


def cnn() -> tuple[Any, Callable[[int], Any]]:
    """The convolutional net of ``mnistkit.digits.model``."""
    from mnistkit.digits.model import build_model

    model = build_model("cnn")
    model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, lambda n: (numbers(n, 784), whole(n, 10))


def mobilenet() -> tuple[Any, Callable[[int], Any]]:
    """Inverted residual blocks as in MobileNetV2, eight of them, on pictures of 32 by 32."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    for filters, strides in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (48, 1), (48, 1)):
        block, channels = x, x.shape[-1]
        block = layers.Conv2D(4 * channels, 1, use_bias=False)(block)
        block = layers.ReLU(6.0)(layers.BatchNormalization()(block))
        block = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(block)
        block = layers.ReLU(6.0)(layers.BatchNormalization()(block))
        block = layers.BatchNormalization()(layers.Conv2D(filters, 1, use_bias=False)(block))
        x = layers.Add()([x, block]) if strides == 1 and channels == filters else block
    outputs = layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, lambda n: (numbers(n, 32, 32, 3), whole(n, 10))


def transformer() -> tuple[Any, Callable[[int], Any]]:
    """Two blocks of attention and dense layers, width 64, on 64 tokens."""
    inputs = keras.Input((64,), dtype="int32")
    x = layers.Embedding(1000, 64)(inputs)
    for _ in range(2):
        attended = layers.MultiHeadAttention(4, 16, dropout=0.1)(x, x)
        x = layers.LayerNormalization()(x + attended)
        x = layers.LayerNormalization()(x + layers.Dense(64)(layers.Dense(128, "gelu")(x)))
    outputs = layers.Dense(2, "softmax")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, lambda n: (whole(n, 1000, 64), whole(n, 2))


MODELS = {"tiny": tiny, "cnn": cnn, "mobilenet": mobilenet, "transformer": transformer}


def numbers(n: int, *shape: int) -> np.ndarray:
    """Random numbers in [0, 1)."""
    return np.random.default_rng(SEED).random((n, *shape), "float32")


def whole(n: int, below: int, *shape: int) -> np.ndarray:
    """Random whole numbers."""
    return np.random.default_rng(SEED).integers(0, below, (n, *shape)).astype("int32")
