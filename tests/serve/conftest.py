"""Servers and models for the tests. The onnx package makes the odd models; the server never imports it."""

import io
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from served import serving


def save_model(path, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.fixture(scope="session")
def echo_model(tmp_path_factory):
    """``y`` is twice ``x``, any shape ``[n, ?]``; ``count`` passes int64 through."""
    return save_model(
        tmp_path_factory.mktemp("models") / "echo.onnx",
        [
            helper.make_node("Add", ["x", "x"], ["y"]),
            helper.make_node("Identity", ["number"], ["count"]),
        ],
        [value("x", TensorProto.FLOAT, ["n", "m"]), value("number", TensorProto.INT64, ["n"])],
        [value("y", TensorProto.FLOAT, ["n", "m"]), value("count", TensorProto.INT64, ["n"])],
    )


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory):
    """A tenth of a second of work or more; the answer to a row filled with k is k."""
    size, steps = 1024, 600
    weights = helper.make_tensor("s", TensorProto.INT64, [2], [size, size])
    # A loop and not six hundred nodes, each of which onnxruntime would prepare for seconds when it loads the model.
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "w"], ["after"]),
            helper.make_node("Identity", ["go"], ["going"]),
        ],
        "body",
        [value("step", TensorProto.INT64, []), value("go", TensorProto.BOOL, []),
         value("before", TensorProto.FLOAT, ["n", size])],
        [value("going", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, ["n", size])],
    )  # fmt: skip
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=weights),
        helper.make_node(
            "ConstantOfShape", ["shape"], ["w"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1 / size])
        ),
        helper.make_node("Constant", [], ["steps"], value=helper.make_tensor("t", TensorProto.INT64, [], [steps])),
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True])),
        helper.make_node("Loop", ["steps", "yes", "x"], ["y"], body=body),
    ]
    return save_model(
        tmp_path_factory.mktemp("models") / "slow.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, ["n", size])],
        [value("y", TensorProto.FLOAT, ["n", size])],
    )


@pytest.fixture(scope="session")
def gather_model(tmp_path_factory):
    """Looks up one of four numbers, so an index out of range fails inside onnxruntime."""
    table = onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")
    return save_model(
        tmp_path_factory.mktemp("models") / "gather.onnx",
        [helper.make_node("Gather", ["table", "index"], ["y"])],
        [value("index", TensorProto.INT32, ["n"])],
        [value("y", TensorProto.FLOAT, ["n"])],
        [table],
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory, asset, echo_model, slow_model, gather_model):
    """One server for all tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("server")
    models = [f"mnist={asset}", f"echo={echo_model}", f"slow={slow_model}", f"gather={gather_model}"]
    flags = [flag for model in models for flag in ("--model", model)]
    with serving(folder, *flags, "--grpc-port", "0") as served:
        yield served


@pytest.fixture
def started(tmp_path):
    """Start a server of one's own: ``with started(*flags) as server``."""
    return lambda *flags, **options: serving(tmp_path, *flags, **options)


@pytest.fixture(scope="session")
def digits(mnist):
    """Ten test images that the model reads rightly, one of each digit: uint8 ``[10, 28, 28]``."""
    from mnistkit import Classifier

    read = Classifier(device="cpu").probabilities(mnist.x_test[:200]).argmax(axis=1)
    right = [next(i for i in range(200) if mnist.y_test[i] == digit == read[i]) for digit in range(10)]
    return mnist.x_test[right]


@pytest.fixture(scope="session")
def png(digits):
    """A picture file of a digit, black on white."""

    def make(digit, kind="PNG"):
        image = Image.fromarray(255 - digits[digit]).resize((140, 140), Image.Resampling.BICUBIC)
        canvas = Image.new("L", (200, 200), 255)
        canvas.paste(image, (30, 30))
        stream = io.BytesIO()
        canvas.save(stream, kind)
        return stream.getvalue()

    return make
