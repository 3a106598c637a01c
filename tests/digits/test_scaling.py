"""Files that take grey levels, or -1 to 1, and files that say nothing of it."""

import numpy as np
import pytest

import mnistkit
from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.core.runtime import Runtime
from mnistkit.digits.scaling import CANDIDATES, UNIT, Scaling, measure, read_scaling

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def foreign(asset, tmp_path_factory):
    """The package's model as somebody else would have written it: no metadata, and grey levels 0 to 255."""

    def write(scale):
        model = onnx.load(asset)
        del model.metadata_props[:]
        name = model.graph.input[0].name
        for node in model.graph.node:
            node.input[:] = ["unit" if given == name else given for given in node.input]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1 / scale, np.float32), "by"))
        model.graph.node.insert(0, onnx.helper.make_node("Mul", [name, "by"], ["unit"]))
        path = tmp_path_factory.mktemp("foreign") / f"{scale}.onnx"
        onnx.save(model, path)
        return path

    return write


def share(classifier, mnist):
    found = classifier.probabilities(mnist.x_test[:300]).argmax(axis=1)
    return float(np.mean(found == mnist.y_test[:300]))


def test_a_foreign_file_of_grey_levels_is_read_and_told(foreign, mnist):
    """It read 16 % without a word."""
    with pytest.warns(RuntimeWarning, match=r"takes numbers from 0 to 255 .*give scale="):
        assert share(mnistkit.Classifier(foreign(255), device="cpu"), mnist) > 0.95
    assert share(mnistkit.Classifier(foreign(255), device="cpu", scale=255), mnist) > 0.95
    assert share(mnistkit.Classifier(foreign(1), device="cpu"), mnist) > 0.95  # and no warning
    assert share(mnistkit.Classifier(foreign(255), device="cpu", scale=1), mnist) < 0.9  # what is said holds


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_is_a_positive_number(asset, scale):
    with pytest.raises(InputError, match="scale must be a positive number"):
        mnistkit.Classifier(asset, device="cpu", scale=scale)


def test_what_a_file_says_of_itself_is_read(asset):
    assert read_scaling({}) is None
    assert read_scaling({"preprocessing_parameters": '{"side": 28}'}) is None
    assert read_scaling({"preprocessing_parameters": '{"scale": [1, 2]}'}) is None
    assert read_scaling({"preprocessing_parameters": '{"scale": 1.0}'}) == Scaling(1.0)
    assert read_scaling(mnistkit.Classifier(asset, device="cpu").metadata) == UNIT
    for text in ("{", "[" * 100_000):
        with pytest.raises(ModelFileError, match="preprocessing in the file is damaged"):
            read_scaling({"preprocessing_parameters": text})


def test_the_range_is_measured_and_not_guessed():
    images = np.stack([np.full((28, 28), level, np.uint8) for level in (0, 50, 100, 150, 200, 250)] * 20)
    classes = np.arange(6).tolist() * 20

    def reader(scaling):
        levels = np.asarray([0, 50, 100, 150, 200, 250], np.float32) * scaling.scale + scaling.offset
        return lambda x: -np.abs(x.reshape(len(x), -1).mean(axis=1, keepdims=True) - levels)

    for scaling in CANDIDATES:
        assert measure(reader(scaling), images, classes)[0] == scaling
    assert measure(lambda x: np.zeros((len(x), 10)), images, classes)[0] == UNIT  # nothing is clearly better


def test_images_in_the_unit_range_stay_the_same_bits():
    images = np.random.default_rng(0).random((3, 784)).astype(np.float32)
    assert UNIT.of_unit(images) is images
    assert Scaling(2 / 255, -1.0).of_unit(images) == pytest.approx(images * 2 - 1, abs=1e-6)


def test_a_picture_file_has_the_scaling_inside(asset, tmp_path, seven):
    """The classifier of grey levels inside the graph that takes pictures."""
    from mnistkit.digits.picture_model import export_picture_model

    model = onnx.load(asset)
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["unit" if given == name else given for given in node.input]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1 / 255, np.float32), "by"))
    model.graph.node.insert(0, onnx.helper.make_node("Mul", [name, "by"], ["unit"]))
    for entry in model.metadata_props:
        if entry.key == "mnistkit.preprocessing_parameters":
            entry.value = '{"scale": 1.0, "offset": 0.0}'
    onnx.save(model, tmp_path / "grey.onnx")
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    whole = export_picture_model(tmp_path / "grey.onnx", tmp_path / "whole.onnx")  # it compares both itself
    answers = Runtime(whole, device="cpu").run({"picture": np.asarray(seven)[..., None]})
    assert int(answers["digit"]) == 7
