"""Random models and settings, trained by ``mnistkit.fit`` and by ``model.fit`` from the same weights in the same order.

    KERAS_BACKEND=torch python benchmarks/fit_fuzz.py --configurations 300

Each number from ``--seed`` up stands for one configuration: data (vectors, words, series, pictures, two inputs, whole
numbers, doubles, float16), layers, loss, metrics, optimizer with its options and schedules, precision, callbacks that
change things between epochs, weights of samples and classes, held-out samples, and a second call with other data.
With ``--sources``, each configuration takes its batches from a data set, a loader, a generator or a stored array, and
half of them have callbacks with batch hooks, whose logs are compared too.
With ``--steps``, each model has a train step of its own (benchmarks/fuzz_steps.py).
With ``--recurrent``, each configuration has one to three recurrent layers, of words or series, many of them masked.
With ``--short``, these short runs are done in the ways made for short runs, otherwise by programs as long runs are.
``--only N`` runs one of them again. Prints a line for each:

- ``equal``: weights, optimizer state and History agree.
- ``fell back``: the same, by ``model.fit``; the reason follows.
- ``both raise``: the two end in the same kind of error.
- ``DIFFERENT``: anything else. The program then ends with 1.

Two trainings whose sums are rounded in another order drift apart, some of them (sign-like optimizers, float16) fast.
What is allowed is measured: where the two differ by more than the usual rounding, ``model.fit`` is run again from
weights moved by one part in a million (in half precision: by their last bit), and the difference may be ten times as
large as that makes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "torch")

import fuzz_steps
import keras  # noqa: TID253 - after the backend is chosen
import numpy as np
from keras import layers, ops  # noqa: TID253

from mnistkit import fit

if TYPE_CHECKING:
    from collections.abc import Callable

USUAL_ROUNDING = 2e-5
NOISE = {"mixed_float16": 2.0**-11, "mixed_bfloat16": 2.0**-8}
USUAL_NOISE = 1e-6
TIMES_NOISE = 10.0
BACKEND = keras.backend.backend()
SOURCES = ("arrays", "PyDataset", "PyDataset", "generator", "forever", "tf.data", "DataLoader", "memmap", "shapes")
HOOKS = ("none", "none", "none", "log", "log", "rate", "weights", "stop", "raises")
SOURCES_TOO = "--sources" in sys.argv
RECURRENT = "--recurrent" in sys.argv
OWN_STEPS = "--steps" in sys.argv


@dataclasses.dataclass
class Configuration:
    """One configuration, drawn from its number.

    Attributes:
        number: what it is drawn from.
        words: what was drawn, for the report.
    """

    number: int
    words: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        draw = self._random = random.Random(self.number)  # noqa: S311 - not for secrets
        self.kind = (
            self.pick("words", "series")
            if RECURRENT
            else self.pick("vectors", "vectors", "words", "series", "pictures", "two inputs", "bytes")
        )
        self.head = self.pick("one-hot", "labels", "logits", "numbers", "yes or no")
        self.n = draw.choice([5, 24, 40, 43])
        self.batch_size = draw.choice([8, 8, 5, 64])
        self.epochs = draw.choice([1, 3, 4])
        self.precision = self.pick(
            "float32", "float32", "float32", "float32", "mixed_float16", "mixed_bfloat16", "float64"
        )
        self.optimizer = self.pick(*OPTIMIZERS)
        self.schedule = self.pick("none", "none", *SCHEDULES)
        self.callback = self.pick(*CALLBACKS)
        self.weights = self.pick("none", "none", "samples", "classes")
        self.held_out = self.pick("none", "split", "data", "data every other epoch")
        self.again = self.pick("none", "none", "fewer samples", "recompiled", "frozen")
        of, count = (RECURRENT_LAYERS, [1, 1, 2, 3]) if RECURRENT else (STACKS[self.kind], [0, 1, 2, 3])
        self.stack = [draw.choice(of) for _ in range(draw.choice(count))]
        self.metrics = draw.sample(METRICS[self.head], k=draw.choice([0, 1, 2]))
        self.frozen = draw.random() < 0.15
        self.jit = draw.choice(["auto", "auto", True]) if BACKEND != "torch" else "auto"
        self.source = self.hook = "none"
        if SOURCES_TOO:
            self.source, self.hook = self.pick(*SOURCES), self.pick(*HOOKS)
            self.steps = draw.choice([None, None, 3])
            if BACKEND == "tensorflow" and self.source == "generator":
                self.jit = True  # docs/training.md: without XLA, model.fit counts a step more where it ends
        self.step = "none"
        if OWN_STEPS:
            self.step, self.hook = self.pick(*fuzz_steps.STEPS), self.pick("none", "log")
        self.words += [*self.stack, *self.metrics, f"n={self.n} batch={self.batch_size} epochs={self.epochs}"]
        if BACKEND == "tensorflow" and any("drop" in name or "noise" in name for name in [*self.stack, self.step]):
            self.jit = True  # docs/training.md: XLA draws other numbers than TensorFlow's kernels

    def pick(self, *names: str) -> str:
        """Draw one of the names and note it."""
        name = self._random.choice(names)
        self.words.append(name)
        return name

    def data(self, n: int, salt: int = 0) -> tuple[Any, Any]:
        """Make data of the kind."""
        rng = np.random.default_rng([self.number, salt])
        x: Any = {
            "vectors": lambda: rng.normal(size=(n, 6)).astype(("float32", "float64")[self.number % 2]),
            "words": lambda: rng.integers(0, 9, size=(n, 5)).astype("int32"),
            "series": lambda: rng.normal(size=(n, 5, 3)).astype("float32"),
            "pictures": lambda: rng.normal(size=(n, 6, 6, 2)).astype("float32"),
            "two inputs": lambda: {"a": rng.normal(size=(n, 4)).astype("float32"), "b": rng.integers(0, 9, (n, 3))},
            "bytes": lambda: rng.integers(0, 256, size=(n, 6)).astype("uint8"),
        }[self.kind]()
        labels = rng.integers(0, 3, size=n)
        y: Any = {
            "one-hot": lambda: np.eye(3, dtype="float32")[labels],
            "labels": lambda: labels,
            "logits": lambda: labels.astype("float32"),
            "numbers": lambda: rng.normal(size=(n, 2)).astype("float32"),
            "yes or no": lambda: (labels[:, None] > 1).astype("float32"),
        }[self.head]()
        return x, y

    def model(self) -> Any:
        """Build and compile the model; every call gives the same."""
        keras.backend.clear_session()
        keras.utils.set_random_seed(self.number)
        keras.config.set_dtype_policy(self.precision)
        try:
            return self._model()
        finally:
            keras.config.set_dtype_policy("float32")

    def _model(self) -> Any:
        inputs, out = self._begin()
        for position, name in enumerate(self.stack):
            out = LAYERS[name](out, position)
        if len(out.shape) > 2:
            out = layers.Flatten()(out) if self.kind == "pictures" else layers.GlobalAveragePooling1D()(out)
        head = {
            "one-hot": lambda: layers.Dense(3, "softmax", dtype="float32"),
            "labels": lambda: layers.Dense(3, "softmax", dtype="float32"),
            "logits": lambda: layers.Dense(3, dtype="float32"),
            "numbers": lambda: layers.Dense(2, dtype="float32"),
            "yes or no": lambda: layers.Dense(1, "sigmoid", dtype="float32"),
        }[self.head]()
        model = fuzz_steps.model_class(self.step)(inputs, head(out))
        if self.frozen and len(model.layers) > 3:
            model.layers[-2].trainable = False
        self.compile(model)
        return model

    def compile(self, model: Any) -> None:
        """Compile the model as drawn."""
        rate = 0.01 if self.schedule == "none" else SCHEDULES[self.schedule]()
        loss: Any = {
            "one-hot": "categorical_crossentropy",
            "labels": "sparse_categorical_crossentropy",
            "logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "numbers": Scaled() if self.callback == "loss weight" else "mse",
            "yes or no": "binary_crossentropy",
        }[self.head]
        metrics = [METRIC[name]() for name in self.metrics]
        optimizer = OPTIMIZERS[self.optimizer](rate)
        if self.precision == "mixed_float16" and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
        model.compile(optimizer, loss, metrics=metrics, weighted_metrics=[], jit_compile=self.jit)

    def _begin(self) -> tuple[Any, Any]:
        if self.kind == "two inputs":
            a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b", dtype="int32")
            words = layers.Flatten()(layers.Embedding(9, 2)(b))
            return {"a": a, "b": b}, layers.Dense(6, "tanh")(layers.Concatenate()([layers.Dense(4)(a), words]))
        shapes = {"vectors": (6,), "words": (5,), "series": (5, 3), "pictures": (6, 6, 2), "bytes": (6,)}
        dtypes = {"words": "int32", "bytes": "uint8"}
        inputs = keras.Input(shapes[self.kind], dtype=dtypes.get(self.kind))
        if self.kind == "words":
            return inputs, layers.Embedding(9, 6, mask_zero=self.number % 3 == 0)(inputs)
        return inputs, layers.Rescaling(1 / 255)(inputs) if self.kind == "bytes" else inputs


class Scaled(keras.losses.Loss):
    """A loss with a weight that a callback changes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = keras.Variable(1.0, trainable=False)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the weighted squared error."""
        return self.weight * ops.mean(ops.square(y_true - y_pred), axis=-1)


def _residual(x: Any, _: int) -> Any:
    return layers.Add()([x, layers.Dense(x.shape[-1], "relu", kernel_regularizer="l2")(x)])


def _shared(x: Any, _: int) -> Any:
    layer = layers.Dense(x.shape[-1], "tanh")
    return layer(layer(x))


def _attention(x: Any, _: int) -> Any:
    return layers.MultiHeadAttention(2, 3)(x, x)


def _dense(activation: str, **options: Any) -> Callable[[Any, int], Any]:
    return lambda x, _: layers.Dense(6, activation, **options)(x)


def _with_states(x: Any, _: int) -> Any:
    out, *states = layers.LSTM(4, return_sequences=True, return_state=True)(x)
    return layers.LSTM(4, return_sequences=True)(out, initial_state=states)


LAYERS: dict[str, Callable[[Any, int], Any]] = {
    "relu": _dense("relu"),
    "selu": _dense("selu", kernel_initializer="lecun_normal"),
    "gelu": _dense("gelu"),
    "bounded": _dense("tanh", kernel_constraint=keras.constraints.MaxNorm(1.0), bias_regularizer="l1"),
    "active": _dense("softplus", activity_regularizer=keras.regularizers.L2(1e-3)),
    "residual": _residual,
    "shared": _shared,
    "attention": _attention,
    "drop": lambda x, i: layers.Dropout(0.3, seed=i)(x),
    "noise": lambda x, i: layers.GaussianNoise(0.1, seed=i)(x),
    "batch norm": lambda x, _: layers.BatchNormalization(momentum=0.8)(x),
    "layer norm": lambda x, _: layers.LayerNormalization()(x),
    "unit norm": lambda x, _: layers.UnitNormalization()(x),
    "prelu": lambda x, _: layers.PReLU()(x),
    "lstm": lambda x, _: layers.LSTM(4, return_sequences=True)(x),
    "gru": lambda x, _: layers.Bidirectional(layers.GRU(3, return_sequences=True))(x),
    "lstm backwards": lambda x, _: layers.LSTM(4, return_sequences=True, go_backwards=True)(x),
    "lstm relu": lambda x, _: layers.LSTM(4, "relu", return_sequences=True, kernel_regularizer="l2")(x),
    "lstm drop": lambda x, i: layers.LSTM(4, return_sequences=True, dropout=0.3, seed=i)(x),
    "lstm drop states": lambda x, i: layers.LSTM(4, return_sequences=True, recurrent_dropout=0.3, seed=i)(x),
    "lstm both": lambda x, _: layers.Bidirectional(layers.LSTM(3, return_sequences=True), "sum")(x),
    "lstm states": _with_states,
    "lstm unrolled": lambda x, _: layers.LSTM(4, return_sequences=True, unroll=True)(x),
    "gru before": lambda x, _: layers.GRU(4, return_sequences=True, reset_after=False)(x),
    "gru drop": lambda x, i: layers.GRU(4, return_sequences=True, dropout=0.2, recurrent_dropout=0.2, seed=i)(x),
    "simple": lambda x, _: layers.SimpleRNN(4, "relu", return_sequences=True, use_bias=False)(x),
    "cells": lambda x, _: layers.RNN([layers.GRUCell(3), layers.LSTMCell(4)], return_sequences=True)(x),
    "masking": lambda x, _: layers.Masking()(layers.ReLU()(x)),
    "conv1": lambda x, _: layers.Conv1D(4, 3, padding="same", activation="relu")(x),
    "each step": lambda x, _: layers.TimeDistributed(layers.Dense(4))(x),
    "conv2": lambda x, _: layers.Conv2D(4, 3, padding="same", activation="relu")(x),
    "depthwise": lambda x, _: layers.DepthwiseConv2D(3, padding="same")(x),
    "separable": lambda x, _: layers.SeparableConv2D(4, 3, padding="same", activation="elu")(x),
    "max pool": lambda x, _: layers.MaxPooling2D(2, padding="same")(x),
    "mean pool": lambda x, _: layers.AveragePooling2D(2, padding="same")(x),
    "drop maps": lambda x, i: layers.SpatialDropout2D(0.3, seed=i)(x),
}
RECURRENT_LAYERS = [name for name in LAYERS if name.startswith(("lstm", "gru", "simple", "cells", "masking"))]
_ANY = ["relu", "selu", "gelu", "bounded", "active", "residual", "shared", "drop", "noise", "batch norm", "layer norm"]
STACKS = {
    "vectors": [*_ANY, "unit norm", "prelu"],
    "two inputs": [*_ANY, "unit norm"],
    "bytes": [*_ANY, "unit norm"],
    "words": [*_ANY, "attention", "lstm", "gru", "conv1", "each step"],
    "series": [*_ANY, "attention", "lstm", "gru", "conv1", "each step"],
    "pictures": ["conv2", "depthwise", "separable", "max pool", "mean pool", "drop maps", "batch norm", "relu", "drop"],
}
OPTIMIZERS: dict[str, Any] = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": keras.optimizers.Adam,
    "amsgrad": lambda rate: keras.optimizers.Adam(rate, amsgrad=True, clipnorm=0.5),
    "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.05, global_clipnorm=0.5),
    "averaged": lambda rate: keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3),
    "accumulating": lambda rate: keras.optimizers.Adam(rate, gradient_accumulation_steps=3),
    "rmsprop": lambda rate: keras.optimizers.RMSprop(rate, centered=True, momentum=0.5),
    "scaled": lambda rate: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(rate), dynamic_growth_steps=2),
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": lambda rate: keras.optimizers.Adadelta(rate, clipvalue=0.1),
    "adamax": keras.optimizers.Adamax,
    "nadam": keras.optimizers.Nadam,
    "ftrl": lambda rate: keras.optimizers.Ftrl(rate, l1_regularization_strength=0.001),
    "lion": keras.optimizers.Lion,
    "lamb": keras.optimizers.Lamb,
    "adafactor": keras.optimizers.Adafactor,
}
SCHEDULES: dict[str, Callable[[], Any]] = {
    "cosine": lambda: keras.optimizers.schedules.CosineDecay(0.02, 12),
    "steps": lambda: keras.optimizers.schedules.PiecewiseConstantDecay([3, 8], [0.02, 0.01, 0.002]),
    "exponential": lambda: keras.optimizers.schedules.ExponentialDecay(0.02, 4, 0.7, staircase=True),
}
METRIC: dict[str, Any] = {
    "accuracy": lambda: "accuracy",
    "top 2": lambda: keras.metrics.TopKCategoricalAccuracy(2),
    "sparse top 2": lambda: keras.metrics.SparseTopKCategoricalAccuracy(2),
    "f1": keras.metrics.F1Score,
    "auc": lambda: keras.metrics.AUC(num_thresholds=20),
    "mae": keras.metrics.MeanAbsoluteError,
    "r2": keras.metrics.R2Score,
    "cosine": keras.metrics.CosineSimilarity,
    "precision": keras.metrics.Precision,
}
METRICS = {
    "one-hot": ["accuracy", "top 2", "f1", "auc"],
    "labels": ["accuracy", "sparse top 2"],
    "logits": ["accuracy", "sparse top 2"],
    "numbers": ["mae", "r2", "cosine"],
    "yes or no": ["accuracy", "auc", "precision"],
}
CALLBACKS = [
    *("none", "none", "early stopping", "plateau", "rate by epoch", "rate set", "weights set", "freeze"),
    *("loss weight", "data in place", "raises"),
]


def callbacks(drawn: Configuration, model: Any, x: Any) -> list[Any]:
    """Make the drawn callback for a model and its data."""
    monitor = "loss" if drawn.held_out == "none" else "val_loss"

    def at_end(change: Callable[[int], Any]) -> Any:
        return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _logs: change(epoch))

    def set_rate(_: int) -> None:
        if drawn.schedule == "none":
            model.optimizer.learning_rate = 0.003

    def set_loss_weight(_: int) -> None:
        if isinstance(model.loss, Scaled):
            model.loss.weight.assign(model.loss.weight.value * 2)

    def change_data(_: int) -> None:
        if BACKEND != "tensorflow" and drawn.held_out != "split":  # docs/training.md: model.fit copies the data there
            for leaf in keras.tree.flatten(x):
                leaf[:] = leaf[::-1].copy()

    def raise_error(epoch: int) -> None:
        if epoch == 1:
            raise ZeroDivisionError("from a callback")

    made: dict[str, Callable[[], list[Any]]] = {
        "none": list,
        "early stopping": lambda: [keras.callbacks.EarlyStopping(monitor, patience=0, restore_best_weights=True)],
        "plateau": lambda: [keras.callbacks.ReduceLROnPlateau(monitor, patience=1)] if drawn.schedule == "none" else [],
        "rate by epoch": lambda: (
            [keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (1 + epoch))]
            if drawn.schedule == "none"
            else []
        ),
        "rate set": lambda: [at_end(set_rate)],
        "weights set": lambda: [at_end(lambda _: model.set_weights([0.9 * w for w in model.get_weights()]))],
        "freeze": lambda: [at_end(lambda _: setattr(model.layers[-1], "trainable", False))],
        "loss weight": lambda: [at_end(set_loss_weight)],
        "data in place": lambda: [at_end(change_data)],
        "raises": lambda: [at_end(raise_error)],
    }
    return made[drawn.callback]()


class BatchHook(keras.callbacks.Callback):
    """A callback with batch hooks, which notes what it gets and does what was drawn."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.hook, self.seen = hook, []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - the hook's signature
        """Note the number."""
        self.seen.append(float(batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note the logs, and act."""
        self.seen += [float(np.mean(value)) for _, value in sorted((logs or {}).items())]
        optimizer = self.model.optimizer
        if self.hook == "rate" and not callable(getattr(optimizer, "_learning_rate", None)):
            optimizer.learning_rate = 0.01 / (1 + batch)
        if self.hook == "weights" and batch == 1:
            self.model.set_weights([0.9 * w for w in self.model.get_weights()])
        if self.hook == "stop" and batch == 2:
            self.model.stop_training = True
        if self.hook == "raises" and batch == 1:
            raise ZeroDivisionError("from a batch hook")


def source(drawn: Configuration, x: Any, y: Any, weight: Any) -> tuple[Any, ...]:
    """Return x and y as drawn: arrays, or something that gives batches of them."""
    size = drawn.batch_size
    tree = (x, y) if weight is None else (x, y, weight)
    sizes = [size] if drawn.source != "shapes" else [size, size, max(1, size - 2)]
    batches, start = [], 0
    while start < drawn.n:
        stop = start + sizes[len(batches) % len(sizes)]
        batches.append(keras.tree.map_structure(lambda leaf, a=start, b=stop: leaf[a:b], tree))
        start = stop

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return len(batches)

        def __getitem__(self, index: int) -> Any:
            return batches[index]

    def forever() -> Any:
        while True:
            yield from batches

    def data_set() -> Any:
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(tree).shuffle(20, seed=drawn.number).batch(size)

    def loader() -> Any:
        import torch

        class Rows(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return drawn.n

            def __getitem__(self, index: int) -> Any:
                return keras.tree.map_structure(lambda leaf: torch.as_tensor(leaf)[index], tree)

        torch.manual_seed(drawn.number)
        return torch.utils.data.DataLoader(Rows(), batch_size=size, shuffle=True)

    def stored(leaf: Any) -> Any:
        with tempfile.TemporaryFile() as file:
            leaf.tofile(file)
            file.flush()
            return np.memmap(file, dtype=leaf.dtype, mode="r", shape=leaf.shape)

    if drawn.source in ("arrays", "memmap"):
        return (x if drawn.source == "arrays" else keras.tree.map_structure(stored, x), y)
    made = {"tf.data": data_set, "DataLoader": loader, "forever": forever, "generator": lambda: iter_of(batches)}
    return (made.get(drawn.source, Batches)(),)


def iter_of(batches: list[Any]) -> Any:
    """Return a generator of two passes over batches."""
    yield from batches * 2


OF_ONE_BUFFER = ("donate the same buffer twice", "'NoneType' object is not callable")
"""What Keras ends in under JAX where two variables share a buffer, as after averaged weights are put into a model.

JAX refuses the step; a callback that looks at the variables then finds them empty.
"""


def train(  # noqa: PLR0912 - one line or two for each thing that was drawn
    drawn: Configuration, fitted: Callable[..., Any], *, noise: float = 0.0
) -> tuple[Any, Any]:
    """Train a twin; return its state (arrays by name) and its History, or the error's type."""
    model = drawn.model()
    if noise:
        rng = np.random.default_rng(0)
        model.set_weights([w + noise * rng.normal(size=w.shape) * np.abs(w) for w in model.get_weights()])
    x, y = drawn.data(drawn.n)
    options: dict[str, Any] = {"batch_size": drawn.batch_size, "shuffle": False, "verbose": 0, "epochs": drawn.epochs}
    rng = np.random.default_rng(drawn.number)
    if drawn.weights == "samples":
        options["sample_weight"] = rng.uniform(0, 2, drawn.n).astype("float32")
    if drawn.weights == "classes" and drawn.head in ("one-hot", "labels", "logits"):
        options["class_weight"] = {0: 1.0, 1: 3.0, 2: 0.5}
    if drawn.held_out == "split":
        options["validation_split"] = 0.3
    elif drawn.held_out != "none":
        options["validation_data"] = drawn.data(drawn.n // 2 + 1, salt=1)
        options["validation_batch_size"] = 7
        options["validation_freq"] = 2 if drawn.held_out.endswith("epoch") and "early" not in drawn.callback else 1
    given: tuple[Any, ...] = (x, y)
    hook = BatchHook(drawn.hook)
    made = callbacks(drawn, model, x)
    if OWN_STEPS and drawn.hook != "none":
        made += [hook]
    if SOURCES_TOO:
        given = source(drawn, x, y, options.get("sample_weight"))
        made += [hook] if drawn.hook != "none" else []
        random.seed(drawn.number)
        if len(given) == 1:
            for name in ("sample_weight", "batch_size", "validation_split"):
                options.pop(name, None)
            options["shuffle"] = drawn.source in ("PyDataset", "shapes")
            if drawn.source in ("generator", "forever", "DataLoader"):
                options.pop("class_weight", None)
            options["steps_per_epoch"] = drawn.steps or (3 if drawn.source == "forever" else None)
    try:
        history = dict(fitted(model, *given, callbacks=made, **options).history)
        if drawn.hook != "none":
            history["batch logs"] = [np.array(hook.seen)]
        if drawn.again != "none":
            history |= {f"again {name}": value for name, value in _again(drawn, model, fitted).items()}
    except Exception as error:  # noqa: BLE001 - to be compared
        history = {
            "error": "BufferOfTwo" if any(text in str(error) for text in OF_ONE_BUFFER) else type(error).__name__
        }
        if not isinstance(error, ZeroDivisionError):
            return {}, history  # after an error in a step, JAX has taken the model's variables
    variables = [*model.variables, *model.optimizer.variables]
    # a name may be used twice, so its place counts too
    state = {f"{i} {v.path}": np.asarray(ops.convert_to_numpy(v.value), "float64") for i, v in enumerate(variables)}
    return state, history


def _again(drawn: Configuration, model: Any, fitted: Callable[..., Any]) -> Any:
    n = drawn.n - 3 if drawn.again == "fewer samples" else drawn.n
    if drawn.again == "recompiled":
        drawn.compile(model)
    if drawn.again == "frozen":
        model.layers[-1].trainable = False
    return fitted(
        model, *drawn.data(n, salt=2), batch_size=drawn.batch_size, epochs=2, shuffle=False, verbose=0
    ).history


def difference(one: tuple[Any, Any], two: tuple[Any, Any], *, samples: int) -> tuple[float, str]:
    """Return how far two results are apart, and where; infinite where they are of another kind."""
    (state, history), (other_state, other_history) = one, two
    if history.get("error") != other_history.get("error") or list(history) != list(other_history):
        return (
            np.inf,
            f"{list(history)} or {history.get('error')}, {list(other_history)} or {other_history.get('error')}",
        )
    if len(state) != len(other_state):
        return np.inf, f"{len(state)} and {len(other_state)} variables"
    worst = (0.0, "")
    # one after the other: the names of some depend on where they are made
    for (name, value), other in zip(state.items(), other_state.values(), strict=True):
        worst = max(worst, (_distance(value, other, floor=1.0), name))
    for name, values in history.items():
        if name == "error":
            continue
        if len(values) != len(other_history[name]):
            return np.inf, f"{len(values)} and {len(other_history[name])} epochs"
        # a count of samples moves in steps
        step = 0.0 if name.endswith("loss") else 2.5 / samples
        for value, other in zip(values, other_history[name], strict=True):
            away = _distance(np.asarray(value, "float64"), np.asarray(other, "float64"), floor=1.0)
            worst = max(worst, (max(0.0, away - step), name))
    return worst


def _distance(one: Any, two: Any, *, floor: float) -> float:
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    if one.shape != two.shape or (np.isfinite(one) != np.isfinite(two)).any():
        return np.inf
    away = np.where(same, 0.0, np.abs(np.where(same, 0.0, one) - np.where(same, 0.0, two)))
    scale = max(floor, float(np.abs(np.where(np.isfinite(one), one, 0)).max(initial=0)))
    return float(away.max(initial=0)) / scale


def check(number: int) -> tuple[str, str]:
    """Run a configuration; return the verdict and what to print beside it."""
    drawn = Configuration(number)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        ours = train(drawn, fit)
    reason = next((line for line in said.getvalue().splitlines() if line.startswith("mnistkit:")), "")
    reason = reason.partition(", because ")[2]
    theirs = train(drawn, lambda model, *args, **options: model.fit(*args, **options))
    away, where = difference(ours, theirs, samples=drawn.n // 4 + 1)
    if away > USUAL_ROUNDING and np.isfinite(away):
        moved = train(
            drawn,
            lambda model, *args, **options: model.fit(*args, **options),
            noise=NOISE.get(drawn.precision, USUAL_NOISE),
        )
        noise, _ = difference(moved, theirs, samples=drawn.n // 4 + 1)
        where += f" (noise {noise:.1e})"
        if away <= TIMES_NOISE * noise:
            away = 0.0
    summary = f"{'; '.join(drawn.words)}"
    if away > USUAL_ROUNDING:
        return "DIFFERENT", f"by {away:.1e} in {where}; {reason} | {summary}"
    if "error" in theirs[1] and "raises" not in (drawn.callback, drawn.hook):
        return "both raise", f"{theirs[1]['error']} | {summary}"
    return ("fell back", f"{reason} | {summary}") if reason else ("equal", summary)


def main(arguments: list[str] | None = None) -> int:
    """Run the configurations; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=300, help="how many (300)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first (0)")
    parser.add_argument("--sources", action="store_true", help="draw sources of batches and batch hooks too")
    parser.add_argument("--steps", action="store_true", help="draw train steps of the models' own too")
    parser.add_argument("--recurrent", action="store_true", help="draw models of recurrent layers")
    parser.add_argument(
        "--short", action="store_true", help="leave short runs to what is made for them (torch, tensorflow)"
    )
    parser.add_argument("--only", type=int, help="run this one alone")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    if not given.short:  # these runs are all short
        program = importlib.import_module(f"mnistkit.training.{BACKEND}.program")
        program.WORTH_STEPS = 0
        program.worth_steps = lambda _: 0  # which TensorFlow's estimates
    numbers = range(given.seed, given.seed + given.configurations) if given.only is None else [given.only]
    verdicts: Counter[str] = Counter()
    begun = time.monotonic()
    for number in numbers:
        verdict, detail = check(number)
        verdicts[verdict] += 1
        print(f"{number:5} {verdict:10} {detail}", flush=True)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"keras {keras.__version__}, {BACKEND}: {counts}; {time.monotonic() - begun:.0f} s")
    return 1 if verdicts["DIFFERENT"] else 0


if __name__ == "__main__":
    sys.exit(main())
