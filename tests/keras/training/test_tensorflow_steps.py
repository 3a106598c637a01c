"""Fused batch normalization under TensorFlow: the same numbers, and only where the kernel does what the layer does."""

from __future__ import annotations

import functools

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the tensorflow backend's own", allow_module_level=True)

import numpy as np
import tensorflow as tf
from training_models import (
    BATCH,
    assert_same_history,
    assert_same_state,
    both,
    optimizer,
    pictures,
    state,
    without_copy_keyword,
)

from mnistkit.training import fit

pytestmark = without_copy_keyword


class Own(keras.layers.BatchNormalization):
    """Somebody's own layer, which may mean something else."""


BATCH_NORMALIZATION = keras.layers.BatchNormalization
NORMALIZATION = {
    "usual": [(BATCH_NORMALIZATION, {})],
    "momentum and epsilon": [(BATCH_NORMALIZATION, {"momentum": 0.7, "epsilon": 0.1})],
    "options that keep Keras' own": [
        (BATCH_NORMALIZATION, {"scale": False}),
        (BATCH_NORMALIZATION, {"center": False}),
        (BATCH_NORMALIZATION, {"axis": 1}),
        (BATCH_NORMALIZATION, {"renorm": True}),
        (BATCH_NORMALIZATION, {"trainable": False}),
        (BATCH_NORMALIZATION, {"epsilon": 1e-6}),
        (Own, {}),
    ],
    "double": [(BATCH_NORMALIZATION, {"dtype": "float64"})],
}


def normalized(kind):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            *[layer(**options) for layer, options in NORMALIZATION[kind]],
            keras.layers.Activation("tanh"),
            keras.layers.Dropout(0.3, seed=5),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer("adam"), "categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("kind", NORMALIZATION)
def test_normalization_is_fits(kind, capsys):
    data = pictures(BATCH * 20, channels=True)
    fast, plain, got, wanted = both(lambda: normalized(kind), data, validation_data=pictures(BATCH, channels=True))
    assert capsys.readouterr().err == ""
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    assert ("FusedBatchNormV3" in operations(fast)) == (kind in {"usual", "momentum and epsilon"})


def test_moving_averages_are_at_work():
    fast, plain, _, _ = both(lambda: normalized("usual"), pictures(BATCH * 20, channels=True))
    other, _, _, _ = both(lambda: normalized("momentum and epsilon"), pictures(BATCH * 20, channels=True))
    assert_same_state(fast, plain)
    moved = [variable.path for variable in fast.non_trainable_variables if "moving" in variable.path]
    assert len(moved) == 2
    assert max(np.abs(a - b).max() for a, b in zip(state(fast), state(other), strict=True)) > 1e-3


def categories(ids, labels, *, jit_compile="auto"):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Embedding(5, 4), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=jit_compile)
    return model, ids, labels


def way_of(model):
    entries = vars(model)["_mnistkit_programs"].entries
    return next(iter(entries.values())).program._sizes[BATCH].last


def test_ids_and_labels_out_of_range_raise_as_in_model_fit(capsys):
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(0, 5, (BATCH * 3, 6)).astype("int32"), rng.integers(0, 3, BATCH * 3)
    model, *data = categories(ids, labels)
    fit(model, *data, batch_size=BATCH, verbose=0)
    assert way_of(model) == "xla"
    wrong_id, negative_id, wrong_label = ids.copy(), ids.copy(), labels.copy()
    wrong_id[20, 3], negative_id[20, 3], wrong_label[20] = 5, -7, 3
    for x, y in ((wrong_id, labels), (negative_id, labels), (ids, wrong_label)):
        ours, *data = categories(x, y)
        theirs, *_ = categories(x, y)
        for fitted in (functools.partial(fit, ours), theirs.fit):
            with pytest.raises(tf.errors.InvalidArgumentError):
                fitted(*data, batch_size=BATCH, verbose=0, shuffle=False)
        assert_same_state(ours, theirs)  # after the first batch, which is right
        assert way_of(ours) == "kernels"
    fit(ours, ids, labels, batch_size=BATCH, verbose=0)
    assert way_of(ours) == "xla"
    assert capsys.readouterr().err == ""


class Divides(keras.layers.Layer):
    def call(self, x):
        return x // keras.ops.max(x)


def test_a_division_by_zero_raises_as_in_model_fit():
    def make():
        model = keras.Sequential([keras.Input((2,), dtype="int32"), Divides(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    zeros = np.zeros((BATCH, 2), "int32")
    for fitted in (functools.partial(fit, make()), make().fit):
        with pytest.raises(tf.errors.InvalidArgumentError, match="division by zero"):
            fitted(zeros, zeros[:, :1].astype("float32"), batch_size=BATCH, verbose=0)


def test_gradients_at_zero_are_those_of_the_kernels(capsys):
    """The gradients of these are NaN under XLA in a row of zeros, or another one."""

    def make():
        keras.utils.set_random_seed(3)
        inputs = keras.Input((4,))
        shared = keras.layers.Dense(4, use_bias=False)(inputs)
        length = keras.ops.sum(keras.ops.square(shared), axis=-1, keepdims=True)
        parts = [
            keras.ops.normalize(shared),
            keras.ops.relu(keras.ops.sqrt(length) - 0.01),
            keras.ops.minimum(keras.ops.reciprocal(keras.ops.square(shared)), 3.0),
            keras.ops.selu(shared),
        ]
        model = keras.Model(inputs, keras.layers.Dense(1)(keras.ops.concatenate(parts, axis=-1)))
        model.compile("adam", "mse")
        return model

    rng = np.random.default_rng(0)
    x, y = np.abs(rng.normal(size=(BATCH * 2, 4))).astype("float32"), rng.normal(size=(BATCH * 2, 1)).astype("float32")
    x[5] = 0
    fast, plain, got, wanted = both(make, (x, y), epochs=2)
    assert way_of(fast) == "xla"
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    assert capsys.readouterr().err == ""


class Noise(keras.layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


def test_global_random_numbers_go_to_model_fit(capsys):
    def make():
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((64,)), Noise(), keras.layers.Dense(10)])
        model.compile("sgd", "mse")
        return model

    fit(make(), *pictures(BATCH * 2), batch_size=BATCH, verbose=0)
    assert "draws from TensorFlow's global random generator" in capsys.readouterr().err


def operations(model):
    """Return the names of the operations of the training program."""
    entries = vars(model)["_mnistkit_programs"].entries
    program = next(entry.program for (training, *_), entry in entries.items() if training)
    definition = program._sizes[BATCH].by_kernels.get_concrete_function().graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return {node.op for node in nodes}


def worth_of(units, *, recurrent=False):
    from mnistkit.training.tensorflow import worth

    layers = [keras.layers.LSTM(units) if recurrent else keras.layers.Dense(units), keras.layers.Dense(10)]
    shape = (4, 8) if recurrent else (64,)
    model = keras.Sequential([keras.Input(shape), *layers])
    model.compile("adam", "mse")
    data = np.zeros((BATCH, *shape), "float32")
    fit(model, data, np.zeros((BATCH, 10), "float32"), batch_size=BATCH, verbose=0)
    entries = vars(model)["_mnistkit_programs"].entries
    return worth.worth_steps(next(iter(entries.values())).program._sizes[BATCH].traced.graph)


def test_what_xla_saves_more_of_needs_fewer_steps_until_it_is_compiled(worth_steps):
    worth_steps(2)  # more than each run has: nothing is compiled here
    small = worth_of(1)
    assert small == worth_of(1)  # no clock is in it
    assert worth_of(4096) < small / 10
    assert worth_of(1, recurrent=True) < small / 2  # the nodes of a loop run in each time step


def test_the_attributes_are_noted_only_where_something_is_to_be_built(monkeypatch, worth_steps):
    from mnistkit.training import programs

    worth_steps(1000)  # nothing is compiled here
    noted, original = [], programs.PythonState
    monkeypatch.setattr(programs, "PythonState", lambda *args, **options: noted.append(1) or original(*args, **options))
    model = keras.Sequential([keras.layers.Dense(10)])
    model.compile("sgd", "mse")
    for _ in range(2):
        fit(model, *pictures(BATCH), batch_size=BATCH, epochs=2, verbose=0)
        assert len(noted) == 1  # in the first epoch, and never again
    model.compile("sgd", "mse", metrics=["mae"])  # whose variables are missing
    fit(model, *pictures(BATCH), batch_size=BATCH, verbose=0)
    assert len(noted) == 2
