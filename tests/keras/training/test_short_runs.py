"""Runs too short for what takes long to make, and calls with other numbers of samples."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
from training_models import (
    BATCH,
    SEED,
    assert_same_history,
    assert_same_state,
    both,
    cnn,
    mlp,
    pictures,
    plain_fit,
    two_input_data,
    two_inputs,
)

from mnistkit.training import fit

BACKEND = keras.backend.backend()
WORTH = 12  # steps, in these tests


@pytest.fixture(autouse=True)
def worth(worth_steps):
    worth_steps(0 if BACKEND == "jax" else WORTH)


def entries(model, *, training=True):
    return [one for key, one in vars(model)["_mnistkit_programs"].entries.items() if key[0] == training]


def is_made(model, *, training=True):
    """Tell whether there is what takes long to make: a trace under PyTorch, a program of XLA's elsewhere."""
    (entry,) = entries(model, training=training)
    if BACKEND == "tensorflow":
        return any(steps.by_xla is not None for steps in entry.program._sizes.values())
    return entry.program is not None


@pytest.mark.parametrize("make", [mlp, cnn, two_inputs])
def test_a_short_run_is_equal(make, capsys):
    n = BATCH * 3 + (0 if make is two_inputs else 5)  # Keras counts the losses of several outputs by whole batches
    data = two_input_data(n) if make is two_inputs else pictures(n, channels=make is cnn)
    fast, plain, got, wanted = both(make, data, epochs=2, validation_data=data)
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    assert not capsys.readouterr().err
    assert is_made(fast) == (BACKEND == "jax" or (make is cnn and BACKEND == "tensorflow"))  # that one asks for XLA


def test_as_many_steps_as_are_worth_it_make_a_program_and_fewer_do_not():
    for epochs in (WORTH // 3 - 1, WORTH // 3):
        fast, plain, got, wanted = both(mlp, pictures(BATCH * 3), epochs=epochs, validation_data=pictures(BATCH))
        assert is_made(fast) == (BACKEND == "jax" or epochs * 3 >= WORTH)
        assert is_made(fast, training=False) == (BACKEND == "jax")  # there are fewer steps of evaluation
        assert_same_state(fast, plain)
        assert_same_history(got, wanted)


def test_short_calls_add_up():
    fast, plain = mlp(), mlp()
    made = []
    for call in range(4):
        data = pictures(BATCH * 4 + 3 * call, seed=call)
        got = fit(fast, *data, batch_size=BATCH, seed=SEED, verbose=0).history
        assert_same_history(got, plain_fit(plain, *data, epochs=1))
        assert_same_state(fast, plain)
        made.append(is_made(fast))
    assert made == ([True] * 4 if BACKEND == "jax" else [False, False, True, True])
    fast.compile("sgd", "mse")  # another step: what was asked for before does not count
    fit(fast, *data, batch_size=BATCH, verbose=0)
    assert is_made(fast) == (BACKEND == "jax")


def test_a_run_that_goes_on_is_decided_as_the_long_run_is():
    model = mlp()
    fit(model, *pictures(BATCH * 2), batch_size=BATCH, initial_epoch=WORTH // 2 - 1, epochs=WORTH // 2, verbose=0)
    assert is_made(model)


@pytest.mark.parametrize(("freq", "count"), [(1, 12), (2, 6), (5, 2), ([1, 12, 13, 12], 2), ({3}, 1)])
def test_evaluations_are_counted(freq, count):
    from mnistkit.training.assemble import _epochs

    assert _epochs({"epochs": 12, "initial_epoch": 4, "validation_freq": freq}) == (12, count)


def test_a_callback_that_compiles_anew_in_a_short_run():
    class Anew(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002 - Keras passes it by name
            if epoch == 0:
                self.model.compile(keras.optimizers.SGD(0.05), "categorical_crossentropy")

    fast, plain = mlp(), mlp()
    data = pictures(BATCH * 2 + 3)
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    fit(fast, *data, epochs=3, callbacks=[Anew()], **options)
    plain.fit(*data, epochs=1, callbacks=[Anew()], **options)
    plain.fit(*data, epochs=2, **options)
    assert_same_state(fast, plain)


class Counts:
    """Counts calls of a function."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.function(*args, **kwargs)


@pytest.fixture
def traced(monkeypatch):
    """How many steps are traced."""
    if BACKEND == "torch":
        from mnistkit.training.torch import trace

        counts = Counts(trace.trace)
        monkeypatch.setattr(trace, "trace", counts)
        return counts
    import importlib

    program = importlib.import_module(f"mnistkit.training.{BACKEND}.program").Program
    counts = Counts(program._trace)
    monkeypatch.setattr(program, "_trace", lambda self, *args, **kwargs: counts(self, *args, **kwargs))
    return counts


@pytest.mark.skipif(BACKEND == "jax", reason="model.fit under JAX compiles each size of the last batch too")
def test_other_numbers_of_samples_are_not_traced_again(traced, worth_steps):
    worth_steps(0)
    model = mlp()
    for n in range(BATCH * 2 + 1, BATCH * 3):
        fit(model, *pictures(n), batch_size=BATCH, verbose=0)
    assert traced.calls == (1 if BACKEND == "torch" else 2)  # whole batches, and under TensorFlow the last of any size
    fit(model, *pictures(BATCH * 3), batch_size=BATCH // 2, verbose=0)
    assert traced.calls == (2 if BACKEND == "torch" else 3)


def test_the_last_batch_of_any_size_is_equal():
    fast, plain = mlp("adam"), mlp("adam")
    for n in range(BATCH + 1, 2 * BATCH, 4):
        data = pictures(n, seed=n)
        got = fit(fast, *data, batch_size=BATCH, epochs=1, seed=SEED, verbose=0).history
        assert_same_history(got, plain_fit(plain, *data, epochs=1))
    assert_same_state(fast, plain)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends know the size of each batch")
def test_a_step_that_needs_the_size_of_the_batch():
    class Filled(keras.layers.Layer):
        def call(self, x):
            return keras.ops.concatenate([x, keras.ops.ones((int(x.shape[0]), 1))], axis=1)

        def compute_output_shape(self, shape):
            return (shape[0], shape[1] + 1)

    model = keras.Sequential([Filled(), keras.layers.Dense(10, "softmax")])
    model.compile("sgd", "categorical_crossentropy")
    history = fit(model, *pictures(BATCH * 2 + 3), batch_size=BATCH, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert {*entries(model)[0].program._sizes} == {BATCH, 3}


def objects():
    """How many objects there are, after the garbage is collected, whose number a leak would raise."""
    gc.collect()
    ours = [one for one in gc.get_objects() if str(type(one).__module__).startswith("mnistkit.training")]
    return len(ours), sum(issubclass(type(one), keras.Variable) for one in gc.get_objects())


def test_calls_leave_nothing_behind():
    model = mlp()
    data = [pictures(n) for n in (BATCH * 3, BATCH * 3 + 5)]
    seen = []
    for call in range(60):
        fit(model, *data[call % 2], batch_size=BATCH, verbose=0, validation_data=data[0])
        if call in (19, 59):
            seen.append(objects())
    assert seen[0] == seen[1]
    kept = [model.history]
    for _ in range(3):
        kept.append(mlp())
        fit(kept[-1], *data[0], batch_size=BATCH, verbose=0)
    assert objects() > seen[1]  # programs that are held are seen
    assert np.isfinite(model.history.history["loss"]).all()
