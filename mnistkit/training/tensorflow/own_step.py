"""One step by Keras itself under TensorFlow."""

from __future__ import annotations

from typing import Any


def keras_step(model: Any, batch: Any, *, training: bool) -> Any:
    """Do one step as ``model.fit`` does it; return what the step returns."""
    if training:
        model.make_train_function()
        return model.train_function(iter([batch]))
    model.make_test_function()
    return model.test_function(iter([batch]))
