"""The combined file: the same answers as the two halves, and a refusal for what is no classifier."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import InputError, ModelFileError, NoDigitError, ParityError
from mnistkit.digits.classifier import Classifier
from mnistkit.digits.pictures import decode, normalize


@pytest.fixture(scope="module")
def combined(tmp_path_factory):
    from mnistkit.digits.classifier import default_model
    from mnistkit.digits.picture_model import export_picture_model

    return export_picture_model(default_model(), tmp_path_factory.mktemp("combined") / "picture.onnx")


@pytest.fixture
def picture(tmp_path, mnist):
    path = tmp_path / "digit.png"
    page = np.repeat((255 - np.pad(np.kron(mnist.x_test[4], np.ones((6, 6), np.uint8)), 30))[..., None], 3, axis=2)
    Image.fromarray(page).save(path)
    return path


BARE = """
import json, sys
import numpy, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1])
digit, probabilities, image28, ink_fraction = session.run(None, {"picture": numpy.asarray(Image.open(sys.argv[2]))})
assert not any(name.startswith("mnistkit") for name in sys.modules)
print(json.dumps({"digit": int(digit), "probabilities": probabilities.tolist(), "ink_fraction": float(ink_fraction)}))
"""


def test_three_ways_give_identical_probabilities(combined, picture):
    bare = json.loads(subprocess.check_output([sys.executable, "-c", BARE, combined, picture]))
    command = json.loads(subprocess.check_output([sys.executable, "-m", "mnistkit.predict", "--json", picture]))[0]
    here = Classifier().predict(normalize(decode(picture)))[0]
    assert bare["probabilities"] == command["probabilities"] == here.probabilities.tolist()
    assert bare["digit"] == command["digit"] == here.digit
    assert bare["ink_fraction"] > 0


def test_classifier_takes_the_combined_file(combined, picture, mnist, cli, tmp_path):
    whole, half = Classifier(combined), Classifier()
    assert (whole.takes_pictures, half.takes_pictures) == (True, False)
    sources = [picture, picture.read_bytes(), Image.open(picture), mnist.x_test[3], 255 - mnist.x_test[5][..., None]]
    for source in sources:
        (one, seen), (other, also_seen) = whole.see_picture(source), half.see_picture(source)
        assert one.probabilities.tolist() == other.probabilities.tolist()
        assert seen.tolist() == also_seen.tolist()
        assert whole.predict_picture(source).digit == half.predict_picture(source).digit == one.digit
    # arrays of MNIST images go in as pictures, so that they are centered once more
    images, labels = mnist.x_test[:100], mnist.y_test[:100]
    assert np.mean(whole.probabilities(images).argmax(1) == labels) >= 0.97
    assert copy.deepcopy(whole).predict(images[0])[0].digit == whole.predict(images[0] / 255)[0].digit
    for reader in (whole, half):
        with pytest.raises(NoDigitError, match="no digit found"):
            reader.predict_picture(np.full((40, 40), 200, np.uint8))
    with pytest.raises(InputError, match=r"picture.onnx takes pictures of 0 to 255; leave it out"):
        Classifier(combined, scale=255)
    assert cli("predict", "--quiet", picture).out == cli("predict", "--quiet", "--model", combined, picture).out
    tables = [tmp_path / "half.csv", tmp_path / "whole.csv"]
    cli("predict", picture, "--out", tables[0])
    cli("predict", "--model", combined, picture, "--out", tables[1])
    assert tables[0].read_text() == tables[1].read_text()
    assert whole.read_digits(picture).text == half.read_digits(picture).text


def test_nothing_drawn_is_no_ink(combined):
    import onnxruntime

    session = onnxruntime.InferenceSession(combined, providers=["CPUExecutionProvider"])
    digit, probabilities, image28, ink_fraction = session.run(None, {"picture": np.full((50, 80, 3), 200, np.uint8)})
    assert ink_fraction == 0
    assert not image28.any()
    assert np.isfinite(probabilities).all()
    assert digit.dtype == np.int64
    assert digit.shape == ()


def test_names_shapes_and_versions(combined):
    model = onnx.load(combined)
    assert [value.name for value in model.graph.input] == ["picture"]
    assert [value.name for value in model.graph.output] == ["digit", "probabilities", "image28", "ink_fraction"]
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]


def test_golden_pairs_prove_the_file_and_notice_a_change(combined):
    assert verify_file(combined).pairs == 3
    model = onnx.load(combined)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = onnx.numpy_helper.to_array(weights).copy()
    array.flat[::3] += 0.05
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    with pytest.raises(ParityError):
        verify_file(model.SerializeToString())


def test_same_bytes_each_time(combined):
    from mnistkit.digits.classifier import default_model
    from mnistkit.digits.picture_model import build_picture_model

    assert build_picture_model(default_model()).SerializeToString(deterministic=True) == combined.read_bytes()


def test_the_committed_file_is_made_from_the_packages_model_and_graph(asset):
    from mnistkit.digits.picture_model import build_picture_model

    committed = Path(__file__).parents[2] / "exports" / "mnist-cnn-picture.onnx"
    assert build_picture_model(asset).SerializeToString(deterministic=True) == committed.read_bytes()


def test_what_is_no_classifier_is_refused(combined, tmp_path):
    from mnistkit.digits.picture_model import build_picture_model

    with pytest.raises(ModelFileError, match="needs one input and one output"):
        build_picture_model(combined)
    with pytest.raises(ModelFileError, match="cannot be read"):
        build_picture_model(tmp_path / "none.onnx")
    with pytest.raises(ModelFileError, match="cannot be read"):
        build_picture_model(b"no model")
