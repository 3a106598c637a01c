"""Models with steps of their own are traced, and go to model.fit where one trace cannot stand for all steps."""

from __future__ import annotations

import time

import keras
import numpy as np
import pytest
from own_models import BACKEND, Own, data, gan, net, torch_update
from training_models import assert_same_history, assert_same_state, without_copy_keyword

from mnistkit.core.errors import InputError
from mnistkit.training import fit
from mnistkit.training.distributed.support import check_supported
from mnistkit.training.own_steps import optimizers_of

OPTIONS = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0}
pytestmark = without_copy_keyword
only_torch = pytest.mark.skipif(BACKEND != "torch", reason="model.fit runs the Python code once there, too")


def assert_as_fit(make, *given, capsys=None, reason="", **options):
    """Train twins; return the first and its History."""
    ours, theirs = make(), make()
    got = fit(ours, *given, **(OPTIONS | options)).history
    if capsys is not None:
        err = capsys.readouterr().err
        assert (reason in err and err.count("\n") == 1) if reason else err == ""
    wanted = theirs.fit(*given, **(OPTIONS | options)).history
    assert_same_state(ours, theirs)
    assert_same_history(got, wanted)
    for one, two in zip(optimizers_of(ours), optimizers_of(theirs), strict=True):
        for mine, other in zip(one.variables, two.variables, strict=True):
            numbers = [keras.ops.convert_to_numpy(variable.value) for variable in (mine, other)]
            np.testing.assert_allclose(*numbers, atol=1e-5, err_msg=mine.path)
    return ours, got


def test_an_own_train_step_trains_as_in_fit(capsys):
    ours, got = assert_as_fit(net, *data(), capsys=capsys, validation_data=data(20, seed=1))
    assert set(got) == {"last", "loss", "mae", "val_loss", "val_mae"}

    class Other(Own):
        scale = 3.0

    with pytest.raises(AssertionError):
        assert_same_state(ours, assert_as_fit(lambda: net(Other), *data())[0])


class Log(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([batch, *(logs[name] for name in sorted(logs))])


def test_batch_hooks_get_what_the_step_returns(capsys):
    seen = []
    for fitted in (fit, keras.Model.fit):
        log = Log()
        fitted(net(), *data(), callbacks=[log], **OPTIONS)
        seen.append(log.seen)
    assert capsys.readouterr().err == ""
    np.testing.assert_allclose(*seen, rtol=1e-5)
    assert len(seen[0]) == 15
    assert len(seen[0][0]) == 4


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        x, y = data()
        rows = slice(16 * i, 16 * i + 16)
        return [x[rows], y[rows]] if BACKEND == "torch" else (x[rows], y[rows])


def test_batches_of_a_source(capsys):
    assert_as_fit(net, Batches(), capsys=capsys, batch_size=None)


class Alone(Own):
    """Gets x alone, not in a tuple."""

    def train_step(self, *given):
        *state, x = given
        return super().train_step(*state, (x, x[:, :3]))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):  # noqa: FBT002, ARG002 - Keras'
        return keras.ops.mean(keras.ops.square(x[:, :3] - y_pred))


def test_x_alone_comes_alone(capsys):
    x, _ = data()
    assert_as_fit(lambda: net(Alone, loss=None, metrics=()), x, capsys=capsys, validation_data=(x[:20],))


class Totals(keras.Model):
    """Returns values that are no metrics, in the training and in the evaluation."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        own = super().compute_metrics(x, y, y_pred, sample_weight)
        return own | {"spread": keras.ops.max(y_pred) - keras.ops.min(y_pred)}


def test_own_metrics(capsys):
    _, got = assert_as_fit(lambda: net(Totals), *data(), capsys=capsys, validation_data=data(20, seed=1))
    assert {"spread", "val_spread"} <= set(got)


def test_a_setting_that_a_callback_changes():
    """It counts in the next epoch under torch, and not before the next ``compile`` elsewhere, as in fit."""

    def make():
        model = net()
        model.changes = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda _epoch, _logs: setattr(model, "strength", 0.1)
        )
        return model

    models = []
    for fitted in (fit, keras.Model.fit):
        model = make()
        fitted(model, *data(), callbacks=[model.changes], **OPTIONS)
        models.append(model)
    assert_same_state(*models)
    if BACKEND == "torch":
        with pytest.raises(AssertionError):
            assert_same_state(models[0], assert_as_fit(net, *data())[0])


@pytest.mark.skipif(BACKEND == "jax", reason="model.fit itself has no second optimizer there")
def test_two_networks_with_an_optimizer_each(capsys):
    ours, _ = assert_as_fit(gan, data()[0], capsys=capsys)
    assert [type(one).__name__ for one in optimizers_of(ours)][1:] == ["Adam", "RMSprop"]
    assert all(len(one.variables) > 2 for one in optimizers_of(ours)[1:])


SEEN = []


class Counting(Own):
    def train_step(self, *given):
        self.strength *= 0.9
        return super().train_step(*given)


def test_a_step_that_counts_goes_to_fit(capsys):
    if (
        BACKEND == "tensorflow"
    ):  # the numbers of traces decide, and where model.fit builds the optimizer it traces twice
        fit(net(Counting), *data(), **OPTIONS)
        assert "every step" in capsys.readouterr().err
    else:
        assert_as_fit(lambda: net(Counting), *data(), capsys=capsys, reason="every step")


def bare_step(model, data, *, before=None, scale=1.0):
    x, y = data
    if before is not None:
        before()
    loss = model.compute_loss(x, y, model(x, training=True)) * scale
    torch_update(model.optimizer, loss, model.trainable_weights)
    return {"loss": loss}


class Adding(Own):
    def torch(self, data):
        return bare_step(self, data)


class Printing(Own):
    def torch(self, data):
        print("step")  # noqa: T201 - the subject of the test
        return super().torch(data)


class Timing(Own):
    def torch(self, data):
        begun = time.perf_counter()
        logs = super().torch(data)
        return {**logs, "seconds": 0.0 * begun}


class Keeping(Own):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = []

    def torch(self, data):
        self.kept.append(1.0)
        return super().torch(data)


class Reading(Own):
    def torch(self, data):
        logs = super().torch(data)
        return logs | {"last": float(logs["last"])}


class Deciding(Own):
    def torch(self, data):
        logs = super().torch(data)
        return logs if logs["last"] > 0.5 else logs | {"last": logs["loss"]}


class Elsewhere(Own):
    def torch(self, data):
        SEEN.append(1)
        return super().torch(data)


class Drawing(Own):
    def torch(self, data):
        import torch

        x, y = data
        return super().torch((x + torch.randn_like(x) * 0, y))


@only_torch
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Adding, "its gradients add up from step to step: call self.zero_grad() first"),
        (Printing, "its train_step calls print"),
        (Timing, "its train_step uses the module time"),
        (Keeping, "len(Keeping.kept) changes in every step"),
        (Elsewhere, "len(SEEN) changes in every step"),
        (Reading, "trying to get value out of a tracing tensor"),
        (Deciding, "trying to get value out of a tracing tensor"),
        (Drawing, "draws from PyTorch's global random generator"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_one_trace_cannot_stand_for_goes_to_fit(kind, reason, capsys):
    ours, theirs = net(kind), net(kind)
    fit(ours, *data(), **OPTIONS)
    assert reason in capsys.readouterr().err
    theirs.fit(*data(), **OPTIONS)
    assert_same_state(ours, theirs)
    if kind is Keeping:
        assert ours.kept == theirs.kept


@pytest.mark.skipif(BACKEND != "jax", reason="others have no state beside the variables")
def test_a_step_that_sets_variables_itself_goes_to_fit(capsys):
    class Setting(Own):
        def jax(self, state, data):
            self.metrics[0].variables[0].assign(keras.ops.sum(data[0]))
            return super().jax(state, data)

    fit(net(Setting), *data(), **OPTIONS)
    assert "instead of returning its value" in capsys.readouterr().err


def test_what_a_step_returns_must_be_a_dictionary(capsys):
    class Wrong(Own):
        def train_step(self, *given):
            out = super().train_step(*given)
            return [1.0] if BACKEND != "jax" else ([1.0], out[1])

    errors = []
    for fitted in (fit, keras.Model.fit):
        with pytest.raises(Exception) as raised:
            fitted(net(Wrong), *data(), **OPTIONS)
        errors.append(type(raised.value))
    assert errors[0] is errors[1]
    assert "a step returns list, not a dictionary" in capsys.readouterr().err


def test_several_processes_refuse_it():
    class Two:
        count = 2

    with pytest.raises(InputError, match="Own has its own train_step"):
        check_supported(net(), (*data(), None, None), group=Two(), batch_size=16, reason=None)
