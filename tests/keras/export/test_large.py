"""Models too large for one file: graph and weights take their places together, or not at all.

What is too large is set to a few bytes here; everything else is as for two gigabytes.
"""

import json
import os
import shutil

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mnistkit import Classifier
from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import OutputError, ParityError
from mnistkit.digits.model import build_model
from mnistkit.export import atomic_save, export_onnx


@pytest.fixture(autouse=True)
def _everything_is_too_large(monkeypatch):
    monkeypatch.setattr(atomic_save, "LIMIT", 1000)


def wide(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(300, activation="relu"), keras.layers.Dense(2)])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def data_files(folder):
    return [path for path in folder.iterdir() if path.suffix == ".data"]


def test_graph_and_weights_are_two_files_that_load_from_anywhere(tmp_path):
    model = wide(1)
    report = export_onnx(model, tmp_path / "here" / "m.onnx")
    (weights,) = data_files(report.path.parent)
    found = report.provenance["external_data"]
    assert found["name"] == weights.name
    assert found["size"] == weights.stat().st_size > 300 * 6 * 4
    assert weights.name == f"m.onnx.{found['sha256'][:12]}.data"
    assert report.path.stat().st_size < weights.stat().st_size
    assert sorted(contents(report.path.parent)) == sorted(["m.onnx", "m.onnx.json", weights.name])
    assert str(tmp_path).encode() not in report.path.read_bytes()
    onnx.checker.check_model(str(report.path), full_check=True)

    there = shutil.copytree(report.path.parent, tmp_path / "there") / "m.onnx"
    shutil.rmtree(report.path.parent)
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
    (answer,) = ort.InferenceSession(there, providers=["CPUExecutionProvider"]).run(None, {"input_layer": x})
    np.testing.assert_allclose(answer, keras.ops.convert_to_numpy(model(x)), rtol=0, atol=1e-5)
    assert verify_file(there).pairs == 1


def test_a_classifier_reads_digits_from_two_files(tmp_path, small):
    report = export_onnx(build_model(seed=3), tmp_path / "m.onnx", profile="digits", data=small)
    assert report.provenance["external_data"] is not None
    scores = Classifier(report.path, device="cpu").probabilities(small.x_test)
    assert np.mean(scores.argmax(axis=1) == small.y_test) == pytest.approx(report.accuracy[1])
    assert verify_file(report.path).pairs >= 3


def test_the_same_weights_have_the_same_names_and_bytes(tmp_path):
    first, second = export_onnx(wide(1), tmp_path / "a" / "m.onnx"), export_onnx(wide(1), tmp_path / "b" / "m.onnx")
    assert contents(first.path.parent) == contents(second.path.parent)


def test_a_new_export_takes_the_place_of_both_old_files(tmp_path):
    old = export_onnx(wide(1), tmp_path / "m.onnx").provenance["external_data"]["name"]
    new = export_onnx(wide(2), tmp_path / "m.onnx").provenance["external_data"]["name"]
    assert old != new
    assert [path.name for path in data_files(tmp_path)] == [new]
    again = export_onnx(wide(2), tmp_path / "m.onnx").provenance["external_data"]["name"]
    assert [path.name for path in data_files(tmp_path)] == [again] == [new]


def test_an_export_that_fits_one_file_removes_the_old_weights(tmp_path, monkeypatch):
    export_onnx(wide(1), tmp_path / "m.onnx")
    (tmp_path / "m.onnx.notes.data").write_text("somebody's own")
    monkeypatch.undo()
    export_onnx(wide(2), tmp_path / "m.onnx")
    assert [path.name for path in data_files(tmp_path)] == ["m.onnx.notes.data"]
    assert json.loads((tmp_path / "m.onnx.json").read_text())["external_data"] is None


def test_a_failed_check_leaves_the_old_pair_as_it_was(tmp_path):
    export_onnx(wide(1), tmp_path / "m.onnx")
    before = contents(tmp_path)
    with pytest.raises(ParityError, match="largest difference"):
        export_onnx(wide(2), tmp_path / "m.onnx", atol=1e-12)
    assert contents(tmp_path) == before
    assert verify_file(tmp_path / "m.onnx").pairs == 1


def test_a_graph_that_cannot_be_put_down_leaves_the_old_pair_as_it_was(tmp_path, monkeypatch):
    export_onnx(wide(1), tmp_path / "m.onnx")
    before = contents(tmp_path)
    replace = os.replace

    def refuse(source, target, **options):
        if str(target).endswith("m.onnx"):
            raise OSError(28, "No space left on device")
        replace(source, target, **options)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*m\.onnx: No space left"):
        export_onnx(wide(2), tmp_path / "m.onnx")
    assert contents(tmp_path) == before


def test_a_changed_weight_beside_the_graph_is_noticed(tmp_path):
    report = export_onnx(wide(1), tmp_path / "m.onnx")
    (weights,) = data_files(tmp_path)
    content = np.frombuffer(weights.read_bytes(), np.float32)
    weights.write_bytes((content * np.float32(1.03)).tobytes())
    with pytest.raises(ParityError, match="golden pair 0"):
        verify_file(report.path)
