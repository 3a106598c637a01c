"""One step by Keras itself under PyTorch."""

from __future__ import annotations

from typing import Any

import torch

from mnistkit.training.own_steps import overrides


def keras_step(model: Any, batch: Any, *, training: bool) -> Any:
    """Do one step as ``model.fit`` does it; return what the step returns."""
    before = model.training
    model.train(training)
    try:
        if training:
            return model.train_step(batch)
        with torch.no_grad():
            return model.test_step(batch)
    finally:
        model.train(before)
        if not overrides(model, "train_step"):  # one of the user's may add to the gradients of the step before
            model.zero_grad()
