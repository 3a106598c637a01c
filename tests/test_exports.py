"""The committed results are what their JSON says, and prove themselves again."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mnistkit import Classifier, verify_file

EXPORTS = Path(__file__).parents[1] / "exports"
NAMES = ("mnist-tensorflow", "mnist-jax", "mnist-torch")


def read(name):
    return json.loads((EXPORTS / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_it_verifies(name):
    found = verify_file(EXPORTS / f"{name}.onnx")
    assert found.pairs >= 3
    assert found.largest <= found.allowed


@pytest.mark.parametrize("name", NAMES)
def test_the_provenance_is_of_this_file(name):
    about = read(f"{name}.json")
    assert about["file"] == f"{name}.onnx"
    assert about["sha256"] == hashlib.sha256((EXPORTS / f"{name}.onnx").read_bytes()).hexdigest()
    assert about["proof"]["largest"] <= about["proof"]["atol"]
    assert about["training"]["backend"]["name"] == name.removeprefix("mnist-")
    assert about["training"] == read(f"{name}.train.json")


@pytest.mark.parametrize("name", NAMES)
def test_its_accuracy_is_what_it_says(name, mnist):
    classifier = Classifier(EXPORTS / f"{name}.onnx", device="cpu")
    accuracy = np.mean(classifier.probabilities(mnist.x_test).argmax(axis=1) == mnist.y_test)
    about = read(f"{name}.json")
    assert accuracy == pytest.approx(about["accuracy"]["onnxruntime"], abs=2e-4)
    assert accuracy == pytest.approx(about["training"]["test"]["accuracy"], abs=2e-4)
    assert float(classifier.metadata["test_accuracy"]) == pytest.approx(accuracy, abs=2e-4)


def test_the_three_trainings_are_as_good_as_each_other():
    accuracies = [read(f"{name}.train.json")["test"]["accuracy"] for name in NAMES]
    assert min(accuracies) >= 0.940
    assert max(accuracies) - min(accuracies) <= 0.005


def test_they_ran_the_tutorials_settings_on_the_same_data():
    about = [read(f"{name}.train.json") for name in NAMES]
    assert all(found["settings"] == about[0]["settings"] for found in about)
    assert all(found["data"] == about[0]["data"] for found in about)
    assert about[0]["settings"]["optimizer"] == "rmsprop"
    assert about[0]["settings"]["epochs"] == 2


def test_the_packaged_model_is_one_of_them(asset):
    assert asset.read_bytes() in {(EXPORTS / f"{name}.onnx").read_bytes() for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_any_machine_is_in_them(name):
    for suffix in (".onnx", ".json", ".train.json"):
        content = (EXPORTS / f"{name}{suffix}").read_bytes()
        for secret in (b"/home/", b"/tmp/", b"/root/", b"/work/", b"C:\\", b"site-packages"):
            assert secret not in content
