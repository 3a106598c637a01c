"""One step by Keras itself under JAX."""

from __future__ import annotations

from typing import Any

import jax

from mnistkit.training.jax.program import keras_variables, state_of_variables


def keras_step(model: Any, batch: Any, *, training: bool) -> Any:
    """Do one step as ``model.fit`` does it; return what the step returns."""
    groups = keras_variables(model, training=training)
    if training:
        model.make_train_function()
        logs, state = model.train_function(state_of_variables(groups), iter([batch]))
    else:
        model.make_test_function()
        logs, state = model.test_function(state_of_variables(groups), iter([batch]))
    jax.block_until_ready(state)  # the batch may be on memory that is filled again
    for variables, values in zip(groups, state, strict=True):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    return logs
