"""Files that others made: used as they are meant, or refused with what they declare."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mnistkit import Classifier
from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import ModelFileError

WEIGHTS = np.random.default_rng(0).normal(0, 0.2, (784, 10)).astype(np.float32)
FLOATS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


def build(
    *,
    shape=("N", 784),
    end="Softmax",
    dtype=np.float32,
    weights=WEIGHTS,
    output=("N", 10),
    kind=None,
    second_input=False,
    second_output=False,
):
    """A one-layer classifier as some other tool may have written it: bytes."""
    weights = weights.astype(dtype)
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["scores"]),
        helper.make_node(end, ["scores"], ["y"]),
    ]
    element = kind or FLOATS[np.dtype(dtype)]
    if kind:
        nodes.insert(0, helper.make_node("Cast", ["x"], ["cast"], to=FLOATS[np.dtype(dtype)]))
        nodes[1].input[0] = "cast"
    outputs = [helper.make_tensor_value_info("y", FLOATS[np.dtype(dtype)], output)]
    inputs = [helper.make_tensor_value_info("x", element, shape)]
    if second_input:
        inputs.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    if second_output:
        nodes.append(helper.make_node("ReduceMax", ["scores"], ["best"], axes=[1]))
        outputs.insert(0, helper.make_tensor_value_info("best", FLOATS[np.dtype(dtype)], ["N", 1]))
    graph = helper.make_graph(
        nodes,
        "foreign",
        inputs,
        outputs,
        [
            numpy_helper.from_array(np.array([-1, weights.shape[0]], np.int64), "flat"),
            numpy_helper.from_array(weights, "w"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture
def images(small):
    return small.x_test[:7]


@pytest.fixture
def expected(images):
    scores = (images.reshape(7, 784) / 255) @ WEIGHTS.astype(np.float64)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


USABLE = {
    "flat": {},
    "28x28": {"shape": ("N", 28, 28)},
    "channels first": {"shape": ("N", 1, 28, 28)},
    "channels last": {"shape": ("N", 28, 28, 1)},
    "batch of 1": {"shape": (1, 1, 28, 28), "output": (1, 10)},
    "batch of 4": {"shape": (4, 784), "output": (4, 10)},
    "no names for free sizes": {"shape": (None, 784), "output": (None, 10)},
    "logits": {"end": "Identity"},
    "logits, batch of 1": {"end": "Identity", "shape": (1, 784), "output": (1, 10)},
    "two outputs": {"second_output": True},
    "float64 input": {"kind": TensorProto.DOUBLE},
}


@pytest.mark.parametrize("case", USABLE)
def test_usable(case, images, expected):
    found = Classifier(build(**USABLE[case]), device="cpu").probabilities(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize("end", ["Softmax", "Identity"])
def test_float16(end, images, expected):
    found = Classifier(build(dtype=np.float16, end=end), device="cpu").probabilities(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-2)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-3)


def test_a_foreign_file_has_no_metadata(images):
    classifier = Classifier(build(), device="cpu")
    assert classifier.metadata == {}
    assert classifier.labels == tuple("0123456789")
    assert all(found.label == str(found.digit) for found in classifier.predict(images))


REFUSED = {
    "three channels": (
        {"shape": ("N", 3, 28, 28), "weights": np.zeros((2352, 10), np.float32)},
        r"expected 784 numbers an image, the file declares x: float32 \[N, 3, 28, 28\]",
    ),
    "32x32": (
        {"shape": ("N", 32, 32), "weights": np.zeros((1024, 10), np.float32)},
        r"expected 784 numbers an image, the file declares x: float32 \[N, 32, 32\]",
    ),
    "11 classes": (
        {"weights": np.zeros((784, 11), np.float32), "output": ("N", 11)},
        r"expected an output of 10 classes, the file declares y: float32 \[N, 11\]",
    ),
    "whole numbers": ({"kind": TensorProto.INT64}, r"expected a float input, the file declares x: int64 \[N, 784\]"),
    "two inputs": ({"second_input": True}, r"expected one image input, the file declares x: .*; more: float32 \[1\]"),
    "NaN": ({"weights": np.full((784, 10), np.nan, np.float32)}, "the model answers with NaN or infinity"),
    "infinity": ({"weights": np.full((784, 10), 3e38, np.float32), "end": "Identity"}, "NaN or infinity"),
    "sigmoid": ({"end": "Sigmoid"}, r"ten numbers in \[0, 1\] that do not sum to 1; expected probabilities or logits"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    options, words = REFUSED[case]
    path = tmp_path / "foreign.onnx"
    path.write_bytes(build(**options))
    with pytest.raises(ModelFileError, match=words) as caught:
        Classifier(path, device="cpu")
    assert str(caught.value).startswith(str(path))


def test_a_foreign_file_cannot_be_verified():
    with pytest.raises(ModelFileError, match="carries no golden pairs"):
        verify_file(build())


def test_damaged_labels(tmp_path, exported):
    proto = onnx.load(exported.path)
    for entry in proto.metadata_props:
        if entry.key == "mnistkit.labels":
            entry.value = '["zero", "one"]'
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    with pytest.raises(ModelFileError, match="2 labels for 10 classes"):
        Classifier(path, device="cpu")


def test_weights_in_a_file_beside_it(tmp_path, small, exported):
    """Foreign files may keep their weights outside; loaded by path they are found, whatever the current folder."""
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(exported.path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    images = small.x_test[:5]
    np.testing.assert_allclose(
        Classifier(path, device="cpu").probabilities(images),
        Classifier(exported.path, device="cpu").probabilities(images),
        rtol=0,
        atol=1e-6,
    )
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match="not a model that onnxruntime"):
        Classifier(path, device="cpu")
