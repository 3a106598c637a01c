"""The tests' runs are short; programs do them all the same, except where a test is about short runs."""

import importlib

import keras
import pytest


@pytest.fixture(autouse=True)
def worth_steps(monkeypatch):
    """Set how many steps are worth what takes longest to make: 0, so that programs do each run, or another number."""
    backend = keras.backend.backend()
    program = importlib.import_module(f"mnistkit.training.{backend}.program")

    def set_to(steps):
        if backend == "tensorflow":  # which estimates it
            monkeypatch.setattr(program, "worth_steps", lambda _: steps)
        else:
            monkeypatch.setattr(program, "WORTH_STEPS", steps)

    set_to(0)
    return set_to
