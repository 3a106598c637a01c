"""Export: one verified file under the contract's names, or one line that says why not and the old file untouched."""

import io
import json
import shutil
import socket
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from mnistkit import Classifier
from mnistkit.core.comparison import compare, verify_file
from mnistkit.core.errors import ExportError, InputError, ModelFileError, OutputError, ParityError
from mnistkit.core.keras_files import load_model
from mnistkit.digits.model import build_model
from mnistkit.export import export_onnx
from mnistkit.export.provenance import provenance_path


def flattening():
    """The tutorial's other spelling: 28x28 images and a Flatten layer."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def functional():
    inputs = keras.Input((784,))
    hidden = keras.layers.Dense(32, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(hidden))


def declared(path):
    graph = onnx.load(path).graph
    return [
        (value.name, [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim])
        for value in (*graph.input, *graph.output)
    ]


def answers(model, images):
    return np.asarray(keras.ops.convert_to_numpy(model(images)))


# --- the contract ---------------------------------------------------------------------------------------------------


def test_the_file_is_as_the_contract_says(exported):
    proto = onnx.load(exported.path)
    assert declared(exported.path) == [("image", ["batch", 784]), ("probabilities", ["batch", 10])]
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]
    assert proto.ir_version == 8
    assert (proto.producer_name, proto.producer_version, proto.doc_string) == ("mnistkit", "", "")
    onnx.checker.check_model(proto, full_check=True)


def test_metadata(exported, trained, small):
    found = Classifier(exported.path, device="cpu").metadata
    assert found["format_version"] == "1"
    assert json.loads(found["labels"]) == list("0123456789")
    assert json.loads(found["preprocessing_parameters"])["scale"] == 1 / 255
    assert found["weights_sha256"] == trained.provenance["weights_sha256"]
    assert found["keras_version"] == keras.__version__
    assert float(found["test_accuracy"]) == pytest.approx(exported.accuracy[1], abs=5e-5)
    assert small.sha256 not in found.values()


def test_provenance(exported, trained, here):
    found = json.loads(exported.provenance_path.read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(exported.provenance))
    assert found["file"] == "mnist.onnx"
    assert found["exporter"]["name"] == exported.exporter
    assert found["exported_under"]["name"] == here.name
    assert found["training"] == trained.provenance
    assert found["verification"]["largest"] <= found["verification"]["atol"]
    assert {row["batch_size"] for row in found["verification"]["rows"]} >= {1, 2, 3, 64, 300}
    assert {row["sample"] for row in found["verification"]["rows"]} >= {"test images", "noise", "edges"}


def test_digest_is_of_the_file(exported):
    import hashlib

    assert hashlib.sha256(exported.path.read_bytes()).hexdigest() == exported.sha256 == exported.provenance["sha256"]


def test_only_two_files_are_left(exported):
    assert sorted(path.name for path in exported.path.parent.iterdir()) == ["mnist.onnx", "mnist.onnx.json"]


def test_it_answers_as_keras_does(exported, trained, small):
    images = small.x_test.reshape(-1, 784).astype(np.float32) / 255
    found = compare(
        answers(trained.model, images),
        Classifier(exported.path, device="cpu", exact=True).probabilities(images),
        atol=1e-6,
        what="test images",
    )
    assert found.agreement == 1.0
    assert (
        exported.accuracy[0] == exported.accuracy[1] == pytest.approx(trained.provenance["test"]["accuracy"], abs=1e-6)
    )


def test_it_verifies_without_keras(exported):
    assert verify_file(exported.path).pairs >= 3


def test_the_backend_of_the_other_road_is_not_in_the_file(exported):
    content = exported.path.read_bytes().lower()
    for name in (b"tensorflow", b"jax", b"torch"):
        assert name not in content


def test_nothing_of_this_machine_is_in_the_file(exported, trained):
    content = exported.path.read_bytes()
    host = socket.gethostname()
    places = (str(Path.home()), str(Path.cwd()), str(trained.path.parent), "site-packages", "pytest")
    # a name of two or three letters is among 100,000 bytes of weights by chance
    for secret in (*places, *([host] if len(host) > 4 else [])):
        assert secret.encode() not in content, secret


def test_the_same_weights_give_the_same_bytes(trained, small, exported, tmp_path):
    again = export_onnx(trained.model, tmp_path / "again.onnx", profile="digits", data=small)
    assert again.sha256 == exported.sha256


# --- kinds of models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [build_model, flattening, functional], ids=lambda build: build.__name__)
def test_spellings_of_the_tutorials_model(tmp_path, small, build):
    """None of them was ever called: stock Keras refuses them all."""
    model = build()
    report = export_onnx(model, tmp_path / "model.onnx", profile="digits", data=small)
    (name, shape), (output, _) = declared(report.path)
    assert (name, output) == ("image", "probabilities")
    assert shape == ["batch", *model.input_shape[1:]]
    images = small.x_test[:50]
    expected = answers(model, (images.astype(np.float32) / 255).reshape(-1, *model.input_shape[1:]))
    compare(expected, Classifier(report.path, device="cpu").probabilities(images), atol=1e-6, what="images")


def test_after_save_and_load(tmp_path, small):
    model = functional()
    model.save(tmp_path / "model.keras")
    report = export_onnx(tmp_path / "model.keras", profile="digits", data=small)
    assert report.path == tmp_path / "model.onnx"
    images = small.x_test[:50].reshape(-1, 784).astype(np.float32) / 255
    compare(answers(model, images), Classifier(report.path).probabilities(images), atol=1e-6, what="images")


@pytest.mark.parametrize("build", [build_model, functional], ids=lambda build: build.__name__)
def test_built_four_times_the_same_bytes(tmp_path, small, build):
    """Keras counts layers through the whole process; the file must not."""
    weights = build_model(seed=5).get_weights()
    digests = set()
    for number in range(4):
        model = build()
        model.set_weights(weights)
        digests.add(export_onnx(model, tmp_path / f"{number}.onnx", profile="digits", data=small).sha256)
    assert len(digests) == 1


def test_logits_keep_their_name_and_are_made_probabilities_when_read(tmp_path, small):
    model = keras.Sequential([keras.Input((784,), name="pixels"), keras.layers.Dense(10, name="scores")])
    report = export_onnx(model, tmp_path / "model.onnx", profile="digits", data=small)
    assert [name for name, _ in declared(report.path)] == ["pixels", "scores"]
    found = Classifier(report.path).probabilities(small.x_test[:20])
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-5)
    images = small.x_test[:20].reshape(-1, 784).astype(np.float32) / 255
    np.testing.assert_array_equal(found.argmax(axis=1), answers(model, images).argmax(axis=1))


def test_dropout_and_augmentation_do_nothing_at_inference(tmp_path, small):
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    report = export_onnx(model, tmp_path / "model.onnx", profile="digits", data=small)
    assert report.largest <= report.atol


def test_other_labels(tmp_path, small):
    clothes = [f"piece {n}" for n in range(10)]
    report = export_onnx(build_model(), tmp_path / "model.onnx", profile="digits", labels=clothes)
    found = Classifier(report.path).predict(small.x_test[:5])
    assert all(prediction.label == f"piece {prediction.digit}" for prediction in found)


def test_labels_of_the_training_are_kept(tmp_path, trained, small):
    """The provenance beside the .keras file names them; a file whose weights differ is not believed."""
    shutil.copy(trained.path, tmp_path / "mnist.keras")
    told = json.loads(trained.path.with_suffix(".train.json").read_text(encoding="utf-8"))
    told["data"]["labels"] = [f"piece {n}" for n in range(10)]
    beside = tmp_path / "mnist.train.json"
    beside.write_text(json.dumps(told), encoding="utf-8")
    assert Classifier(export_onnx(tmp_path / "mnist.keras").path).labels[0] == "piece 0"
    beside.write_text(json.dumps(told | {"weights_sha256": "0" * 64}), encoding="utf-8")
    again = export_onnx(tmp_path / "mnist.keras")
    assert Classifier(again.path).labels[0] == "0"
    assert again.provenance["training"] is None
    assert small.labels[0] == "0"


def test_opset(tmp_path, small):
    report = export_onnx(build_model(), tmp_path / "model.onnx", opset=18, profile="digits", data=small)
    assert onnx.load(report.path).opset_import[0].version == 18 == report.provenance["opset"]


# --- refusals -------------------------------------------------------------------------------------------------------


OLD = json.dumps({"file": "model.onnx", "sha256": "", "exporter": {}, "exported_under": {}})


@pytest.fixture
def old(tmp_path):
    """An older export that must survive."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old file")
    provenance_path(path).write_text(OLD)
    return path


def assert_untouched(old):
    assert old.read_bytes() == b"old file"
    assert provenance_path(old).read_text() == OLD
    left = sorted(path.name for path in old.parent.iterdir() if path.suffix != ".keras")
    assert left == ["model.onnx", "model.onnx.json"]


def test_a_tolerance_that_cannot_be_met(old, trained, small):
    with pytest.raises(ParityError, match=r"largest difference .*, allowed 1e-12; labels agree on"):
        export_onnx(trained.model, old, atol=1e-12, profile="digits", data=small)
    assert_untouched(old)


@pytest.mark.parametrize("atol", [0.0, -1.0, float("nan")])
def test_a_tolerance_that_means_nothing(old, trained, atol):
    with pytest.raises(InputError, match="atol must be above 0"):
        export_onnx(trained.model, old, atol=atol)
    assert_untouched(old)


def test_a_model_with_nan_weights(old, small):
    model = build_model()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(ExportError, match="NaN"):
        export_onnx(model, old, profile="digits", data=small)
    assert_untouched(old)


def test_a_wrongly_written_graph_is_caught(old, trained, small, monkeypatch):
    """The check's negative twin: whatever goes wrong between writing and verifying, no file appears."""
    from mnistkit.export import pipeline

    chosen = pipeline.choose

    def perturbed(*arguments, **options):
        found = chosen(*arguments, **options)
        weight = max(found.proto.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
        values = onnx.numpy_helper.to_array(weight).copy()
        values.flat[int(np.abs(values).argmax())] *= np.float32(1.5)
        weight.raw_data = values.tobytes()
        return found

    monkeypatch.setattr(pipeline, "choose", perturbed)
    with pytest.raises(ParityError, match="largest difference"):
        export_onnx(trained.model, old, profile="digits", data=small)
    assert_untouched(old)


def test_unknown_exporter(old, trained):
    with pytest.raises(InputError, match=r"unknown exporter 'onnx'; use .*native"):
        export_onnx(trained.model, old, exporter="onnx")
    assert_untouched(old)


def test_a_model_without_shapes(old):
    with pytest.raises(ExportError, match="no input shape yet"):
        export_onnx(keras.Sequential([keras.layers.Dense(10)]), old)
    assert_untouched(old)


def test_a_model_needs_a_path():
    with pytest.raises(InputError, match="path: name the file to write"):
        export_onnx(build_model())


def test_a_target_that_cannot_be(tmp_path, trained):
    (tmp_path / "exports").write_text("")
    with pytest.raises(OutputError, match="choose another place with --out"):
        export_onnx(trained.model, tmp_path / "exports" / "model.onnx")


# --- .keras files that are none -------------------------------------------------------------------------------------


def hdf5(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["x"] = 1


def rewritten(source, change):
    """A .keras file with members changed: a function from name and content to content, ``None`` to leave it out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return stream.getvalue()


def newer(name, content):
    if name == "metadata.json":
        return json.dumps(json.loads(content) | {"keras_version": "99.0.0"}).encode()
    if name == "config.json":
        return content.replace(b'"Dense"', b'"DenserThanDense"')
    return content


def flipped(content):
    """One byte of the weights changed, which the archive's checksum notices."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.getinfo("model.weights.h5")
    place = info.header_offset + 2000
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


BAD = {
    "text": (lambda path, _: path.write_text("hello"), "not a .keras file"),
    "empty": (lambda path, _: path.write_bytes(b""), "not a .keras file"),
    "LFS pointer": (
        lambda path, _: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "run `git lfs pull`",
    ),
    "truncated": (lambda path, good: path.write_bytes(good.read_bytes()[:-500]), "not a .keras file"),
    "HDF5": (
        lambda path, _: hdf5(path),
        "an HDF5 file of weights alone, without the layers they belong to; build the model",
    ),
    "another zip": (
        lambda path, good: path.write_bytes(rewritten(good, lambda n, c: c if n == "config.json" else None)),
        "not a complete .keras file (metadata.json, model.weights.h5 missing)",
    ),
    "damaged": (lambda path, good: path.write_bytes(flipped(good.read_bytes())), "model.weights.h5 is damaged"),
    "newer Keras": (
        lambda path, good: path.write_bytes(rewritten(good, newer)),
        "made with Keras 99.0.0, cannot be loaded",
    ),
    "config that is no JSON": (
        lambda path, good: path.write_bytes(rewritten(good, lambda n, c: b"{" if n == "config.json" else c)),
        "cannot be loaded",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_no_model(tmp_path, trained, old, case):
    make, words = BAD[case]
    path = tmp_path / "bad.keras"
    make(path, trained.path)
    with pytest.raises(ModelFileError) as caught:
        export_onnx(path, old)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message
    if case == "newer Keras":
        assert message.endswith(f"update Keras (it is {keras.__version__} here)")
    assert_untouched(old)


def test_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"no such file; make one with `python -m mnistkit\.train`"):
        load_model(tmp_path / "none.keras")
    with pytest.raises(ModelFileError, match=r"a folder; name the \.keras file"):
        load_model(tmp_path)


def test_code_inside_a_file_is_not_run(tmp_path, old):
    """A Lambda layer carries Python code; the file is refused unless its author's code is registered."""
    model = keras.Sequential([keras.Input((784,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(10)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ModelFileError, match=r"cannot be loaded .*Python code inside \(Lambda\).*--unsafe"):
        export_onnx(tmp_path / "lambda.keras", old)
    assert_untouched(old)
    assert load_model(tmp_path / "lambda.keras", unsafe=True).count_params() == model.count_params()


CURES = {
    "a SavedModel folder": (
        lambda path: (path.mkdir(), (path / "saved_model.pb").write_bytes(b"x")),
        "SavedModel folder",
    ),
    "an ONNX file": (lambda path: path.write_bytes(b"\x08\x08\x12\x00"), "an ONNX model, which needs no export"),
    "a pickle": (lambda path: path.write_bytes(b"\x80\x04rest"), "a pickle, as PyTorch and joblib write them"),
    "a TensorFlow Lite file": (lambda path: path.write_bytes(b"\x1c\x00\x00\x00TFL3"), "a TensorFlow Lite model"),
    "a damaged HDF5 file": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "a damaged HDF5 file"),
}


@pytest.mark.parametrize("case", CURES)
def test_each_kind_of_file_has_its_own_cure(tmp_path, case):
    make, words = CURES[case]
    path = tmp_path / ("m.onnx" if "ONNX" in case else "m.model")
    make(path)
    with pytest.raises(ModelFileError, match=words):
        load_model(path)


@pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning")  # Keras' advice against the format
def test_a_whole_model_in_h5_is_exported_and_weights_alone_are_told(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "whole.h5")
    assert export_onnx(tmp_path / "whole.h5").path == tmp_path / "whole.onnx"
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ModelFileError, match=r"weights alone.*model\.load_weights"):
        export_onnx(tmp_path / "m.weights.h5")


def test_a_class_that_is_not_registered_is_named_whatever_the_length_of_the_message(tmp_path, cli, monkeypatch):
    (tmp_path / "my_layers_of_a_test.py").write_text(
        "import keras\n\n\n@keras.saving.register_keras_serializable('mine')\nclass Doubled(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x * 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with monkeypatch.context() as here:
        here.syspath_prepend(str(tmp_path))
        from my_layers_of_a_test import Doubled

    keras.Sequential([keras.Input((4,)), Doubled(), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    keras.saving.get_custom_objects().pop("mine>Doubled")
    sys.modules.pop("my_layers_of_a_test")
    with pytest.raises(ModelFileError, match=r"it needs '.*Doubled', which is not registered here.*--import MODULE"):
        load_model(tmp_path / "m.keras")
    ran = cli("export", tmp_path / "m.keras", "--import", "my_layers_of_a_test", "--quiet")
    assert ran.code == 0, ran.err
    ran = cli("export", tmp_path / "m.keras", "--import", "no_such_module_here", "--quiet")
    assert ran.code == 1
    assert "--import no_such_module_here: its import fails" in ran.err
