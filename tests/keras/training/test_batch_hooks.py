"""Callbacks that run after every batch see and change what they see and change in model.fit."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from training_models import BATCH, assert_same_history, assert_same_state, mlp, pictures, without_copy_keyword

from mnistkit.core.errors import InputError
from mnistkit.training import fit

BACKEND = keras.backend.backend()
X, Y = pictures(BATCH * 5 + 3)
VALIDATION = pictures(BATCH + 3, seed=1)
OPTIONS = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "epochs": 2}
pytestmark = without_copy_keyword


class Log(keras.callbacks.Callback):
    """Notes each call with what it got."""

    def __init__(self, act=None):
        super().__init__()
        self.seen, self.act = [], act

    def note(self, name, batch, logs):
        numbers = [float(value) for value in (logs or {}).values()]
        self.seen.append((name, batch, sorted(logs or {}), numbers))

    def on_train_batch_begin(self, batch, logs=None):
        self.note("begin", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self.note("end", batch, logs)
        weights = float(np.abs(self.model.get_weights()[0]).sum())
        self.seen.append(("weights", batch, [], [weights]))
        if self.act:
            self.act(self.model, batch)

    def on_test_batch_begin(self, batch, logs=None):
        self.note("test begin", batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self.note("test end", batch, logs)


def net():
    return mlp("adam", activation="tanh")


def run(fitted, act=None, *, make=net, n=None, **options):
    model, log = make(), Log(act)
    history = fitted(model, X[:n], Y[:n], callbacks=[log], **(OPTIONS | options)).history
    return model, history, log.seen


def assert_same_calls(one, two):
    assert [call[:3] for call in one] == [call[:3] for call in two]
    for call, other in zip(one, two, strict=True):
        np.testing.assert_allclose(call[3], other[3], rtol=1e-4, atol=1e-5, err_msg=str(call[:2]))


def assert_as_fit(act=None, **options):
    ours, got, seen = run(fit, act, **options)
    theirs, wanted, other = run(keras.Model.fit, act, **options)
    assert_same_calls(seen, other)
    assert_same_state(ours, theirs)
    assert_same_history(got, wanted)
    return ours, seen


def test_each_call_gets_what_fit_gives(capsys):
    _, seen = assert_as_fit(validation_data=VALIDATION, validation_batch_size=BATCH)
    assert capsys.readouterr().err == ""
    ends = [call for call in seen if call[0] == "end"]
    assert len(ends) == 2 * 6
    with pytest.raises(AssertionError):
        assert_same_calls(ends, ends[1:] + ends[:1])


def test_stop_training_within_an_epoch():
    def stop(model, batch):
        model.stop_training = batch == 2

    ours, seen = assert_as_fit(stop)
    assert [call[1] for call in seen if call[0] == "end"] == [0, 1, 2]
    with pytest.raises(AssertionError):
        assert_same_state(ours, run(fit)[0])


def test_what_a_hook_changes_counts_in_the_next_step():
    def change(model, batch):
        model.optimizer.learning_rate = 0.001 * (batch + 1)
        if batch == 3:
            model.set_weights([0.5 * one for one in model.get_weights()])

    ours, _ = assert_as_fit(change)
    with pytest.raises(AssertionError):
        assert_same_state(ours, run(fit)[0])


class Scaled(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.factor = 1.0

    def call(self, x):
        return x * self.factor


def scaled():
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((64,)), Scaled(), keras.layers.Dense(10, "softmax")])
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("often", [False, True])
def test_an_attribute_that_a_hook_changes(often, capsys):
    """It counts at once under torch, and not for batches of a known size elsewhere, as in fit."""

    def change(model, batch):
        if often or batch == 1:
            model.layers[0].factor *= 0.9

    assert_as_fit(change, make=scaled, n=BATCH * 4)
    err = capsys.readouterr().err
    if often and BACKEND == "torch":
        assert "Keras' own steps, because a callback changes again and again what its step reads" in err
    else:
        assert err == ""


class EachThird(Log):
    batch_hook_interval = 3


def test_hooks_that_need_to_run_now_and_then():
    each, third = Log(), EachThird()
    one, two = net(), net()
    fit(one, X, Y, callbacks=[each], **OPTIONS)
    fit(two, X, Y, callbacks=[third], **OPTIONS)
    assert [call[:2] for call in third.seen if call[0] != "weights"] == [
        *(("begin", 0), ("end", 2), ("begin", 3), ("end", 5)),
    ] * 2
    wanted = {(call[0], call[1]): call for call in each.seen[-18:]}
    assert_same_calls(third.seen[-6:], [wanted[call[:2]] for call in third.seen[-6:]])
    assert_same_state(one, two, tolerance=1e-7)


def test_an_interval_that_is_no_number():
    wrong = EachThird()
    wrong.batch_hook_interval = 0
    with pytest.raises(InputError, match=r"EachThird\.batch_hook_interval is 0: give an integer from 1 up"):
        fit(net(), X, Y, callbacks=[wrong], **OPTIONS)


def noting(order):
    def note(batch, logs):
        assert logs
        order.append(batch)

    return note


def test_a_source_and_hooks_take_turns():
    """A source is asked for a batch when its step is due, not ahead of it."""
    orders = []
    for fitted in (fit, keras.Model.fit):
        order = []

        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 4

            def __getitem__(self, i, order=order):
                order.append(("read", i))
                return X[i * BATCH : (i + 1) * BATCH], Y[i * BATCH : (i + 1) * BATCH]

        note = keras.callbacks.LambdaCallback(on_train_batch_end=noting(order))
        fitted(net(), Batches(), shuffle=False, verbose=0, callbacks=[note])
        orders.append(order)
    if BACKEND != "tensorflow":  # which reads ahead in threads of its own
        assert orders[0] == orders[1]
    assert [one for one in orders[0] if isinstance(one, int)] == [0, 1, 2, 3]


def test_keras_own_callbacks(tmp_path, capsys):
    x = X.copy()
    x[BATCH * 2] = np.nan
    model = net()
    saved = keras.callbacks.ModelCheckpoint(tmp_path / "{batch}.weights.h5", save_weights_only=True, save_freq=2)
    history = fit(model, x, Y, callbacks=[keras.callbacks.TerminateOnNaN(), saved], **OPTIONS)
    assert history.epoch == [0]
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations.value)) == 3
    assert [one.name for one in tmp_path.iterdir()] == ["2.weights.h5"]
    assert capsys.readouterr().err == ""


def test_several_steps_in_one_call_go_to_fit(capsys):
    if BACKEND == "torch":
        pytest.skip("Keras has no steps_per_execution there")
    model = net()
    model.compile("adam", "categorical_crossentropy", steps_per_execution=2)
    fit(model, X[: BATCH * 4], Y[: BATCH * 4], callbacks=[Log()], **OPTIONS)
    assert "Log has on_train_batch_begin, and the model has steps_per_execution" in capsys.readouterr().err
