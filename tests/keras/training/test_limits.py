"""Unusual arguments and models: the trainer gives what model.fit gives, or names the reason why it does not."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from one_backend import few
from training_models import (
    BATCH,
    SEED,
    N,
    assert_same_history,
    assert_same_state,
    both,
    cnn,
    mlp,
    pictures,
    plain_fit,
    state,
    two_input_data,
    two_inputs,
    without_copy_keyword,
)

from mnistkit.core.errors import InputError
from mnistkit.training import fit, kept, keras_hooks

BACKEND = keras.backend.backend()
KERAS = tuple(int(part) for part in keras.__version__.split(".")[:2])
pytestmark = without_copy_keyword


def assert_as_fit(make, x, y, *, epochs=1, tolerance=1e-5, **extra):
    """Train twins on the same batches, one with the trainer and one with model.fit."""
    fast, plain, got, wanted = both(make, (x, y), epochs=epochs, **extra)
    assert_same_state(fast, plain, tolerance=tolerance)
    assert_same_history(got, wanted, tolerance=tolerance)
    assert np.abs(state(fast)[0] - state(make())[0]).max() > 0
    return got


def with_optimizer(optimizer, **options):
    model = mlp(activation="tanh")
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"], **options)
    return model


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": "32"},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"batch_size": 0},
        {"epochs": -1},
        {"epochs": 1.5},
        {"seed": -1},
        {"seed": "one"},
    ],
    ids=str,
)
def test_wrong_numbers(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is .*: give an integer from"):
        fit(mlp(), *pictures(BATCH), **wrong)


def test_no_batch_size_is_keras_default():
    one, two = mlp(), mlp()
    fit(one, *pictures(64), batch_size=None, seed=0, verbose=0)
    fit(two, *pictures(64), batch_size=32, seed=0, verbose=0)
    assert_same_state(one, two, tolerance=0)


def test_nothing_to_learn_from():
    x, y = pictures(BATCH)
    with pytest.raises(InputError, match="at least 1"):
        fit(mlp(), x[:0], y[:0])
    with pytest.raises(InputError, match="at least 1"):
        fit(mlp(), x, y, validation_data=(x[:0], y[:0]))


def test_no_epochs():
    model = mlp()
    before = state(model)[0]
    assert fit(model, *pictures(BATCH), epochs=0, verbose=0).history == {}
    assert (state(model)[0] == before).all()


def test_fewer_samples_than_a_batch(capsys):
    assert_as_fit(lambda: mlp("adam", activation="tanh"), *pictures(BATCH - 5), epochs=3)
    assert capsys.readouterr().err == ""


def test_nan_goes_through_as_in_fit(capsys):
    x, y = pictures(BATCH * 3)
    x[BATCH] = np.nan
    history = fit(mlp(), x, y, epochs=2, batch_size=BATCH, seed=0, verbose=0).history
    assert np.isnan(history["loss"]).all()
    assert capsys.readouterr().err == ""


def test_integers_and_a_layer_that_scales(capsys):
    def make():
        keras.utils.set_random_seed(3)
        layers = [keras.Input((64,), dtype="uint8"), keras.layers.Rescaling(1 / 255), keras.layers.Dense(10)]
        model = keras.Sequential(layers)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

    rng = np.random.default_rng(0)
    assert_as_fit(make, rng.integers(0, 256, (N, 64)).astype("uint8"), rng.integers(0, 10, N).astype("uint8"))
    err = capsys.readouterr().err
    if BACKEND == "torch" and KERAS < (3, 14):
        assert "torch cannot compile it" in err  # the step of these versions reads the value of a tensor
    else:
        assert err == ""


def test_masks(capsys):
    def make():
        keras.utils.set_random_seed(3)
        words, pool = keras.layers.Embedding(20, 8, mask_zero=True), keras.layers.GlobalAveragePooling1D()
        model = keras.Sequential([keras.Input((6,), dtype="int32"), words, pool, keras.layers.Dense(1)])
        model.compile("adam", "mse")
        return model

    rng = np.random.default_rng(0)
    x = rng.integers(0, 20, (N, 6)).astype("int32")
    x[:, 4:] = 0
    assert_as_fit(make, x, rng.normal(size=(N, 1)).astype("float32"))
    assert capsys.readouterr().err == ""


class Reconstruct(keras.layers.Layer):
    """Adds the loss of reconstructing its input, so that a model needs no targets."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = keras.layers.Dense(8, "tanh"), keras.layers.Dense(64)

    def build(self, shape):
        self.inner.build(shape)
        self.outer.build((None, 8))

    def call(self, x):
        made = self.outer(self.inner(x))
        self.add_loss(keras.ops.mean(keras.ops.square(made - x)))
        return made


def test_a_model_without_targets(capsys):
    def make():
        keras.utils.set_random_seed(3)
        inputs = keras.Input((64,))
        model = keras.Model(inputs, Reconstruct()(inputs))
        model.compile("adam")
        return model

    assert_as_fit(make, pictures()[0], None)
    assert capsys.readouterr().err == ""


OPTIMIZERS = {
    "ema": lambda: keras.optimizers.Adam(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=20),
    "global clipnorm": lambda: keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1),
    "clipvalue": lambda: keras.optimizers.RMSprop(clipvalue=0.001, centered=True, momentum=0.5),
    "amsgrad": lambda: keras.optimizers.Adam(amsgrad=True, weight_decay=0.01),
    "lion": lambda: keras.optimizers.Lion(1e-4),
    "adagrad": lambda: keras.optimizers.Adagrad(0.01),
    "adadelta": lambda: keras.optimizers.Adadelta(0.5),
    "adamax": lambda: keras.optimizers.Adamax(0.001),
    "ftrl": lambda: keras.optimizers.Ftrl(0.01),
}


@pytest.mark.parametrize("name", few(OPTIMIZERS, everywhere=["ema", "global clipnorm", "clipvalue", "lion", "ftrl"]))
def test_optimizers(name, capsys):
    assert_as_fit(lambda: with_optimizer(OPTIMIZERS[name]()), *pictures())
    assert capsys.readouterr().err == ""


def test_the_loss_of_each_output_counts_by_samples(capsys):
    """docs/training.md, «What differs»: under TensorFlow Keras' own evaluation counts it by batches."""
    x, y = two_input_data(BATCH + 1)
    model = two_inputs()
    model.optimizer.learning_rate = 0.0
    history = fit(model, x, y, batch_size=BATCH, seed=0, verbose=0, validation_data=(x, y)).history
    outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, model(x))
    losses = -np.log((outputs["digit"] * y["digit"]).sum(-1))
    by_sample, by_batch = losses.mean(), (losses[:BATCH].mean() + losses[BATCH]) / 2
    assert abs(by_sample - by_batch) > 1e-3
    assert history["val_digit_loss"][0] == pytest.approx(by_sample, abs=1e-4)
    of_keras = model.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)["digit_loss"]
    assert of_keras == pytest.approx(by_batch if BACKEND == "tensorflow" else by_sample, abs=1e-4)
    assert capsys.readouterr().err == ""


CONDITIONAL = {  # what such a step does depends on the values of this step
    "accumulation": lambda: keras.optimizers.Adam(0.001, gradient_accumulation_steps=3),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.001), dynamic_growth_steps=20),
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_optimizers_with_conditions(name, capsys):
    assert_as_fit(lambda: with_optimizer(CONDITIONAL[name]()), *pictures(N - 3), epochs=2)
    assert capsys.readouterr().err == ""


def test_a_loss_scale_that_overflows(capsys):
    def make():
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.001), initial_scale=1e38)
        return with_optimizer(scaled)

    assert_as_fit(make, *pictures())
    assert capsys.readouterr().err == ""


schedules = keras.optimizers.schedules
SCHEDULES = {
    "cosine": lambda: schedules.CosineDecay(0.002, 30, alpha=0.1),
    "cosine after warmup": lambda: schedules.CosineDecay(1e-4, 30, warmup_target=0.002, warmup_steps=10),
    "cosine with restarts": lambda: schedules.CosineDecayRestarts(0.002, 10),
    "exponential": lambda: schedules.ExponentialDecay(0.002, 20, 0.5, staircase=True),
    "inverse time": lambda: schedules.InverseTimeDecay(0.002, 20, 0.5),
    "piecewise constant": lambda: schedules.PiecewiseConstantDecay([10, 30], [0.002, 0.001, 0.0001]),
    "polynomial": lambda: schedules.PolynomialDecay(0.002, 20, cycle=True),
}


def test_every_schedule_of_keras_is_here():
    found = {name for name in dir(schedules) if isinstance(getattr(schedules, name), type)}
    assert {type(make()).__name__ for make in SCHEDULES.values()} == found - {"LearningRateSchedule"}


@pytest.mark.parametrize("name", few(SCHEDULES, everywhere=("cosine after warmup", "piecewise constant")))
def test_schedules(name, capsys):
    assert_as_fit(lambda: with_optimizer(keras.optimizers.Adam(SCHEDULES[name]())), *pictures())
    assert capsys.readouterr().err == ""


def test_jit_compile_false(capsys):
    assert_as_fit(lambda: with_optimizer("adam", jit_compile=False), *pictures())
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(BACKEND == "torch", reason="it has no compiled loops")
def test_convolutions_stay_out_of_loops():
    def looped(model, x, y):
        fit(model, x, y, batch_size=BATCH, seed=0, verbose=0)
        (entry,) = vars(model)["_mnistkit_programs"].entries.values()
        return entry.program.loops(BATCH)

    assert looped(mlp(), *pictures(BATCH * 2))
    assert not looped(cnn(), *pictures(BATCH * 2, channels=True))


def left_to_keras(model):
    """Give a model a train function of its own, so that ``model.fit`` does the run."""

    class OwnLoop(type(model)):
        def make_train_function(self, *args, **kwargs):
            return super().make_train_function(*args, **kwargs)

    model.__class__ = OwnLoop
    return model


def test_model_fit_gets_the_same_batches(capsys):
    n = N - 3
    weight = np.random.default_rng(0).uniform(0, 3, n).astype("float32")
    plain, fast, other = mlp(), mlp(), mlp()
    options = {"epochs": 2, "batch_size": BATCH, "verbose": 0}
    fit(left_to_keras(fast), *pictures(n), seed=SEED, sample_weight=weight, **options)
    assert capsys.readouterr().err.count("\n") == 1
    plain_fit(plain, *pictures(n), epochs=2, sample_weight=weight)
    assert_same_state(fast, plain)
    fit(left_to_keras(other), *pictures(n), seed=SEED + 1, sample_weight=weight, **options)
    with pytest.raises(AssertionError):
        assert_same_state(other, plain)


@pytest.mark.parametrize("way", [lambda model: model, left_to_keras], ids=["trainer", "fallback"])
def test_class_weights_leave_the_held_out_samples_alone(way):
    ours, theirs, other = mlp(activation="tanh"), mlp(activation="tanh"), mlp(activation="tanh")
    options = {"epochs": 2, "batch_size": BATCH, "verbose": 0, "shuffle": False, "validation_split": 0.25}
    got = fit(way(ours), *pictures(), class_weight={1: 30.0}, **options).history
    wanted = theirs.fit(*pictures(), class_weight={1: 30.0}, **options).history
    assert_same_history(got, wanted)
    assert_same_state(ours, theirs)
    unweighted = fit(other, *pictures(), **options).history
    assert abs(unweighted["loss"][0] - got["loss"][0]) > 1e-2


def test_model_fit_gets_the_same_samples_to_hold_out():
    fast, slow = mlp(), mlp()
    options = {"epochs": 2, "batch_size": BATCH, "verbose": 0, "seed": SEED, "validation_split": 0.25}
    got = fit(fast, *pictures(), class_weight={1: 3.0}, **options).history
    wanted = fit(left_to_keras(slow), *pictures(), class_weight={1: 3.0}, **options).history
    assert_same_history(got, wanted)
    assert_same_state(fast, slow)


def test_a_generator(capsys):
    x, y = pictures(BATCH * 3)
    batches = ((x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(x), BATCH))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Your input ran out of data"
        )  # Keras says so at every generator's end
        history = fit(mlp(), batches, verbose=0, seed=0).history
    assert np.isfinite(history["loss"]).all()
    assert "mnistkit:" not in capsys.readouterr().err


def test_a_callback_list(capsys):
    model = mlp()
    own = keras.callbacks.CallbackList([], add_history=True, model=model)
    assert fit(model, *pictures(BATCH), verbose=0, seed=0, callbacks=own).epoch == [0]
    assert "CallbackList" in capsys.readouterr().err


@pytest.mark.skipif(BACKEND == "torch", reason="Keras distributes nothing there")
def test_a_distributed_model(capsys):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
            model = mlp()
        fit(model, *pictures(BATCH), batch_size=BATCH, verbose=0)
    else:
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()))
        try:
            fit(mlp(), *pictures(BATCH), batch_size=BATCH, verbose=0)
        finally:
            keras.distribution.set_distribution(None)
    assert "distributed over devices" in capsys.readouterr().err


class Fails(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002 - the hook's signature
        if epoch == 1:
            raise ZeroDivisionError("from a callback")


def test_a_callback_that_raises_leaves_a_model_that_can_go_on():
    model, twin = mlp(), mlp()
    options = {"batch_size": BATCH, "seed": SEED, "verbose": 0}
    with pytest.raises(ZeroDivisionError, match="from a callback"):
        fit(model, *pictures(), epochs=4, callbacks=[Fails()], **options)
    fit(model, *pictures(), epochs=3, initial_epoch=2, **options)
    fit(twin, *pictures(), epochs=3, **options)
    assert_same_state(model, twin, tolerance=0)


def test_ctrl_c_in_the_middle_of_an_epoch():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    model = mlp()
    steps = 400_000 // BATCH
    fit(model, *pictures(BATCH), batch_size=BATCH, seed=0, verbose=0)

    class Press(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002 - the hook's signature
            if epoch == 1:  # the first one may begin with a compilation
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    try:
        with pytest.raises(KeyboardInterrupt):
            fit(model, *pictures(steps * BATCH), epochs=20, batch_size=BATCH, seed=0, verbose=0, callbacks=[Press()])
    finally:
        signal.signal(signal.SIGINT, before)
    done = int(keras.ops.convert_to_numpy(model.optimizer.iterations.value))
    assert 1 < done < 20 * steps
    assert all(np.isfinite(part).all() for part in state(model))
    fit(model, *pictures(BATCH), batch_size=BATCH, seed=0, verbose=0)
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations.value)) == done + 1


def test_the_example(capsys):
    path = Path(__file__).parents[3] / "examples" / "fast_fit.py"
    spec = importlib.util.spec_from_file_location("fast_fit", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(samples=3200)
    captured = capsys.readouterr()
    plain, fast = captured.out.splitlines()
    assert (plain.split()[0], fast.split()[0]) == ("model.fit", "mnistkit")
    errors = [float(line.split()[-1]) for line in (plain, fast)]
    assert max(errors) < 1.0
    assert errors[0] == pytest.approx(errors[1], rel=0.5)  # the two see other batches
    assert captured.err == ""


def test_what_is_kept_of_programs_is_bounded_however_many_calls_there_are():
    flags = keras_hooks.TrainableFlags(mlp())
    store = kept.Store()
    for size in range(1, 40):
        entry = store.entry(("kind", size), [], flags)
        assert store.entry(("kind", size), [], flags) is entry
        for n in range(size * 100, size * 100 + 50):
            entry.length_for(n)
            entry.is_ready_for((n, n % size, False))
            assert (n, n % size, False) in entry.ready
        assert len(entry.lengths) <= 3
        assert len(entry.ready) == 32
    assert len(store.entries) == 6
