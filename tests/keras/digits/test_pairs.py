"""Trained on any backend, loaded and exported under any: with the two other runs of this file, all nine pairs."""

import json
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from mnistkit import Classifier, load_data
from mnistkit.core.comparison import compare, verify_file
from mnistkit.core.contract import weights_sha256
from mnistkit.core.keras_files import load_model
from mnistkit.export import export_onnx

EXPORTS = Path(__file__).parents[3] / "exports"
TOLERANCE = dict.fromkeys(
    ("mnist-tensorflow", "mnist-jax", "mnist-torch"),
    2e-6,  # onnxruntime and a framework may each be 1e-6 away from the true sum of 784 products
) | {"mnist-cnn": 1e-5}  # and more where six layers follow each other

trained_on = pytest.mark.parametrize("name", TOLERANCE)


@pytest.fixture(scope="module")
def whole():
    return load_data()


@pytest.fixture(scope="module")
def reports(tmp_path_factory, whole):
    """Every committed model, exported under this process' backend; each once."""
    folder = tmp_path_factory.mktemp("pairs")
    return {
        name: export_onnx(EXPORTS / f"{name}.keras", folder / f"{name}.onnx", atol=tolerance, data=whole)
        for name, tolerance in TOLERANCE.items()
    }


@trained_on
def test_the_weights_are_those_that_were_trained(name):
    told = json.loads((EXPORTS / f"{name}.train.json").read_text(encoding="utf-8"))
    assert weights_sha256(load_model(EXPORTS / f"{name}.keras").get_weights()) == told["weights_sha256"]


@trained_on
def test_the_accuracy_is_the_same_everywhere(name, reports):
    told = json.loads((EXPORTS / f"{name}.train.json").read_text(encoding="utf-8"))
    assert reports[name].accuracy == (
        pytest.approx(told["test"]["accuracy"], abs=2e-4),
        pytest.approx(told["test"]["accuracy"], abs=2e-4),
    )


@trained_on
def test_the_export_verifies(name, reports):
    assert reports[name].largest <= TOLERANCE[name]
    assert verify_file(reports[name].path).pairs >= 3


@trained_on
def test_the_export_is_the_committed_one(name, reports):
    """Whichever backend writes it: the same graph, to the byte. Golden answers depend on onnxruntime's version too."""
    here, committed = onnx.load(reports[name].path), onnx.load(EXPORTS / f"{name}.onnx")
    assert {entry.key for entry in here.metadata_props} == {entry.key for entry in committed.metadata_props}
    same = {"mnistkit.weights_sha256", "mnistkit.labels", "mnistkit.preprocessing", "mnistkit.format_version"}
    for left, right in zip(here.metadata_props, committed.metadata_props, strict=True):
        assert left.key not in same or left.value == right.value
    del here.metadata_props[:], committed.metadata_props[:]
    assert here.SerializeToString(deterministic=True) == committed.SerializeToString(deterministic=True)


@trained_on
def test_keras_here_answers_as_the_committed_file(name, whole):
    model = load_model(EXPORTS / f"{name}.keras")
    images = whole.x_test[:2000].reshape(-1, 784).astype(np.float32) / np.float32(255)
    expected = np.asarray(keras.ops.convert_to_numpy(model(images)))
    actual = Classifier(EXPORTS / f"{name}.onnx", device="cpu", exact=True).probabilities(images)
    assert compare(expected, actual, atol=TOLERANCE[name], what=name).agreement == 1.0
