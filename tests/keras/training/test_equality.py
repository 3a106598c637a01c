"""The trainer and model.fit give the same weights, optimizer state, metrics and History from the same batches."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from training_models import (
    BATCH,
    EPOCHS,
    SEED,
    N,
    assert_same_history,
    assert_same_state,
    both,
    cnn,
    mlp,
    pictures,
    state,
    two_input_data,
    two_inputs,
    without_copy_keyword,
)

from mnistkit.training import fit
from mnistkit.training.making import COMPILE_REST_FROM

pytestmark = without_copy_keyword


@pytest.fixture(autouse=True)
def no_fallback(capsys):
    yield
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["plain-sgd", "sgd", "adam", "adamw", "nadam", "rmsprop", "schedule"])
def test_tutorial_model(name):
    fast, plain, got, wanted = both(lambda: mlp(name, activation="tanh"), pictures())
    assert int(keras.ops.convert_to_numpy(fast.optimizer.iterations.value)) == EPOCHS * N // BATCH
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)


def test_one_batch_of_another_order_is_seen():
    fast, plain, _, _ = both(mlp, pictures(), epochs=1)
    assert_same_state(fast, plain)
    x, y = pictures()
    plain.fit(x[:BATCH], y[:BATCH], batch_size=BATCH, verbose=0)
    with pytest.raises(AssertionError):
        assert_same_state(fast, plain)


def test_cnn_with_dropout_and_batch_normalization():
    x, y = pictures(channels=True)
    fast, plain, got, wanted = both(cnn, (x, y), validation_data=pictures(40, channels=True, seed=1))
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)


def test_cnn_with_dropout_and_a_partial_batch():
    fast, plain, got, wanted = both(
        cnn, pictures(BATCH * 4 + 3, channels=True), validation_data=pictures(5, channels=True)
    )
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)


def test_dropout_is_at_work():
    def without():
        model = cnn()
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        return model

    x, y = pictures(channels=True)
    one, two = cnn(), without()
    for model in (one, two):
        fit(model, x, y, epochs=1, batch_size=BATCH, seed=SEED, verbose=0)
    assert np.abs(state(one)[0] - state(two)[0]).max() > 1e-3


def test_two_inputs_and_two_outputs():
    x, y = two_input_data()
    # whole batches: under TensorFlow, fit counts a partial batch as a whole one in the loss of each single output
    fast, plain, got, wanted = both(two_inputs, (x, y), validation_data=two_input_data(BATCH * 3))
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)


def test_partial_last_batch():
    n = N - 5
    fast, plain, got, wanted = both(
        lambda: mlp("adam", activation="tanh"), pictures(n), validation_data=pictures(BATCH + 3, seed=1)
    )
    assert int(keras.ops.convert_to_numpy(fast.optimizer.iterations.value)) == EPOCHS * N // BATCH
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)


def test_partial_last_batch_by_keras_and_by_a_program_of_its_own():
    """The first epochs are not worth a program; one is made where the epochs go on, and it changes nothing."""
    n = BATCH * 2 + 5

    def sizes(model):
        (entry,) = vars(model)["_mnistkit_programs"].entries.values()
        (known,) = (part for name, part in vars(entry.program).items() if name in {"_traced", "_sizes", "_replays"})
        if keras.backend.backend() == "tensorflow":
            return sorted(size for size, steps in known.items() if steps.last != "kernels, each")
        return sorted(known)

    def twin():
        return mlp("adam", activation="tanh")

    few, _, _, _ = both(twin, pictures(n), epochs=2)
    assert sizes(few) == ([5, BATCH] if keras.backend.backend() == "jax" else [BATCH])
    many, plain, got, wanted = both(twin, pictures(n), epochs=COMPILE_REST_FROM + 2)
    assert sizes(many) == [5, BATCH]
    assert_same_state(many, plain)
    assert_same_history(got, wanted)


def test_partial_last_batch_counts_by_its_samples():
    # the mean over samples and the mean over batches differ when the last batch is small; fit gives the first
    x, y = pictures(BATCH + 1)
    model = mlp("plain-sgd")
    model.optimizer.learning_rate = 0.0
    history = fit(model, x, y, batch_size=BATCH, seed=0, shuffle=False, verbose=0).history
    losses = keras.ops.convert_to_numpy(keras.losses.categorical_crossentropy(y, model(x)))
    by_sample, by_batch = losses.mean(), (losses[:BATCH].mean() + losses[BATCH]) / 2
    assert history["loss"][0] == pytest.approx(by_sample, abs=1e-5)
    assert history["loss"][0] != pytest.approx(by_batch, abs=1e-5)


def assert_weighting_is_fits(**weighting):
    """The same as ``model.fit`` with the same weights, and not the same as without."""
    fast, plain, got, wanted = both(lambda: mlp("adam", activation="tanh"), pictures(), **weighting)
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    unweighted = mlp("adam", activation="tanh")
    fit(unweighted, *pictures(), epochs=EPOCHS, batch_size=BATCH, seed=SEED, verbose=0)
    with pytest.raises(AssertionError):
        assert_same_state(fast, unweighted)


def test_class_weight():
    assert_weighting_is_fits(class_weight={0: 5.0, 3: 0.1, 7: 2.0})


def test_sample_weight():
    assert_weighting_is_fits(sample_weight=np.random.default_rng(0).uniform(0, 3, N).astype("float32"))


def test_validation_numbers_are_those_of_evaluate():
    model = mlp()
    val = pictures(BATCH * 2 + 5, seed=1)
    history = fit(model, *pictures(), epochs=2, batch_size=BATCH, seed=0, verbose=0, validation_data=val).history
    wanted = model.evaluate(*val, batch_size=BATCH, verbose=0, return_dict=True)
    for name, value in wanted.items():
        assert history[f"val_{name}"][-1] == pytest.approx(value, abs=1e-6)
        assert history[f"val_{name}"][0] != pytest.approx(value, abs=1e-6)


def test_validation_split_takes_the_end():
    x, y = pictures()
    one, two = mlp(), mlp()
    got = fit(one, x, y, batch_size=BATCH, seed=0, verbose=0, validation_split=0.25).history
    cut = N * 3 // 4
    wanted = fit(two, x[:cut], y[:cut], batch_size=BATCH, seed=0, verbose=0, validation_data=(x[cut:], y[cut:])).history
    assert got == wanted
    assert_same_state(one, two, tolerance=0)


def test_mixed_bfloat16():
    def make():
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            return mlp("adam", activation="tanh")
        finally:
            keras.config.set_dtype_policy("float32")

    fast, plain, got, wanted = both(make, pictures())
    assert fast.layers[0].compute_dtype == "bfloat16"
    # bfloat16 keeps 8 bits, and a compiler may keep more between two operations
    assert_same_state(fast, plain, tolerance=0.02)
    assert_same_history(got, wanted, tolerance=0.02)
