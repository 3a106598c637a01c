"""From a Keras model to a hub folder, with one command."""

import re
import subprocess
import sys

import keras
from one_backend import once

from mnistkit.publish import hub_folder, verify_hub_folder

pytestmark = once


def test_a_model_with_three_inputs(tmp_path, cli):
    age, words = keras.Input((1,), name="age"), keras.Input((4,), dtype="int64", name="words")
    member = keras.Input((1,), dtype="bool", name="member")
    text = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(100, 8)(words))
    every = keras.layers.Concatenate()([age, text, keras.ops.cast(member, "float32")])
    model = keras.Model([age, words, member], keras.layers.Dense(2, activation="softmax", name="answer")(every))
    model.save(tmp_path / "customers.keras")
    ran = cli("export", tmp_path / "customers.keras", "--hub", tmp_path / "hub", "--license", "mit")
    assert ran.code == 0, ran.err
    assert ran.err.splitlines()[-1].endswith("README.md, config.json, mnistkit-folder.json, onnx/model.onnx")
    verify_hub_folder(tmp_path / "hub")
    assert (tmp_path / "hub" / "onnx" / "model.onnx").read_bytes() == (tmp_path / "customers.onnx").read_bytes()
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert f"compared with those of Keras {keras.__version__} on {keras.backend.backend()}" in card
    assert "| noise | 1, 2, 3" in card
    assert "## Training" not in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert "answer [[" in subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path / "hub", text=True)
    refused = cli("export", tmp_path / "customers.keras", "--hub", tmp_path)
    assert refused.code == 1
    assert "did not write (customers.keras, customers.onnx, customers.onnx.json, ...)" in refused.err


def test_a_classifier_trained_on_data_of_its_own(exported, tmp_path):
    found = hub_folder(exported.path, tmp_path / "hub")
    card = (found.path / "README.md").read_text(encoding="utf-8")
    assert "      type: other\n      name: small.npz\n" in card
    assert f"{exported.accuracy[1]:.4f} on 300 test images of small.npz" in card
    assert "ylecun/mnist" not in card
    assert "| data | small.npz |" in card
    assert str(tmp_path.parent) not in card
    assert "onnx/model_picture.onnx" in found.files
