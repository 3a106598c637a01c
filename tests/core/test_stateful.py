"""``StatefulSession`` carries the states of a file from call to call, with onnxruntime alone."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mnistkit import StatefulSession
from mnistkit.core.errors import InputError, ModelFileError


def running_sum(*, states=(("total", "next_total"),), size=2):
    """The bytes of a model that adds its input to a state, and answers twice the new state."""
    add = helper.make_node
    nodes = [add("Add", ["x", "total"], ["next_total"]), add("Add", ["next_total", "next_total"], ["y"])]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "sum",
        [tensor("x", TensorProto.FLOAT, ["batch", 2]), tensor("total", TensorProto.FLOAT, [1, size])],
        [tensor("y", TensorProto.FLOAT, None), tensor("next_total", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if states is not None:
        text = states if isinstance(states, str) else json.dumps(states)
        onnx.helper.set_model_props(model, {"mnistkit.states": text})
    return model.SerializeToString()


ONE = {"x": np.ones((1, 2), "float32")}


def test_a_call_goes_on_where_the_last_ended():
    session = StatefulSession(running_sum(), device="cpu")
    assert [float(session.run(ONE)["y"][0, 0]) for _ in range(3)] == [2, 4, 6]
    session.reset()
    answers = session.run(ONE)
    assert list(answers) == ["y"]
    assert answers["y"].tolist() == [[2, 2]]
    assert [tensor.name for tensor in session.inputs] == ["x"]
    assert repr(session) == "StatefulSession('<bytes>': x: float32 [batch, 2] -> y: float32 [batch, 2]; 1 states)"


def test_states_can_be_taken_along_and_set():
    session, other = StatefulSession(running_sum()), StatefulSession(running_sum())
    session.run(ONE)
    other.states = session.states
    assert other.run(ONE)["y"].tolist() == [[4, 4]]
    taken = session.states
    taken["total"][:] = 9  # a copy
    assert session.run(ONE)["y"].tolist() == [[4, 4]]


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({}, "expected states total, got none"),
        ({"sum": np.zeros((1, 2), "float32")}, "expected states total, got sum"),
        ({"total": np.zeros((1, 3), "float32")}, r"total: expected total: float32 \[1, 2\], got float32 \[1, 3\]"),
        ({"total": np.zeros((1, 2))}, r"got float64 \[1, 2\]"),
    ],
)
def test_states_that_do_not_fit_are_refused(states, message):
    session = StatefulSession(running_sum())
    session.run(ONE)
    with pytest.raises(InputError, match=message):
        session.states = states
    assert session.run(ONE)["y"].tolist() == [[4, 4]]


def test_a_call_that_fails_leaves_the_states():
    session = StatefulSession(running_sum())
    session.run(ONE)
    for wrong in ({}, {"x": ONE["x"], "total": ONE["x"]}, {"x": np.ones((1, 3), "float32")}, {"x": np.ones((1, 2))}):
        with pytest.raises(InputError):
            session.run(wrong)
    assert session.run(ONE)["y"].tolist() == [[4, 4]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (running_sum(states=None), "no layer in it keeps a state"),
        (running_sum(states=[["sum", "next_total"]]), "names states that it lacks: sum"),
        (running_sum(states=[["total", "y2"]]), "names states that it lacks: y2"),
        (running_sum(states="[1"), "the states in the file are damaged"),
        (running_sum(states=[["total"]]), "not a list of pairs"),
        (running_sum(states=5), "not a list of pairs"),
        (running_sum(size="free"), "has a free size"),
    ],
)
def test_files_without_usable_states_are_refused(content, message):
    with pytest.raises(ModelFileError, match=message):
        StatefulSession(content)
