"""The tutorial's learning curve is the same on every backend: a fresh run lies on each of the three committed ones."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mnistkit.digits.train import Settings, train

EXPORTS = Path(__file__).parents[3] / "exports"
TRAINED = ("jax", "tensorflow", "torch")


def assert_same_curve(losses, committed):
    assert len(losses) == 2
    np.testing.assert_allclose(losses, committed, rtol=0, atol=1e-3)


def committed(backend):
    return json.loads((EXPORTS / f"mnist-{backend}.train.json").read_text(encoding="utf-8"))


def test_this_backends_curve_is_that_of_all(tmp_path):
    history = train(Settings(), out=tmp_path / "mnist.keras").provenance["history"]
    for backend in TRAINED:
        # the committed files are older than these two, whose defaults are what they were trained with
        assert {"activation": "relu", "start": None} | committed(backend)["settings"] == dataclasses.asdict(Settings())
        assert_same_curve(history["loss"], committed(backend)["history"]["loss"])


def test_another_seed_has_another_curve(tmp_path):
    history = train(Settings(seed=1), out=tmp_path / "mnist.keras").provenance["history"]
    for backend in TRAINED:
        with pytest.raises(AssertionError):
            assert_same_curve(history["loss"], committed(backend)["history"]["loss"])
