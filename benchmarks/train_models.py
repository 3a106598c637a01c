"""Small models of everyday kinds, with data to train them on, for benchmarks/train.py.

The loops written by hand in train_hand_jax.py, train_hand_tensorflow.py and train_hand_torch.py train the same models:
they take the weights in the order of ``trainable_weights``. `train_hand_check.py` compares them with ``fit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 1337
WORDS, TEXT_LENGTH, TEXT_WIDTH = 5_000, 100, 32
COLUMNS, CATEGORIES, COLUMN_WIDTH, NUMBERS = 10, 1_000, 8, 8
SIGNAL, CHANNELS = 128, 4
LENGTH, WIDTH, HEADS, HIDDEN, DROPOUT, NORM_EPSILON = 64, 64, 4, 128, 0.1, 1e-6
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Row:
    """A model and its data.

    Attributes:
        build: makes the model, without ``compile``; the argument is the dropout rate of models that have dropout.
        data: makes inputs and targets of so many samples.
        loss: name of the loss, which is also what the loops written by hand compute.
        accuracy: whether accuracy is reported too.
        samples: how many the benchmark trains on. Enough steps, where they are short, that an epoch's own cost does not
            count, and that under TensorFlow the run is long enough for XLA.
    """

    build: Callable[[float], Any]
    data: Callable[[int], tuple[Any, np.ndarray]]
    loss: str
    accuracy: bool
    samples: int


def compiled(name: str, *, dropout: float = DROPOUT, **options: Any) -> Any:
    """Return a model of `ROWS` with the same initial weights every time, ready for ``fit``."""
    import keras

    row = ROWS[name]
    keras.utils.set_random_seed(SEED)
    model = row.build(dropout)
    model.compile("adam", row.loss, metrics=["accuracy"] if row.accuracy else None, **options)
    return model


def _text(dropout: float) -> Any:
    from keras import Sequential, layers

    del dropout
    pooled = [layers.Embedding(WORDS, TEXT_WIDTH), layers.GlobalAveragePooling1D()]
    return Sequential([layers.Input((TEXT_LENGTH,), dtype="int32"), *pooled, *_head(16)])


def _head(units: int) -> list[Any]:
    from keras import layers

    return [layers.Dense(units, "relu"), layers.Dense(1, "sigmoid")]


def _text_data(n: int, length: int = TEXT_LENGTH) -> tuple[Any, np.ndarray]:
    generator = np.random.default_rng(SEED)
    words = generator.integers(0, WORDS, (n, length)).astype("int32")
    return words, (words < WORDS // 2).mean(1, keepdims=True).round().astype("float32")


def _wide(dropout: float) -> Any:
    from keras import Model, layers

    del dropout
    columns = [layers.Input((), dtype="int32", name=f"column_{i}") for i in range(COLUMNS)]
    numbers = layers.Input((NUMBERS,), name="numbers")
    embedded = [layers.Embedding(CATEGORIES, COLUMN_WIDTH)(column) for column in columns]
    deep = layers.Dense(64, "relu")(layers.concatenate([*embedded, numbers]))
    deep = layers.Dense(32, "relu")(deep)
    outputs = layers.Dense(1, "sigmoid")(layers.concatenate([deep, numbers]))
    return Model([*columns, numbers], outputs)


def _wide_data(n: int) -> tuple[Any, np.ndarray]:
    generator = np.random.default_rng(SEED)
    columns = [generator.integers(0, CATEGORIES, n).astype("int32") for _ in range(COLUMNS)]
    numbers = generator.normal(size=(n, NUMBERS)).astype("float32")
    wanted = (columns[0] / CATEGORIES + numbers[:, 0] > 0.5).astype("float32")
    return [*columns, numbers], wanted[:, None]


def _autoencoder(dropout: float) -> Any:
    from keras import Sequential, layers

    del dropout
    hidden = [layers.Dense(units, "relu") for units in (256, 64, 256)]
    return Sequential([layers.Input((784,)), *hidden, layers.Dense(784, "sigmoid")])


def _pictures(n: int) -> tuple[np.ndarray, np.ndarray]:
    from mnistkit.digits.data import load_data

    data = load_data()
    return data.x_train.reshape(-1, 784)[:n].astype("float32") / 255, data.y_train[:n].astype("int32")


def _autoencoder_data(n: int) -> tuple[Any, np.ndarray]:
    x, _ = _pictures(n)
    return x, x


def _conv1d(dropout: float) -> Any:
    from keras import Sequential, layers

    del dropout
    first = [layers.Input((SIGNAL, CHANNELS)), layers.Conv1D(32, 5, activation="relu"), layers.MaxPooling1D(2)]
    second = [layers.Conv1D(64, 5, activation="relu"), layers.GlobalMaxPooling1D()]
    return Sequential([*first, *second, layers.Dense(CLASSES, "softmax")])


def _conv1d_data(n: int) -> tuple[Any, np.ndarray]:
    generator = np.random.default_rng(SEED)
    labels = generator.integers(0, CLASSES, n).astype("int32")
    waves = np.sin(np.arange(SIGNAL)[None, :, None] * (labels[:, None, None] + 1) * 0.1)
    return (waves + generator.normal(size=(n, SIGNAL, CHANNELS))).astype("float32"), labels


def _depthwise(dropout: float) -> Any:
    from keras import Sequential, layers

    del dropout
    made: list[Any] = [layers.Input((28, 28, 1)), layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")]
    for filters, stride in ((32, 1), (64, 2)):
        made.append(layers.DepthwiseConv2D(3, strides=stride, padding="same", activation="relu"))
        made.append(layers.Conv2D(filters, 1, activation="relu"))
    return Sequential([*made, layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, "softmax")])


def _depthwise_data(n: int) -> tuple[Any, np.ndarray]:
    x, labels = _pictures(n)
    return x.reshape(-1, 28, 28, 1), labels


def _transformer(dropout: float) -> Any:
    from keras import Model, layers, ops

    class WordsAndPositions(layers.Layer):
        def build(self, shape: Any) -> None:
            self.words, self.positions = layers.Embedding(WORDS, WIDTH), layers.Embedding(LENGTH, WIDTH)
            self.words.build(shape)
            self.positions.build(shape)

        def call(self, words: Any) -> Any:
            return self.words(words) + self.positions(ops.arange(LENGTH))

    words = layers.Input((LENGTH,), dtype="int32")
    x = WordsAndPositions()(words)
    for _ in range(2):
        attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(x, x)
        x = layers.LayerNormalization(epsilon=NORM_EPSILON)(x + layers.Dropout(dropout)(attended))
        hidden = layers.Dense(WIDTH)(layers.Dense(HIDDEN, "relu")(x))
        x = layers.LayerNormalization(epsilon=NORM_EPSILON)(x + layers.Dropout(dropout)(hidden))
    outputs = layers.GlobalAveragePooling1D()(x)
    for layer in _head(20):
        outputs = layer(outputs)
    return Model(words, outputs)


def _transformer_data(n: int) -> tuple[Any, np.ndarray]:
    return _text_data(n, LENGTH)


_BINARY, _CATEGORIES = "binary_crossentropy", "sparse_categorical_crossentropy"
ROWS = {
    "text": Row(_text, _text_data, _BINARY, True, 25_600),
    "wide": Row(_wide, _wide_data, _BINARY, True, 25_600),
    "autoencoder": Row(_autoencoder, _autoencoder_data, _BINARY, False, 6_400),
    "conv1d": Row(_conv1d, _conv1d_data, _CATEGORIES, True, 6_400),
    "depthwise": Row(_depthwise, _depthwise_data, _CATEGORIES, True, 3_200),
    "transformer": Row(_transformer, _transformer_data, _BINARY, True, 3_200),
}
