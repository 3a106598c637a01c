"""Loss, accuracy and confusion of a file on a data set."""

import dataclasses
import json

import numpy as np
import pytest

from mnistkit.core.errors import ModelFileError
from mnistkit.digits.evaluate import evaluate

CLOTHES = tuple(f"piece {n}" for n in range(10))


@pytest.fixture
def few(mnist):
    return dataclasses.replace(mnist, x_test=mnist.x_test[:500], y_test=mnist.y_test[:500])


def test_the_figures(asset, classifier, few):
    found = evaluate(asset, data=few)
    probabilities = classifier.probabilities(few.x_test).astype(np.float64)
    read = probabilities.argmax(axis=1)
    assert found.accuracy == np.mean(read == few.y_test) > 0.95
    right = probabilities[np.arange(500), few.y_test]
    assert found.loss == pytest.approx(-np.log(np.clip(right, 1e-7, 1)).mean(), abs=1e-6)
    for true in range(10):
        for answer in range(10):
            assert found.confusion[true, answer] == np.count_nonzero((few.y_test == true) & (read == answer))
    share = np.mean(read[few.y_test == 3] == 3)
    assert found.class_accuracy[3] == pytest.approx(share)
    assert (found.images, found.data, found.runs_on) == (500, "mnist", "CPUExecutionProvider")


def test_rows_are_the_true_classes(asset, few):
    """With the labels of two classes changed, the other half of the matrix fills."""
    swapped = dataclasses.replace(few, y_test=np.where(few.y_test == 1, 7, few.y_test).astype(np.uint8))
    before, after = evaluate(asset, data=few).confusion, evaluate(asset, data=swapped).confusion
    assert after[7, 1] == before[1, 1] + before[7, 1]
    assert after[1].sum() == 0


def test_a_class_without_images(asset, few):
    kept = few.y_test != 4
    found = evaluate(asset, data=dataclasses.replace(few, x_test=few.x_test[kept], y_test=few.y_test[kept]))
    assert found.class_accuracy[4] is None
    assert found.as_json()["class_accuracy"]["4"] is None
    assert str(found).splitlines()[3 + 1 + 4].split()[:2] == ["4", "-"]


def test_as_a_verb(cli, asset, few, tmp_path):
    np.savez(tmp_path / "few.npz", x_train=few.x_test, y_train=few.y_test, x_test=few.x_test, y_test=few.y_test)
    ran = cli("evaluate", asset, "--data", tmp_path / "few.npz", "--json")
    found = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert np.sum(found["confusion"]) == found["images"] == 500
    assert found["accuracy"] == np.trace(found["confusion"]) / 500
    text = cli("evaluate", asset, "--data", tmp_path / "few.npz").out
    assert f"loss {found['loss']:.4f}, accuracy {found['accuracy']:.4f}" in text
    assert [int(word) for word in text.splitlines()[4].split()[2:]] == found["confusion"][0]


def test_a_file_that_is_no_model(fails, tmp_path, few):
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(ModelFileError, match="not a model that onnxruntime"):
        evaluate(tmp_path / "bad.onnx", data=few)
    assert "none.onnx: no such file" in fails("evaluate", tmp_path / "none.onnx")


def test_labels_must_be_ten(fails, asset):
    assert "expected 10 different names, got 2" in fails("evaluate", asset, "--labels", "a,b")


def test_long_names_keep_the_columns_apart(asset, few):
    found = dataclasses.replace(evaluate(asset, data=few), labels=CLOTHES)
    header, first = str(found).splitlines()[3:5]
    assert header.split()[-1] == "pie.."
    assert len(header) == len(first)
