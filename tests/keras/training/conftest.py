"""The tests' runs are short; programs do them all the same, except where a test is about short runs."""

import importlib

import keras
import pytest


@pytest.fixture(autouse=True)
def worth_steps(monkeypatch):
    """Set how many steps are worth what takes longest to make: 0, so that programs do each run, or another number."""
    program = importlib.import_module(f"mnistkit.training.{keras.backend.backend()}.program")

    def set_to(steps):
        monkeypatch.setattr(program, "WORTH_STEPS", steps)

    set_to(0)
    return set_to
