"""OpenVINO for real: `tox run -e openvino` installs onnxruntime-openvino, which runs on any x86 processor."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mnistkit import Classifier, Runtime, load_data
from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import DeviceError, ModelFileError
from mnistkit.publish.bench import bench

OPENVINO = "OpenVINOExecutionProvider"


@pytest.fixture(scope="module")
def general():
    """Word numbers [batch, time] -> attention -> normalization -> LSTM -> scores, as text models have them."""
    generator = np.random.default_rng(5)

    def weights(name, *shape):
        return numpy_helper.from_array(generator.normal(0, 0.3, shape).astype("float32"), name)

    node = helper.make_node
    nodes = [
        node("Gather", ["table", "words"], ["x"]),
        node("MatMul", ["x", "wq"], ["q"]),
        node("MatMul", ["x", "wk"], ["k"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores"]),
        node("Softmax", ["scores"], ["attention"], axis=-1),
        node("MatMul", ["attention", "x"], ["seen"]),
        node("Add", ["x", "seen"], ["sum"]),
        node("LayerNormalization", ["sum", "scale"], ["normal"], axis=-1),
        node("Transpose", ["normal"], ["steps"], perm=[1, 0, 2]),
        node("LSTM", ["steps", "w", "r"], ["", "last"], hidden_size=6),
        node("Squeeze", ["last", "zero"], ["state"]),
        node("MatMul", ["state", "out"], ["logits"]),
        node("Softmax", ["logits"], ["kind"], axis=-1),
    ]
    zero = numpy_helper.from_array(np.array([0]), "zero")
    shapes = {"table": (50, 8), "wq": (8, 8), "wk": (8, 8), "scale": (8,), "w": (1, 24, 8), "r": (1, 24, 6)}
    initializers = [zero, *(weights(name, *shape) for name, shape in shapes.items()), weights("out", 6, 3)]
    words = helper.make_tensor_value_info("words", TensorProto.INT32, ["batch", "time"])
    kind = helper.make_tensor_value_info("kind", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "general", [words], [kind], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", ["mnist-jax", "mnist-cnn"])
def test_digits_are_read_as_on_the_cpu(pytestconfig, name, exact):
    file = pytestconfig.rootpath / "exports" / f"{name}.onnx"
    rows = load_data().x_test[:500].reshape(-1, 784).astype(np.float32) / 255
    runtime = Runtime(file, device="openvino", exact=exact)
    assert runtime.providers[0] == OPENVINO
    assert set(runtime.operations) == {OPENVINO}  # all of them
    np.testing.assert_allclose(runtime.run(rows), Runtime(file, device="cpu").run(rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["mnist-torch", "mnist-cnn"])
def test_golden_pairs(pytestconfig, name):
    found = verify_file(pytestconfig.rootpath / "exports" / f"{name}.onnx", device="openvino:CPU")
    assert found.providers[0] == OPENVINO
    assert 0 < found.largest <= found.allowed


def test_a_general_model_of_free_sizes(general):
    runtime, cpu = (Runtime(general, device=device) for device in ("openvino", "cpu"))
    assert set(runtime.operations) == {OPENVINO}
    for shape in ((5, 7), (1, 1), (2, 19)):
        words = np.random.default_rng(0).integers(0, 50, shape).astype(np.int32)
        np.testing.assert_allclose(runtime.run(words), cpu.run(words), rtol=0, atol=1e-6)
        assert np.abs(runtime.run(words) - cpu.run(49 - words)).max() > 1e-4  # other words, other answers


def test_options_reach_the_provider(asset):
    assert Classifier(asset, device="openvino", provider_options={"num_of_threads": 1}).providers[0] == OPENVINO
    with pytest.raises(DeviceError, match=r"^openvino: Invalid OpenVINO EP option: nonsense; see `mnistkit doctor`$"):
        Runtime(asset, device="openvino", provider_options={"nonsense": 1})


def test_onnxruntime_would_run_these_on_the_cpu(asset):
    """A device type that does not exist makes a session that names OpenVINO first and uses it for nothing."""
    with pytest.raises(DeviceError, match=r"^openvino:NPU: OpenVINO finds no NPU here, only CPU"):
        Runtime(asset, device="openvino:NPU")
    with pytest.raises(DeviceError, match=r"takes none of the model's .* operations, so that all of them would run on"):
        Runtime(asset, device="openvino", provider_options={"device_type": "nonsense"})


def test_other_devices_say_which_package_has_them(asset):
    with pytest.raises(DeviceError, match="no CUDAExecutionProvider; run `pip uninstall -y onnxruntime-openvino` and"):
        Runtime(asset, device="cuda")
    with pytest.raises(ModelFileError, match="not a model that onnxruntime"):
        Runtime(b"nonsense", device="openvino")


def test_bench_and_the_command_line(pytestconfig, python, tmp_path):
    file = pytestconfig.rootpath / "exports" / "mnist-cnn.onnx"
    found = bench(file, device="openvino", batch_sizes=(1, 8), keras=False, provider_options={"num_of_threads": 1})
    assert (found.provider, [one.batch_size for one in found.latencies]) == (OPENVINO, [1, 8])
    ran = python("-m", "mnistkit", "verify", str(file), "--device", "openvino", "--json", cwd=tmp_path)
    assert json.loads(ran.out)["providers"][0] == OPENVINO
    ran = python("-m", "mnistkit", "doctor", cwd=tmp_path)
    assert f"{OPENVINO} runs" in ran.out
