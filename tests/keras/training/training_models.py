"""Small models, data and comparisons for the tests of the trainer, on the backend that KERAS_BACKEND names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mnistkit.training import fit
from mnistkit.training.order import epoch_order

BATCH = 16
N = BATCH * 50
EPOCHS = 4  # 200 steps
SEED = 7
# 200 steps of the same arithmetic, rounded in another order
TOLERANCE = 1e-5
# NumPy asks __array__ for a copy keyword that the variables of Keras and the tensors of TensorFlow and PyTorch lack
without_copy_keyword = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


def pictures(n=N, *, channels=False, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    patterns = np.random.default_rng(99).normal(size=(10, 64))
    x = (patterns[labels] + rng.normal(size=(n, 64))).astype("float32") / 4
    y = np.eye(10, dtype="float32")[labels]
    return (x.reshape(n, 8, 8, 1) if channels else x), y


def optimizer(name="rmsprop"):
    return {
        "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        "plain-sgd": lambda: keras.optimizers.SGD(0.05),
        "adam": lambda: keras.optimizers.Adam(0.001),
        "adamw": lambda: keras.optimizers.AdamW(0.001, weight_decay=0.01, clipnorm=1.0),
        "nadam": lambda: keras.optimizers.Nadam(0.001),
        "rmsprop": lambda: keras.optimizers.RMSprop(0.001, rho=0.9, epsilon=1e-8),
        "schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.002, 150)),
    }[name]()


def mlp(name="rmsprop", *, activation="relu"):
    """The tutorial's model; ``activation="tanh"`` where rounding must not flip a unit on or off."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation=activation),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer(name), "categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["mae"])
    return model


def cnn(name="adam"):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("tanh"),
            keras.layers.AveragePooling2D(2),
            keras.layers.Dropout(0.25, seed=5),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5, seed=6),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    # XLA and TensorFlow's own kernels draw other dropout masks from one seed, so both sides are compiled
    model.compile(optimizer(name), "categorical_crossentropy", metrics=["accuracy"], jit_compile=_xla())
    return model


def two_inputs(name="adam"):
    keras.utils.set_random_seed(3)
    a, b = keras.Input((32,), name="left"), keras.Input((32,), name="right")
    both = keras.layers.concatenate([keras.layers.Dense(8, "tanh")(a), keras.layers.Dense(8, "tanh")(b)])
    digit = keras.layers.Dense(10, "softmax", name="digit", kernel_regularizer=keras.regularizers.L2(1e-3))(both)
    parity = keras.layers.Dense(1, "sigmoid", name="parity")(both)
    model = keras.Model({"left": a, "right": b}, {"digit": digit, "parity": parity})
    model.compile(
        optimizer(name),
        {"digit": "categorical_crossentropy", "parity": "binary_crossentropy"},
        metrics={"digit": ["accuracy"], "parity": ["accuracy", keras.metrics.AUC(num_thresholds=20, name="auc")]},
        loss_weights={"digit": 1.0, "parity": 0.3},
    )
    return model


def two_input_data(n=N):
    x, y = pictures(n)
    odd = (y.argmax(1) % 2).astype("float32")[:, None]
    return {"left": x[:, :32], "right": x[:, 32:]}, {"digit": y, "parity": odd}


def plain_fit(model, x, y, *, epochs=EPOCHS, sample_weight=None, **extra):
    """Keras' own fit on the batches that the trainer draws."""
    history = {}
    for epoch in range(epochs):
        rows = epoch_order(len(keras.tree.flatten(x)[0]), seed=SEED, epoch=epoch)
        inputs, targets, weight = keras.tree.map_structure(
            lambda leaf, rows=rows: leaf if leaf is None else leaf[rows], (x, y, sample_weight)
        )
        result = model.fit(
            inputs, targets, sample_weight=weight, batch_size=BATCH, epochs=1, shuffle=False, verbose=0, **extra
        )
        for name, values in result.history.items():
            history.setdefault(name, []).extend(values)
    return history


def both(make, data, *, epochs=EPOCHS, **extra):
    """Train one model with the trainer and its twin with model.fit on the same batches."""
    fast, plain = make(), make()
    got = fit(fast, *data, epochs=epochs, batch_size=BATCH, seed=SEED, verbose=0, **extra).history
    return fast, plain, got, plain_fit(plain, *data, epochs=epochs, **extra)


def state(model):
    """Everything training changes, as NumPy arrays."""
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(keras.ops.convert_to_numpy(v.value)).astype("float64") for v in variables]


def assert_same_state(one, two, *, tolerance=TOLERANCE):
    assert len(state(one)) == len(state(two))
    for variable, a, b in zip([*one.variables, *one.optimizer.variables], state(one), state(two), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(a).max()), err_msg=variable.path)


def assert_same_history(one, two, *, tolerance=TOLERANCE):
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=tolerance, atol=tolerance, err_msg=name)


def _xla():
    return True if keras.backend.backend() == "tensorflow" else "auto"
