"""benchmarks/time_to_accuracy.py: every contender trains the same model by the same steps."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from one_backend import once

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import accuracy_recipe
import time_to_accuracy

from mnistkit.training import fit

HERE = keras.backend.backend()
STEPS = 4
WAYS = [way for way in time_to_accuracy.WAYS if way != "hand-written" or HERE in time_to_accuracy.BY_HAND]


@pytest.mark.parametrize("way", WAYS)
def test_a_contender_trains_and_is_measured(way):
    row = time_to_accuracy.measure(HERE, way, 1, images=STEPS * accuracy_recipe.BATCH)
    assert 0.05 < row["accuracy"] < 1
    assert row["training"] > 0
    assert row["processor"] > 0
    assert set(row) == {"accuracy", "imports", "data", "training", "processor"}


def test_the_rate_is_that_of_keras():
    rate = accuracy_recipe.keras_model(0, steps=10).optimizer._learning_rate
    found = [float(rate(step)) for step in range(10)]
    np.testing.assert_allclose(found, [accuracy_recipe.rate_at(step, 10) for step in range(10)], rtol=1e-4, atol=1e-7)


def test_all_ways_end_with_the_same_model(small, monkeypatch):
    """The same order of samples for all. Few steps: at this learning rate float noise doubles in each."""
    monkeypatch.setattr(accuracy_recipe, "EPOCHS", 1)
    x = small.x_train[: STEPS * accuracy_recipe.BATCH, :, :, None].astype("float32") / 255
    y = small.y_train[: len(x)].astype("int32")
    images = small.x_test[:200, :, :, None].astype("float32") / 255
    steps = accuracy_recipe.orders(len(x), seed=5)
    rows = np.concatenate(steps)

    def trained(train):
        model = accuracy_recipe.keras_model(5, steps=len(steps))
        train(model, x[rows], y[rows], batch_size=accuracy_recipe.BATCH, shuffle=False, verbose=0)
        return model.predict(images, batch_size=100, verbose=0)

    plain = trained(keras.Model.fit)
    answers = [trained(fit)]
    if HERE in time_to_accuracy.BY_HAND:
        answers.append(time_to_accuracy.BY_HAND[HERE]((x, y), images, seed=5))
    for found in answers:
        np.testing.assert_allclose(found, plain, rtol=0, atol=0.002 * np.abs(plain).max())
    untrained = trained(lambda *_, **__: None)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(untrained, plain, rtol=0, atol=0.1 * np.abs(plain).max())


@once
def test_the_example_trains_the_same_way(capsys):
    path = Path(__file__).parents[3] / "examples" / "ninety_nine.py"
    spec = importlib.util.spec_from_file_location("ninety_nine", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert (example.EPOCHS, example.BATCH) == (accuracy_recipe.EPOCHS, accuracy_recipe.BATCH)
    example.main(images=1000)
    captured = capsys.readouterr()
    words = captured.out.split()
    assert words[:2] == ["test", "accuracy"]
    assert 30 < float(words[2].rstrip("%")) < 100
    assert captured.err == ""
