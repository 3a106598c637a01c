"""From a Keras model to what Triton, KServe and Kubernetes need, with one command."""

import keras
from one_backend import once

pytestmark = once


def test_a_model_with_two_inputs(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    age, words = keras.Input((1,), name="age"), keras.Input((None,), dtype="int64", name="words")
    text = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(100, 8)(words))
    keras.Model([age, words], keras.layers.Dense(2, name="answer")(keras.layers.Concatenate()([age, text]))).save(
        "two.keras"
    )
    words = ("--triton", "repository", "--kubernetes", "objects", "--image", "m:1", "--kserve", "service.yaml")
    ran = cli("export", "two.keras", "-o", "customers.onnx", *words, "--name", "Customers")
    assert ran.code == 0, ran.err
    assert "the objects are named customers; the model is served as Customers" in ran.err
    config = (tmp_path / "repository" / "Customers" / "config.pbtxt").read_text(encoding="utf-8")
    assert "max_batch_size: 32\n" in config
    assert 'name: "words"\n  data_type: TYPE_INT64\n  dims: [ -1 ]' in config
    assert 'name: "golden_0_full_batch"' in config
    model = tmp_path / "repository" / "Customers" / "1" / "model.onnx"
    assert model.read_bytes() == (tmp_path / "customers.onnx").read_bytes()
    assert "--model=Customers=/models/Customers.onnx" in (tmp_path / "objects" / "deployment.yaml").read_text()
    assert "name: customers" in (tmp_path / "service.yaml").read_text()


def test_what_is_wrong_is_told_before_the_export(tmp_path, cli):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "784.keras")
    ran = cli("export", tmp_path / "784.keras", "--kubernetes", tmp_path / "objects")
    assert ran.code == 1
    assert "Kubernetes takes no object named '784'" in ran.err
    assert not (tmp_path / "784.onnx").exists()
