"""Which profile an export gets, without Keras: from what was said, never from shapes."""

import doctest
import importlib.metadata
import tomllib
from pathlib import Path

import numpy as np
import pytest

from mnistkit.core.errors import InputError
from mnistkit.core.tensors import TensorInfo
from mnistkit.digits import profile as digits
from mnistkit.export import profile as profiles
from mnistkit.export.profile import LabeledClassifier, choose_profile, register_profile


class Stub:
    """Inputs and outputs alone, which is all that a profile looks at here."""

    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs


def image(shape=("batch", 784), dtype="float32"):
    return TensorInfo("x", dtype, shape)


def scores(classes=10):
    return TensorInfo("y", "float32", ("batch", classes))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(profiles, "_registered", {"digits": digits.digit_classifier})


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(profiles, raise_on_error=True)
    assert found.attempted > 3


def test_without_a_word_there_is_no_profile():
    assert choose_profile(None, training={}) is None
    assert choose_profile("none", training={}) is None


def test_the_training_names_the_profile():
    found = choose_profile(None, training={"profile": "digits", "data": {"labels": list("abcdefghij")}})
    assert found.name == "digits"
    assert tuple(found.labels) == tuple("abcdefghij")
    assert choose_profile("none", training={"profile": "digits"}) is None


def test_a_provenance_of_version_0_1_is_of_digits():
    assert choose_profile(None, training={"weights_sha256": "0"}).name == "digits"


def test_a_profile_that_nobody_offers_is_an_error():
    with pytest.raises(InputError, match=r"no profile 'flowers' here, known are .*digits.*; install the package"):
        choose_profile(None, training={"profile": "flowers"})
    with pytest.raises(InputError, match="no profile 'flowers'"):
        choose_profile("flowers", training={})


def test_labels_alone_are_labels_alone():
    found = choose_profile(None, training={}, labels=["cat", "dog"])
    assert found == LabeledClassifier(["cat", "dog"])
    assert found.metadata(None) == {"labels": '["cat", "dog"]'}


def test_data_without_a_profile_is_an_error():
    with pytest.raises(InputError, match=r"data: no profile that uses it is chosen; name one with --profile .*digits"):
        choose_profile(None, training={}, data=object())


def test_a_profile_given_as_an_object_takes_no_data_from_the_export():
    given = LabeledClassifier(["cat", "dog"])
    assert choose_profile(given, training={"profile": "digits"}) is given
    with pytest.raises(InputError, match="give data and labels to the profile 'labels' itself"):
        choose_profile(given, training={}, labels=["a", "b"])


def test_a_registered_name_is_not_taken_over():
    register_profile("digits", digits.digit_classifier)
    with pytest.raises(InputError, match="registered already"):
        register_profile("digits", lambda **_: None)
    for name in ("", "none"):
        with pytest.raises(InputError, match="is no name for a profile"):
            register_profile(name, lambda **_: None)


def test_an_entry_point_is_found(monkeypatch):
    entry = importlib.metadata.EntryPoint("flowers", "mnistkit.digits.profile:digit_classifier", "mnistkit.profiles")

    def entry_points(**chosen):
        return importlib.metadata.EntryPoints([entry]).select(**chosen)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert choose_profile("flowers", training={}).name == "digits"
    assert profiles.known_profiles() == ["digits", "flowers"]


def test_the_package_offers_the_digits():
    """An installed package finds them by this entry; the command line registers the same function."""
    root = Path(__file__).parents[2]
    told = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    ((name, place),) = told[profiles.ENTRY_POINTS].items()
    entry = importlib.metadata.EntryPoint(name, place, profiles.ENTRY_POINTS)
    assert (entry.name, entry.load()) == (digits.DigitClassifier.name, digits.digit_classifier)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([image(("batch", 783))], [scores()]),
        ([image(dtype="int32")], [scores()]),
        ([image(("batch", None, 28))], [scores()]),
        ([image()], [scores(11)]),
        ([image(), image()], [scores()]),
        ([image()], [scores(), scores()]),
    ],
)
def test_digits_refuse_other_models(inputs, outputs):
    with pytest.raises(InputError, match=r"profile digits: expected one float input of 28x28 .*the model has x: "):
        digits.DigitClassifier().check(Stub(inputs, outputs))


@pytest.mark.parametrize("shape", [("batch", 784), ("batch", 28, 28), ("batch", 28, 28, 1), (4, 784)])
def test_digits_accept_images_of_any_layout(shape):
    digits.DigitClassifier().check(Stub([image(shape)], [scores()]))


def test_digits_need_ten_labels():
    with pytest.raises(InputError, match="expected 10 different names, got a, b"):
        digits.DigitClassifier(labels=["a", "b"])


def test_digits_name_probabilities_and_leave_logits():
    profile = digits.DigitClassifier()
    assert profile.names(None, [np.full((3, 10), 0.1, np.float32)]) == (["image"], ["probabilities"])
    assert profile.names(None, [np.full((3, 10), 0.2, np.float32)]) == (None, None)


def test_labels_must_be_different_names():
    for labels in ([], ["a", "a"], ["a", ""], ["a", 1]):
        with pytest.raises(InputError, match="labels: expected different names"):
            LabeledClassifier(labels)


def test_labels_must_fit_the_output():
    profile = LabeledClassifier(["cat", "dog", "cow"])
    profile.check(Stub([image()], [scores(3)]))
    with pytest.raises(InputError, match=r"3 labels do not fit the output y: float32 \[batch, 10\]"):
        profile.check(Stub([image()], [scores(10)]))


def test_targets_need_their_inputs():
    with pytest.raises(InputError, match="targets: give the inputs"):
        LabeledClassifier(["a", "b"], targets=[0])
    with pytest.raises(InputError, match="targets: 1 for inputs of 2 rows"):
        LabeledClassifier(["a", "b"], inputs={"x": np.zeros((2, 3))}, targets=[0])


def test_a_test_set_has_the_models_names():
    profile = LabeledClassifier(["a", "b"], inputs={"z": np.zeros((2, 784))})
    with pytest.raises(InputError, match="inputs: expected arrays x, got z"):
        profile.samples(Stub([image()], [scores(2)]))


def test_accuracy_of_a_test_set():
    profile = LabeledClassifier(["a", "b"], inputs={"x": np.zeros((3, 2))}, targets=[0, 1, 1])
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    assert profile.accuracy([answers]) == pytest.approx(2 / 3)
    assert profile.accuracy([answers[:2]]) == 1.0
    assert LabeledClassifier(["a", "b"]).accuracy([answers]) is None
