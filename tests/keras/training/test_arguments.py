"""The arguments of fit are those of model.fit, in its order; what the trainer does not do itself goes to model.fit."""

from __future__ import annotations

import importlib.util
import inspect
import sys

import keras
import pytest
from training_models import (
    BATCH,
    SEED,
    assert_same_history,
    assert_same_state,
    both,
    mlp,
    pictures,
    without_copy_keyword,
)

from mnistkit.core.errors import InputError, MissingExtraError
from mnistkit.training import fit

pytestmark = without_copy_keyword


def tanh():
    return mlp(activation="tanh")


def test_the_arguments_are_keras_in_keras_order():
    ours = list(inspect.signature(fit).parameters.values())
    theirs = list(inspect.signature(keras.Model.fit).parameters.values())[1:]
    assert [one.name for one in ours[1:]] == [*(one.name for one in theirs), "seed"]
    assert [one.default for one in ours[1:-1]] == [one.default for one in theirs]
    assert ours[-1].kind is inspect.Parameter.KEYWORD_ONLY


def test_batch_size_and_epochs_by_position(capsys):
    by_position, by_name = tanh(), tanh()
    got = fit(by_position, *pictures(64), 16, 2, 0, seed=SEED).history
    wanted = fit(by_name, *pictures(64), batch_size=16, epochs=2, verbose=0, seed=SEED).history
    assert got == wanted
    assert len(got["loss"]) == 2
    assert_same_state(by_position, by_name, tolerance=0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("freq", [2, [1, 3]])
def test_validation_after_some_epochs_in_batches_of_their_own(freq, capsys):
    options = {"epochs": 4, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    validation = {"validation_data": pictures(40, seed=1), "validation_batch_size": 24, "validation_freq": freq}
    ours, theirs, each = tanh(), tanh(), tanh()
    got = fit(ours, *pictures(64), **options, **validation).history
    assert capsys.readouterr().err == ""
    wanted = theirs.fit(*pictures(64), **options, **validation).history
    assert_same_history(got, wanted)
    assert len(got["val_loss"]) == 2
    assert_same_state(ours, theirs)
    assert len(fit(each, *pictures(64), **options, validation_data=pictures(40, seed=1)).history["val_loss"]) == 4


@pytest.mark.parametrize(
    "argument", [{"steps_per_epoch": 2}, {"validation_steps": 1, "validation_data": pictures(64, seed=1)}], ids=str
)
def test_numbers_of_steps_go_to_model_fit(argument, capsys):
    options = {"epochs": 2, "batch_size": BATCH, "shuffle": False, "verbose": 0, **argument}
    ours, theirs = tanh(), tanh()
    got = fit(ours, *pictures(64), **options).history
    assert capsys.readouterr().err == f"mnistkit: training with model.fit, because {next(iter(argument))} was given\n"
    assert_same_history(got, theirs.fit(*pictures(64), **options).history)
    assert_same_state(ours, theirs)


@pytest.mark.parametrize("wrong", [{"validation_freq": 0}, {"validation_freq": "x"}, {"validation_batch_size": 0}])
def test_wrong_numbers(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is .*: give an integer from 1 up"):
        fit(mlp(), *pictures(BATCH), **wrong)


def test_without_keras_the_cure_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name, *_: None)
    with pytest.raises(MissingExtraError, match="Keras is not installed; run"):
        fit(None, *pictures(BATCH))


def test_the_loaded_backend_stays(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    fit(mlp(), *pictures(BATCH), verbose=0, seed=0)  # the variable was read when Keras was imported


def test_twins_that_differ_are_seen():
    fast, plain, _, _ = both(tanh, pictures(64), epochs=1)
    fast.optimizer.learning_rate = 0.5
    with pytest.raises(AssertionError):
        assert_same_state(fast, plain)


@pytest.mark.skipif(not hasattr(keras.config, "set_max_epochs"), reason="this Keras cannot be limited")
def test_a_limit_that_keras_is_set_to(capsys):
    keras.config.set_max_epochs(1)
    try:
        with pytest.warns(UserWarning, match="Limiting epochs to 1"):
            history = fit(tanh(), *pictures(64), epochs=3, verbose=0).history
    finally:
        keras.config.set_max_epochs(None)
    assert len(history["loss"]) == 1
    assert "Keras is set to stop" in capsys.readouterr().err
