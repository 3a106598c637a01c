"""What a profile puts into a file, and that without one nothing is put there."""

import json

import keras
import numpy as np
import onnx
import pytest

from mnistkit import Classifier, verify
from mnistkit.core.errors import InputError, ParityError
from mnistkit.core.runtime import Runtime
from mnistkit.digits.profile import DigitClassifier
from mnistkit.digits.scaling import Scaling
from mnistkit.export import LabeledClassifier, ProfileSample, export_onnx

DIGIT_ENTRIES = {"labels", "preprocessing", "preprocessing_parameters", "test_accuracy"}


def stranger():
    """A model of somebody else that has the shapes of a digit classifier by chance."""
    return keras.Sequential(
        [keras.Input((784,), name="sensor"), keras.layers.Dense(10, activation="softmax", name="species")]
    )


def declared(path):
    graph = onnx.load(path).graph
    return [value.name for value in (*graph.input, *graph.output)]


def test_a_stranger_keeps_its_names_and_is_told_nothing_of_digits(tmp_path):
    report = export_onnx(stranger(), tmp_path / "m.onnx")
    assert declared(report.path) == ["sensor", "species"]
    assert report.accuracy is report.profile is None
    assert set(Runtime(report.path, device="cpu").metadata) == {
        "format_version",
        "golden",
        "keras_version",
        "weights_sha256",
    }
    assert not {row.sample for row in report.rows} & {"test images", "edges"}


def test_the_same_model_as_a_digit_classifier(tmp_path, small):
    report = export_onnx(stranger(), tmp_path / "m.onnx", profile="digits", data=small)
    assert declared(report.path) == ["image", "probabilities"]
    assert report.profile == report.provenance["profile"] == "digits"
    assert set(Runtime(report.path, device="cpu").metadata) >= DIGIT_ENTRIES
    assert report.accuracy is not None
    assert "test images" in {row.sample for row in report.rows}
    again = export_onnx(stranger(), tmp_path / "n.onnx", profile=DigitClassifier(small))
    assert declared(again.path) == ["image", "probabilities"]


def test_the_command_line_hints_at_the_profile_and_takes_it(cli, tmp_path, small_npz):
    stranger().save(tmp_path / "m.keras")
    ran = cli("export", tmp_path / "m.keras")
    assert ran.code == 0
    assert ran.err == (
        "mnistkit: this looks like a digit classifier; --profile digits adds labels, preprocessing and the accuracy "
        "on MNIST\n"
    )
    assert declared(tmp_path / "m.onnx") == ["sensor", "species"]
    ran = cli("export", tmp_path / "m.keras", "--profile", "none")
    assert (ran.code, ran.err) == (0, "")
    ran = cli("export", tmp_path / "m.keras", "--profile", "digits", "--data", small_npz)
    assert (ran.code, ran.err) == (0, "")
    assert "test accuracy" in ran.out
    assert declared(tmp_path / "m.onnx") == ["image", "probabilities"]
    ran = cli("export", tmp_path / "m.keras", "--data", small_npz)
    assert ran.code == 1
    assert "no profile that uses it is chosen" in ran.err


def test_no_hint_for_a_model_of_other_shapes(cli, tmp_path):
    keras.Sequential([keras.Input((6,)), keras.layers.Dense(10)]).save(tmp_path / "m.keras")
    ran = cli("export", tmp_path / "m.keras")
    assert (ran.code, ran.err) == (0, "")


def test_a_trained_model_is_a_digit_classifier_unless_asked_not_to_be(trained, tmp_path):
    assert trained.provenance["profile"] == "digits"
    report = export_onnx(trained.path, tmp_path / "m.onnx", profile="none")
    assert report.profile is None
    assert "labels" not in Runtime(report.path, device="cpu").metadata


def test_a_profile_that_does_not_fit_writes_nothing(tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    with pytest.raises(InputError, match="profile digits: expected one float input"):
        export_onnx(model, tmp_path / "m.onnx", profile="digits")
    with pytest.raises(InputError, match="2 labels do not fit"):
        export_onnx(model, tmp_path / "m.onnx", labels=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_labels_alone_name_the_classes_and_nothing_else(tmp_path):
    report = export_onnx(stranger(), tmp_path / "m.onnx", labels=[f"species {n}" for n in range(10)])
    found = Runtime(report.path, device="cpu").metadata
    assert json.loads(found["labels"])[3] == "species 3"
    assert not DIGIT_ENTRIES - {"labels"} & found.keys()
    assert declared(report.path) == ["sensor", "species"]


def test_pictures_with_labels_preprocessing_and_a_test_set(tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 3), name="picture"), keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")]
    )
    pictures = np.random.default_rng(0).uniform(-1, 1, (12, 8, 8, 3)).astype("float32")
    targets = keras.ops.convert_to_numpy(model(pictures)).argmax(axis=1)
    targets[0] = (targets[0] + 1) % 4
    profile = LabeledClassifier(
        ["cat", "dog", "cow", "hen"],
        preprocessing="RGB, 8x8, scaled to [-1, 1]",
        preprocessing_parameters={"side": 8, "scale": 1 / 127.5, "offset": -1.0},
        inputs={"picture": pictures},
        targets=targets,
        output_names=["animal"],
    )
    report = export_onnx(model, tmp_path / "m.onnx", profile=profile)
    assert declared(report.path) == ["picture", "animal"]
    assert report.accuracy == (pytest.approx(11 / 12), pytest.approx(11 / 12))
    found = Runtime(report.path, device="cpu").metadata
    assert json.loads(found["labels"]) == ["cat", "dog", "cow", "hen"]
    assert found["preprocessing"] == "RGB, 8x8, scaled to [-1, 1]"
    assert json.loads(found["preprocessing_parameters"])["offset"] == -1.0
    assert found["test_accuracy"] == "0.9167"
    assert {row.sample for row in report.rows} == {"test set"}
    assert verify(report.path).pairs == 4


class HousePrices:
    """A profile of somebody's own, for a table."""

    name = "house-prices"

    def __init__(self, entries=None):
        self.entries = {"columns": "area,rooms"} if entries is None else entries

    def check(self, signature):
        if signature.inputs[0].shape[1:] != (2,):
            raise InputError(f"profile {self.name}: expected 2 columns, got {signature}")

    def samples(self, signature):
        table = np.random.default_rng(1).uniform(0, 200, (9, 2)).astype("float32")
        return [ProfileSample("test rows", {signature.inputs[0].name: table}, (1, 9))]

    def names(self, signature, outputs):
        assert len(outputs) == len(signature.outputs)
        assert outputs[0].shape == (9, 1)
        return ["table"], ["price"]

    def metadata(self, _signature):
        return self.entries

    def accuracy(self, outputs):
        assert len(outputs) == 1


def prices():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def test_a_profile_of_ones_own(tmp_path):
    report = export_onnx(prices(), tmp_path / "m.onnx", profile=HousePrices())
    assert declared(report.path) == ["table", "price"]
    assert Runtime(report.path, device="cpu").metadata["columns"] == "area,rooms"
    assert [(row.sample, row.batch_size) for row in report.rows] == [("test rows", 1), ("test rows", 9)]
    assert report.accuracy is None
    with pytest.raises(InputError, match=r"expected 2 columns, got sensor: float32 \[batch, 784\] -> species"):
        export_onnx(stranger(), tmp_path / "m.onnx", profile=HousePrices())


def test_names_of_the_caller_come_first(tmp_path):
    report = export_onnx(prices(), tmp_path / "m.onnx", profile=HousePrices(), output_names=["euros"])
    assert declared(report.path) == ["table", "euros"]


def test_given_samples_take_the_place_of_the_profiles(tmp_path):
    profile = HousePrices({"columns": "a,b"})
    profile.names = lambda *_: (None, ["price"])
    samples = {"input_layer": np.ones((5, 2), np.float32)}
    report = export_onnx(prices(), tmp_path / "m.onnx", profile=profile, samples=samples)
    assert {row.sample for row in report.rows} == {"given samples"}
    assert Runtime(report.path, device="cpu").metadata["columns"] == "a,b"


@pytest.mark.parametrize(
    ("entries", "message"),
    [({"golden": "[]"}, "the export itself writes golden"), ({"columns": 2}, "metadata is text, but 'columns' is not")],
)
def test_entries_that_no_profile_may_write(tmp_path, entries, message):
    with pytest.raises(InputError, match=message):
        export_onnx(prices(), tmp_path / "m.onnx", profile=HousePrices(entries))
    assert not list(tmp_path.iterdir())


def test_a_classifier_reads_the_labels_of_a_profile(tmp_path, small):
    report = export_onnx(stranger(), tmp_path / "m.onnx", labels=list("abcdefghij"))
    assert all(found.label in "abcdefghij" for found in Classifier(report.path, device="cpu").predict(small.x_test[:3]))


def of_grey_levels():
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def test_a_model_with_its_own_scaling_is_exported_as_it_reads(tmp_path, small):
    """``Rescaling(1/255)`` first, trained on grey levels: it was exported with an accuracy of 12 %."""
    model = of_grey_levels()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(small.x_train.astype("float32"), small.y_train, epochs=2, batch_size=50, verbose=0)
    report = export_onnx(model, tmp_path / "m.onnx", profile="digits", data=small)
    in_keras, in_the_file = report.accuracy
    assert in_keras == in_the_file > 0.7
    classifier = Classifier(tmp_path / "m.onnx", device="cpu")
    assert "0 to 255" in classifier.metadata["preprocessing"]
    read = classifier.probabilities(small.x_test).argmax(axis=1)
    assert np.mean(read == small.y_test) == pytest.approx(in_keras, abs=0.01)


class SaysOtherwise(DigitClassifier):
    """Takes grey levels, and says [0, 1] in the file."""

    def metadata(self, signature):
        return DigitClassifier(self.data).metadata(signature)


def test_a_file_that_would_be_fed_otherwise_than_it_was_checked_is_refused(tmp_path, small):
    """The twin."""
    model = of_grey_levels()
    with pytest.raises(ParityError, match=r"Classifier reads .* of the test images otherwise than Keras"):
        export_onnx(model, tmp_path / "n.onnx", profile=SaysOtherwise(small, scaling=Scaling(1.0)))
    assert not (tmp_path / "n.onnx").exists()
