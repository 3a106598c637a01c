"""The numbers of a report, without reading a page: confusion, mistakes, calibration, training, parity, speed."""

import json
import math
import shutil

import numpy as np
import pytest

from mnistkit.core.about import read_about
from mnistkit.core.errors import DataError, InputError
from mnistkit.core.runtime import Runtime
from mnistkit.digits.evaluate import evaluate
from mnistkit.publish.drawn_inputs import batch_axis
from mnistkit.publish.report.calibration import calibration_of
from mnistkit.publish.report.confusion import confusion_of
from mnistkit.publish.report.history import read_training
from mnistkit.publish.report.parity import read_parity
from mnistkit.publish.report.pictures import as_pixels
from mnistkit.publish.report.scores import quality_of, worst_mistakes
from mnistkit.publish.report.testing import run_on_test_data
from mnistkit.publish.report.words import Missing, plain, short
from mnistkit.publish.speed import measure_speed

SURE = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
TRUE = np.array([0, 1, 1, 1])


def test_confusion():
    found = confusion_of(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 0]), labels=("a", "b", "c", "d"))
    assert found.matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]
    assert found.class_accuracy == (0.5, 1.0, 0.0, None)
    assert [(pair.true, pair.read, pair.count) for pair in found.pairs] == [("c", "a", 2), ("a", "b", 1)]


def test_of_ten_thousand_classes_those_that_are_confused_most_are_shown():
    true = np.concatenate([np.arange(10_000), np.full(5, 7000), np.full(3, 12)])
    read = np.concatenate([np.arange(10_000), np.full(5, 42), np.full(3, 7000)])
    found = confusion_of(true, read, labels=[f"class {n}" for n in range(10_000)], most=5)
    assert found.labels == ("class 0", "class 1", "class 12", "class 42", "class 7000")
    assert found.classes == 10_000
    assert found.matrix[4].tolist() == [0, 0, 0, 5, 1]
    assert found.matrix[2].tolist() == [0, 0, 1, 0, 3]
    assert found.class_accuracy[4] == 1 / 6


def test_calibration_by_hand():
    """Two bins: 0.5 to 1 has all four; confidences 0.9, 0.8, 0.7, 0.6, of which two are right."""
    found = calibration_of(SURE, TRUE, bins=2)
    assert [one.count for one in found.bins] == [0, 4]
    assert found.error == pytest.approx(abs(0.5 - 0.75))
    four = calibration_of(SURE, TRUE, bins=4)  # 0.6 and 0.7 in one bin, 0.8 and 0.9 in the next
    assert [one.count for one in four.bins] == [0, 0, 2, 2]
    assert four.error == pytest.approx((2 / 4) * abs(0.5 - 0.65) + (2 / 4) * abs(0.5 - 0.85))
    assert calibration_of(np.eye(3), np.arange(3)).error == 0


def test_edges_of_bins_belong_to_the_lower_one():
    found = calibration_of(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]), bins=2)
    assert [one.count for one in found.bins] == [1, 1]


def test_the_surest_mistakes_come_first():
    found = worst_mistakes(SURE, TRUE, labels=("no", "yes"))
    assert [(one.index, one.true, one.read, one.score) for one in found] == [
        (1, "yes", "no", 0.8),
        (3, "yes", "no", 0.6),
    ]
    assert len(worst_mistakes(SURE, TRUE, labels=("no", "yes"), count=1)) == 1


def test_answers_that_are_no_numbers_are_left_out_and_counted():
    scores = np.concatenate([[[np.nan, 0.0], [np.inf, 0.0]], SURE])
    found = quality_of(scores, np.concatenate([[0, 0], TRUE]), labels=("no", "yes"), data="x")
    assert (found.samples, found.left_out, found.accuracy, found.wrong) == (4, 2, 0.5, 2)
    assert [one.index for one in found.mistakes] == [3, 5]
    nothing = quality_of(np.full((3, 2), np.nan), np.zeros(3, int), labels=("no", "yes"), data="x")
    assert nothing.reason.startswith("no test results: the model answers all 3 samples with NaN")


def test_logits_have_no_calibration():
    found = quality_of(SURE * 4, TRUE, labels=("no", "yes"), data="x")
    assert "no probabilities" in found.calibration.reason
    assert found.loss is None
    assert found.accuracy == 0.5


def test_of_digits_the_numbers_are_those_of_evaluate(exports):
    file = exports / "mnist-jax.onnx"
    found = run_on_test_data(Runtime(file, device="cpu"))
    expected = evaluate(file, device="cpu")
    assert found.accuracy == expected.accuracy
    assert found.loss == pytest.approx(expected.loss)
    assert found.confusion.matrix.tolist() == expected.confusion.tolist()
    assert found.wrong == 10_000 - expected.confusion.trace() == 547
    assert found.mistakes[0].pixels.shape == (28, 28)
    assert found.calibration.accuracy == found.accuracy
    assert 0 < found.calibration.error < 0.02
    assert "pixels" not in json.dumps(plain(found))


def test_a_file_that_says_nothing_is_not_taken_for_digits(scores_model):
    found = run_on_test_data(Runtime(scores_model, device="cpu"))
    assert found.reason.startswith("no test results: nothing says which test data")


BAD_DATA = {
    "no file": (None, "no such file; give --data PATH"),
    "other names": ({"x": np.zeros((2, 4), np.float32)}, "give --data PATH, an .npz with x_test"),
    "no labels": ({"x_test": np.zeros((2, 4), np.float32), "y_test": np.zeros((3,), int)}, "x_test [2, 4] and y_test"),
    "a wrong size": ({"x_test": np.zeros((2, 5), np.float32), "y_test": np.zeros(2, int)}, "does not fit the model's"),
    "a class too many": ({"x_test": np.zeros((2, 4), np.float32), "y_test": np.array([0, 3])}, "y_test has 0 to 3"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_do_not_fit(scores_model, tmp_path, case):
    arrays, words = BAD_DATA[case]
    path = tmp_path / "test.npz"
    if arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(DataError) as caught:
        run_on_test_data(Runtime(scores_model, device="cpu"), data=str(path))
    assert words in str(caught.value)


def test_any_classifier_on_arrays(scores_model, tmp_path):
    """Its answers are the first three of four numbers, so the class is known."""
    x = np.array([[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0], [0, 9, 0, 0]], np.float64)
    np.savez(tmp_path / "test.npz", x_test=x, y_test=np.array([0, 1, 2, 0]))
    found = run_on_test_data(Runtime(scores_model, device="cpu"), data=str(tmp_path / "test.npz"))
    assert found.accuracy == 0.75
    assert found.confusion.labels == ("<script>alert(1)</script>", "b & c", "数字")
    assert found.mistakes[0].pixels is None  # a row of a table
    assert isinstance(found.calibration, Missing)


def test_samples_as_pictures():
    assert as_pixels(np.zeros((4,), np.float32)) is None
    assert as_pixels(np.zeros((224, 224, 3), np.float32)).shape == (56, 56, 3)
    assert as_pixels(np.zeros((1, 28, 28), np.uint8)).shape == (28, 28)
    stretched = as_pixels(np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10))
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert as_pixels(np.full((10, 10), np.nan)).max() == 0


# --- what lies beside the file --------------------------------------------------------------------------------------


def test_training(exports):
    found = read_training(exports / "mnist-jax.train.json", weights_sha256=None)
    assert [(curve.name, len(curve.training)) for curve in found.curves] == [("loss", 2), ("accuracy", 2)]
    assert found.test == {"loss": pytest.approx(0.18784, abs=1e-5), "accuracy": pytest.approx(0.9453)}
    assert found.settings["optimizer"] == "rmsprop"


DAMAGE = {
    "missing": (None, "train.json is missing; `mnistkit train` writes it"),
    "no JSON": ("{", "is damaged; train again"),
    "a list": ("[1]", "is damaged; train again"),
    "no history": ('{"history": 3}', "is damaged; train again"),
    "no epoch": ('{"history": {"loss": []}}', "has no epoch"),
    "other weights": ('{"history": {"loss": [1]}, "weights_sha256": "b"}', "is of other weights; export the model"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_training_that_cannot_be_shown(tmp_path, case):
    text, words = DAMAGE[case]
    path = tmp_path / "m.train.json"
    if text is not None:
        path.write_text(text)
    assert words in read_training(path, weights_sha256="a").reason


def test_odd_values_of_a_history(tmp_path):
    path = tmp_path / "m.train.json"
    path.write_text('{"history": {"val_loss": [2], "loss": [1, null, "x"], "word": "no"}, "test": 1, "settings": []}')
    (curve,) = read_training(path, weights_sha256=None).curves
    assert curve.validation == (2.0,)
    assert curve.training[0] == 1
    assert math.isnan(curve.training[2])


def test_parity(exports):
    path = exports / "mnist-jax.onnx"
    found = read_parity(path, read_about(path, Runtime(path, device="cpu")), device="cpu")
    written = json.loads((exports / "mnist-jax.onnx.json").read_text())["verification"]
    assert [row.largest for row in found.rows] == [row["largest"] for row in written["rows"]]
    assert "4 golden pairs of the file, run again here: the largest difference" in found.golden
    path.write_bytes(path.read_bytes() + b"\x2a\x00")  # another file: one more empty field
    changed = read_parity(path, read_about(path, Runtime(path, device="cpu")), device="cpu")
    assert changed.rows == ()
    assert "mnist-jax.onnx.json is of another file; `mnistkit export` writes it" in changed.reason


def test_parity_that_is_damaged_or_missing(exports, scores_model):
    path, beside = exports / "mnist-jax.onnx", exports / "mnist-jax.onnx.json"
    about = read_about(path, Runtime(path, device="cpu"))
    found = json.loads(beside.read_text())
    beside.write_text(json.dumps({**found, "verification": {"rows": [{"sample": 1}]}}))
    assert "is damaged; `mnistkit export` writes it anew" in read_parity(path, about, device="cpu").reason
    plain_file = read_parity(scores_model, read_about(scores_model, Runtime(scores_model)), device="cpu")
    assert plain_file.reason == "no parity table: scores.onnx.json is missing; `mnistkit export` writes it"


def test_golden_pairs_that_fail_are_told(exports):
    from onnxfile import classes_bias, read, replaced

    path = exports / "mnist-jax.onnx"
    content = path.read_bytes()
    name = classes_bias(content)
    path.write_bytes(replaced(content, name, read(content, name) + 1 * (np.arange(10) == 3)))
    found = read_parity(path, read_about(path, Runtime(path, device="cpu")), device="cpu")
    assert found.golden.startswith("The golden pairs do not pass here: mnist-jax.onnx: golden pair 0")


# --- speed ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def _hasty(monkeypatch):
    monkeypatch.setattr("mnistkit.publish.speed._SECONDS", 0.01)


@pytest.mark.usefixtures("_hasty")
def test_latencies(asset, scores_model):
    found = measure_speed(Runtime(asset, device="cpu"))
    assert [one.batch_size for one in found.latencies] == [1, 32, 1024]
    assert all(0 < one.p50 <= one.p99 and one.runs >= 5 for one in found.latencies)
    assert (found.inputs, found.provider) == ("the inputs of a golden pair", "CPUExecutionProvider")
    assert measure_speed(Runtime(scores_model, device="cpu")).inputs == "drawn inputs"


@pytest.mark.usefixtures("_hasty")
def test_a_batch_that_would_take_too_long_is_left_out(asset, monkeypatch):
    monkeypatch.setattr("mnistkit.publish.speed._TOO_LONG", 0.0)
    found = measure_speed(Runtime(asset, device="cpu"))
    assert len(found.latencies) == 1
    assert found.left_out.startswith("batch 32 was left out: one run would take about")


@pytest.mark.usefixtures("_hasty")
def test_models_of_other_forms(make_model):
    fixed = Runtime(make_model("fixed", shape=(2, 4)), device="cpu")
    assert batch_axis(fixed) == (False, 2)
    assert [one.batch_size for one in measure_speed(fixed).latencies] == [2]
    words = Runtime(make_model("words", dtype="STRING"), device="cpu")
    with pytest.raises(InputError, match="takes no numbers"):
        measure_speed(words)


# --- words ----------------------------------------------------------------------------------------------------------


def test_short_names():
    assert short("a\nb\0c") == "a b c"
    assert short("x" * 1000, 11) == "xxxxx…xxxxx"
    assert short("\u202e") == "?"
    assert len(short("é" * 100)) == 60


def test_plain_values():
    assert plain({"a": (math.nan, np.arange(2)), 1: Missing("x")}) == {"a": [None, [0, 1]], "1": {"reason": "x"}}


@pytest.fixture
def exports(tmp_path):
    from test_report_page import EXPORTS

    for path in EXPORTS.glob("mnist-jax.*"):
        shutil.copy(path, tmp_path)
    return tmp_path
