"""What surrounds the steps of the trainer: order, callbacks, falling back, progress, interruption."""

from __future__ import annotations

import contextlib
import os
import signal
import warnings

import keras
import numpy as np
import pytest
from training_models import (
    BATCH,
    EPOCHS,
    SEED,
    N,
    assert_same_state,
    mlp,
    pictures,
    state,
    without_copy_keyword,
)

from mnistkit.core.errors import InputError
from mnistkit.training import fit
from mnistkit.training.loop import _uninterrupted
from mnistkit.training.order import epoch_order

pytestmark = without_copy_keyword


def test_order_is_a_permutation_drawn_from_seed_and_epoch():
    order = epoch_order(100, seed=1, epoch=2)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(100))
    assert (order == epoch_order(100, seed=1, epoch=2)).all()
    assert (order != epoch_order(100, seed=2, epoch=2)).any()
    assert (order != epoch_order(100, seed=1, epoch=3)).any()
    with pytest.raises(InputError, match="seed is -1"):
        epoch_order(100, seed=-1, epoch=0)


def test_same_seed_gives_the_same_bits_and_another_does_not():
    models = [mlp(), mlp(), mlp()]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        fit(model, *pictures(), epochs=2, batch_size=BATCH, seed=seed, verbose=0)
    assert_same_state(models[0], models[1], tolerance=0)
    with pytest.raises(AssertionError):
        assert_same_state(models[0], models[2], tolerance=0)


def test_initial_epoch_goes_on_where_the_long_run_was():
    long, short = mlp(), mlp()
    fit(long, *pictures(), epochs=3, batch_size=BATCH, seed=SEED, verbose=0)
    fit(short, *pictures(), epochs=2, batch_size=BATCH, seed=SEED, verbose=0)
    with pytest.raises(AssertionError):
        assert_same_state(long, short)
    history = fit(short, *pictures(), epochs=3, initial_epoch=2, batch_size=BATCH, seed=SEED, verbose=0)
    assert history.epoch == [2]
    assert_same_state(long, short, tolerance=0)


class Spy(keras.callbacks.Callback):
    """Notes what the model looks like at the end of each epoch, and changes it as told."""

    def __init__(self, act=None):
        super().__init__()
        self.act, self.iterations, self.rates, self.kernels = act, [], [], []

    def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002 - the hook's signature
        optimizer = self.model.optimizer
        self.iterations.append(int(keras.ops.convert_to_numpy(optimizer.iterations.value)))
        self.rates.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate.value)))
        self.kernels.append(state(self.model)[0])
        if self.act:
            self.act(self.model, epoch)


def test_callbacks_see_the_model_as_it_is():
    spy = Spy()
    model = mlp()
    fit(model, *pictures(), epochs=2, batch_size=BATCH, seed=SEED, verbose=0, callbacks=[spy])
    assert spy.iterations == [N // BATCH, 2 * N // BATCH]
    assert (spy.kernels[1] == state(model)[0]).all()
    assert (spy.kernels[0] != spy.kernels[1]).any()


def test_a_changed_learning_rate_counts():
    def stop_learning(model, _epoch):
        model.optimizer.learning_rate = 0.0

    spy = Spy(stop_learning)
    fit(mlp(), *pictures(), epochs=2, batch_size=BATCH, seed=SEED, verbose=0, callbacks=[spy])
    assert spy.rates == [pytest.approx(0.001), 0.0]
    assert (spy.kernels[0] == spy.kernels[1]).all()


def test_changed_weights_count():
    def forget(model, epoch):
        if epoch == 0:
            model.set_weights([0 * w for w in model.get_weights()])

    spy = Spy(forget)
    fit(mlp(), *pictures(), epochs=2, batch_size=BATCH, seed=SEED, verbose=0, callbacks=[spy])
    # from all zeros, relu passes no gradient to the first kernel
    assert (spy.kernels[1] == 0).all()
    assert (spy.kernels[0] != 0).any()


def test_another_compile_counts():
    def compile_again(model, _epoch):
        model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["accuracy"])

    spy = Spy(compile_again)
    fit(mlp(), *pictures(), epochs=2, batch_size=BATCH, seed=SEED, verbose=0, callbacks=[spy])
    assert spy.rates[1] == 0.0
    assert (spy.kernels[0] == spy.kernels[1]).all()


def test_keras_callbacks(tmp_path, capsys):
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=0, restore_best_weights=True)
    model = mlp()
    history = fit(
        model,
        *pictures(),
        epochs=30,
        batch_size=BATCH,
        seed=SEED,
        verbose=0,
        validation_data=pictures(64, seed=1),
        callbacks=[
            stop,
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True, monitor="val_loss"),
            keras.callbacks.ReduceLROnPlateau(patience=1),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        ],
    )
    losses = history.history["val_loss"]
    assert len(losses) < 30
    best = keras.saving.load_model(tmp_path / "best.keras")
    for a, b in zip(best.get_weights(), model.get_weights(), strict=True):
        assert (a == b).all()
    wanted = model.evaluate(*pictures(64, seed=1), batch_size=BATCH, verbose=0)[0]
    assert wanted == pytest.approx(min(losses), abs=1e-6)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + len(losses)
    assert capsys.readouterr().err == ""


def test_progress_is_shown_when_asked(capsys):
    fit(mlp(), *pictures(), epochs=2, batch_size=BATCH, seed=SEED, verbose=2)
    out = capsys.readouterr().out
    assert "Epoch 2/2" in out
    assert f"{N // BATCH}/{N // BATCH}" in out
    fit(mlp(), *pictures(), epochs=2, batch_size=BATCH, seed=SEED, verbose=0)
    assert capsys.readouterr().out == ""


class OwnLoop(keras.Sequential):
    def make_train_function(self, *args, **kwargs):
        return super().make_train_function(*args, **kwargs)


def test_what_cannot_be_compiled_goes_to_model_fit_and_says_why(capsys):
    x, y = pictures(BATCH * 3)
    own = OwnLoop(mlp().layers)
    own.compile("sgd", "categorical_crossentropy")
    fit(own, x, y, batch_size=BATCH, verbose=0)
    assert "OwnLoop has its own make_train_function" in capsys.readouterr().err

    eager = mlp()
    eager.compile("sgd", "categorical_crossentropy", run_eagerly=True)
    fit(eager, x, y, batch_size=BATCH, verbose=0)
    assert "run_eagerly" in capsys.readouterr().err

    fit(mlp(), x, y, batch_size=BATCH, verbose=0)
    assert capsys.readouterr().err == ""


def test_wrong_arguments_name_the_cure():
    x, y = pictures(BATCH)
    with pytest.raises(InputError, match="the model is not compiled"):
        fit(keras.Sequential([keras.layers.Dense(1)]), x, y)
    with pytest.raises(InputError, match="same number of samples"):
        fit(mlp(), x, y[:-1])
    with pytest.raises(InputError, match="class_weight and sample_weight"):
        fit(mlp(), x, y, class_weight={0: 1.0}, sample_weight=np.ones(BATCH))
    with pytest.raises(InputError, match="validation_split"):
        fit(mlp(), x, y, validation_split=1.0, verbose=0)


@pytest.fixture
def _keyboard():
    """Ctrl-C as at a terminal; a shell starts what runs in its background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_keyboard")
def test_ctrl_c_leaves_the_last_finished_chunk():
    class Press(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002 - the hook's signature
            if epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

    model, twin = mlp(), mlp()
    with warnings.catch_warnings(), pytest.raises(KeyboardInterrupt):
        fit(model, *pictures(), epochs=EPOCHS, batch_size=BATCH, seed=SEED, verbose=0, callbacks=[Press()])
    fit(twin, *pictures(), epochs=2, batch_size=BATCH, seed=SEED, verbose=0)
    assert_same_state(model, twin, tolerance=0)
    fit(model, *pictures(), epochs=3, initial_epoch=2, batch_size=BATCH, seed=SEED, verbose=0)  # and it can go on
    with pytest.raises(AssertionError):
        assert_same_state(model, twin, tolerance=0)


@pytest.mark.usefixtures("_keyboard")
def test_ctrl_c_waits_for_the_end_of_a_chunk():
    finished = []

    def chunk(guard, name):
        with guard:
            os.kill(os.getpid(), signal.SIGINT)
            finished.append(name)

    with pytest.raises(KeyboardInterrupt):
        chunk(_uninterrupted(), "held back")
    with pytest.raises(KeyboardInterrupt):
        chunk(contextlib.nullcontext(), "not held back")
    assert finished == ["held back"]
