"""The committed results are verified, complete, and what the package ships."""

import hashlib
import json
from pathlib import Path

import pytest

from mnistkit import Classifier, load_data
from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import ParityError

EXPORTS = Path(__file__).parent.parent / "exports"
FILES = sorted(path.name for path in EXPORTS.glob("mnist-*.onnx") if not path.stem.endswith("-picture"))
TRAINED = ("jax", "tensorflow", "torch")


def about(name):
    return json.loads((EXPORTS / f"{name}.json").read_text(encoding="utf-8"))


def test_there_is_one_of_each_backend():
    assert {f"mnist-{backend}.onnx" for backend in TRAINED} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_verifies(name):
    assert verify_file(EXPORTS / name, device="cpu").pairs >= 1


@pytest.mark.parametrize("name", FILES)
def test_one_changed_weight_is_noticed(name):
    content = bytearray((EXPORTS / name).read_bytes())
    middle = len(content) // 4  # inside the first and largest weight
    content[middle : middle + 400] = bytes(400)
    with pytest.raises(ParityError):
        verify_file(bytes(content), device="cpu")


@pytest.mark.parametrize("name", FILES)
def test_the_json_beside_it_speaks_of_this_file(name):
    found = about(name)
    assert found["sha256"] == hashlib.sha256((EXPORTS / name).read_bytes()).hexdigest()
    assert found["file"] == name
    assert found["verification"]["largest"] <= found["verification"]["atol"]


@pytest.mark.parametrize("backend", TRAINED)
def test_it_was_trained_on_the_backend_it_is_named_after(backend):
    assert about(f"mnist-{backend}.onnx")["training"]["backend"]["name"] == backend


def test_the_three_trainings_reach_the_same():
    data = load_data()
    accuracy = {}
    for backend in TRAINED:
        scores = Classifier(EXPORTS / f"mnist-{backend}.onnx", device="cpu").probabilities(data.x_test)
        accuracy[backend] = (scores.argmax(axis=1) == data.y_test).mean()
        assert f"{accuracy[backend]:.4f}" == f"{about(f'mnist-{backend}.onnx')['accuracy']['onnxruntime']:.4f}"
    assert min(accuracy.values()) >= 0.940
    assert max(accuracy.values()) - min(accuracy.values()) <= 0.005


@pytest.mark.parametrize("other", TRAINED[1:])
def test_the_three_trainings_take_the_same_way(other):
    curves = [
        json.loads((EXPORTS / f"mnist-{name}.train.json").read_text(encoding="utf-8"))["history"]["loss"]
        for name in (TRAINED[0], other)
    ]
    assert len(curves[0]) == len(curves[1]) == 2
    assert curves[0] == pytest.approx(curves[1], abs=1e-3)
    assert curves[0] != pytest.approx(curves[1][::-1], abs=1e-3)
