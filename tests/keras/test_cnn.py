"""The convolutional net and its recipe, small enough to run anywhere."""

import keras
import numpy as np
import pytest

from mnistkit.errors import InputError
from mnistkit.models import build_model
from mnistkit.recipe import HELD_OUT, calibrate, fit_augmented


@pytest.fixture(scope="module")
def data():
    from mnistkit.data import load_data

    mnist = load_data()
    return mnist.x_train[: HELD_OUT + 256], mnist.y_train[: HELD_OUT + 256]


def test_size():
    assert build_model("cnn").count_params() < 250_000


def test_two_runs_agree_to_the_bit(data):
    def run():
        model = build_model("cnn", seed=3)
        return fit_augmented(model, *data, epochs=1, seed=3), model.get_weights()

    (first, left), (second, right) = run(), run()
    assert first == second
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_temperature_changes_confidence_and_no_digit(data):
    model = build_model("cnn", seed=3)
    images = data[0][-HELD_OUT:]
    flat = images[:200].reshape(200, -1).astype(np.float32) / 255
    before = keras.ops.convert_to_numpy(model(flat))
    temperature = calibrate(model, images, data[1][-HELD_OUT:])
    after = keras.ops.convert_to_numpy(model(flat))
    assert temperature > 0
    assert np.array_equal(before.argmax(1), after.argmax(1))
    assert temperature == 1 or not np.allclose(before, after, rtol=0, atol=1e-7)


def test_too_few_images():
    with pytest.raises(InputError, match="holds out"):
        fit_augmented(build_model("cnn"), np.zeros((10, 28, 28), np.uint8), np.zeros(10, int))


@pytest.mark.parametrize("own", [True, False])
def test_temperature_goes_into_the_exported_file(tmp_path, own):
    """Only if the JSON beside the model speaks of these very weights."""
    from mnistkit.contract import weights_sha256
    from mnistkit.export import export_onnx
    from mnistkit.files import write_json
    from mnistkit.inference import Classifier
    from mnistkit.models import weights_of

    model = build_model("cnn", seed=3)
    path = tmp_path / "cnn.keras"
    model.save(path)
    sha256 = weights_sha256(weights_of(model)) if own else "0" * 64
    write_json(path.with_suffix(".train.json"), {"temperature": 1.23456, "weights_sha256": sha256})
    found = Classifier(export_onnx(path).path, device="cpu").metadata.get("temperature")
    assert found == ("1.2346" if own else None)
