"""Fused batch normalization under TensorFlow: the same numbers, and only where the kernel does what the layer does."""

from __future__ import annotations

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the tensorflow backend's own", allow_module_level=True)

import numpy as np
from training_models import (
    BATCH,
    assert_same_history,
    assert_same_state,
    both,
    optimizer,
    pictures,
    state,
    without_copy_keyword,
)

pytestmark = without_copy_keyword


class Own(keras.layers.BatchNormalization):
    """Somebody's own layer, which may mean something else."""


NORMALIZATION = {
    "usual": (keras.layers.BatchNormalization, {}),
    "momentum and epsilon": (keras.layers.BatchNormalization, {"momentum": 0.7, "epsilon": 0.1}),
    "no scale": (keras.layers.BatchNormalization, {"scale": False}),
    "no shift": (keras.layers.BatchNormalization, {"center": False}),
    "another axis": (keras.layers.BatchNormalization, {"axis": 1}),
    "renorm": (keras.layers.BatchNormalization, {"renorm": True}),
    "frozen": (keras.layers.BatchNormalization, {"trainable": False}),
    "tiny epsilon": (keras.layers.BatchNormalization, {"epsilon": 1e-6}),
    "double": (keras.layers.BatchNormalization, {"dtype": "float64"}),
    "own": (Own, {}),
}


def normalized(kind):
    keras.utils.set_random_seed(3)
    layer, options = NORMALIZATION[kind]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            layer(**options),
            keras.layers.Activation("tanh"),
            keras.layers.Dropout(0.3, seed=5),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer("adam"), "categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("kind", NORMALIZATION)
def test_normalization_is_fits(kind, capsys):
    data = pictures(BATCH * 20, channels=True)
    fast, plain, got, wanted = both(lambda: normalized(kind), data, validation_data=pictures(BATCH, channels=True))
    assert capsys.readouterr().err == ""
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    assert ("FusedBatchNormV3" in operations(fast)) == (kind in {"usual", "momentum and epsilon"})


def test_moving_averages_are_at_work():
    fast, plain, _, _ = both(lambda: normalized("usual"), pictures(BATCH * 20, channels=True))
    other, _, _, _ = both(lambda: normalized("momentum and epsilon"), pictures(BATCH * 20, channels=True))
    assert_same_state(fast, plain)
    moved = [variable.path for variable in fast.non_trainable_variables if "moving" in variable.path]
    assert len(moved) == 2
    assert max(np.abs(a - b).max() for a, b in zip(state(fast), state(other), strict=True)) > 1e-3


def operations(model):
    """Return the names of the operations of the training program."""
    entries = vars(model)["_mnistkit_programs"].entries
    program = next(program for (training, *_), (_, program) in entries.items() if training)
    (traced,) = program._many_without_xla._list_all_concrete_functions()
    definition = traced.graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return {node.op for node in nodes}
