"""Small models of many kinds, made with onnx."""

import json

import pytest


@pytest.fixture
def make_model(tmp_path):
    """Write a model that gives its input back, or its first three columns; returns the path."""
    from onnx import TensorProto, helper, save

    def make(name, *, shape=("batch", 4), dtype="FLOAT", nodes=None, metadata=None, outputs=None):
        kind = getattr(TensorProto, dtype)
        graph = helper.make_graph(
            nodes or [helper.make_node("Identity", ["x"], ["y"], name="same")],
            name,
            [helper.make_tensor_value_info("x", kind, shape)],
            outputs or [helper.make_tensor_value_info("y", kind, shape)],
            [helper.make_tensor("three", TensorProto.INT64, [3], [0, 1, 2]),
             helper.make_tensor("weight", TensorProto.FLOAT, [4], [1.0, 1.0, 1.0, 1.0])],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, {f"mnistkit.{key}": value for key, value in (metadata or {}).items()})
        save(model, tmp_path / f"{name}.onnx")
        return tmp_path / f"{name}.onnx"

    return make


@pytest.fixture
def scores_model(make_model):
    """A classifier of four numbers whose three scores are the first three; its names try to break a page."""
    from onnx import TensorProto, helper

    return make_model(
        "scores",
        nodes=[helper.make_node("Gather", ["x", "three"], ["y"], axis=1, name="<script>alert('node')</script>")],
        metadata={"labels": json.dumps(["<script>alert(1)</script>", "b & c", "数字"]), "note": "</td>\"'<b>"},
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", 3))],
    )
