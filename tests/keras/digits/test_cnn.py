"""The convolutional net and its training, small enough to run anywhere."""

import keras
import numpy as np
import pytest
from one_backend import once

from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.digits.model import build_model, random_state, restore_random_state
from mnistkit.digits.train_cnn import _batches, calibrate, fit_augmented

HELD_OUT = 200  # a run of the command holds out 5,000


@pytest.fixture(scope="module")
def data():
    from mnistkit.digits.data import load_data

    mnist = load_data()
    return mnist.x_train[: HELD_OUT + 256], mnist.y_train[: HELD_OUT + 256]


def small(seed):
    """A model that takes what the cnn takes and draws random numbers as it does, but is trained in no time."""
    layers = keras.layers
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dropout(0.2, seed=seed),
            layers.Dense(16, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def test_size():
    assert build_model("cnn").count_params() < 250_000


def test_two_runs_agree_to_the_bit(data):
    def run():
        model = small(3)
        return fit_augmented(model, *data, held_out=HELD_OUT, epochs=1, seed=3), model.get_weights()

    (first, left), (second, right) = run(), run()
    assert first == second
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@once
def test_the_learning_rate_goes_up_and_down_once_over_all_epochs(data):
    rates: list[float] = []

    def remember(epoch, logs=None):
        del epoch, logs
        rates.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))

    model = small(3)
    after = keras.callbacks.LambdaCallback(on_epoch_end=remember)
    fit_augmented(model, *data, held_out=HELD_OUT, epochs=5, batch_size=128, seed=3, callbacks=[after])
    assert len(rates) == 5
    assert max(rates) == rates[0] <= 3e-3
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_a_run_that_goes_on_ends_where_one_run_ends(data, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(epoch, logs=None):
        del epoch, logs
        half.save(tmp_path / "half.keras")
        drawn.extend(random_state(half))
        raise StoppedError

    drawn: list[list[int]] = []
    half, whole = small(3), small(3)
    stopping = [keras.callbacks.LambdaCallback(on_epoch_end=stop)]
    with pytest.raises(StoppedError):
        fit_augmented(half, *data, held_out=HELD_OUT, epochs=2, seed=3, callbacks=stopping)
    half = keras.saving.load_model(tmp_path / "half.keras")
    assert random_state(half) != drawn  # a .keras file does not keep it
    restore_random_state(half, drawn)
    assert random_state(half) == drawn
    fit_augmented(half, *data, held_out=HELD_OUT, epochs=2, seed=3, initial_epoch=1)
    fit_augmented(whole, *data, held_out=HELD_OUT, epochs=2, seed=3)
    other = small(3)
    fit_augmented(other, *data, held_out=HELD_OUT, epochs=2, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(half.get_weights(), whole.get_weights(), strict=True))
    assert not np.array_equal(half.get_weights()[0], other.get_weights()[0])


def test_each_batch_is_varied_in_its_own_way_and_the_same_again():
    images, labels = np.full((8, 28, 28), 200, np.uint8), np.arange(8)

    def varied(epoch):
        return [x for x, _ in _batches(images, labels, batch_size=4, seed=1, epoch=epoch)]

    (first, other), (again, _), (later, _) = varied(0), varied(0), varied(1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, later)


@once
def test_the_display_counts_all_epochs(data, capsys):
    fit_augmented(small(3), *data, held_out=HELD_OUT, epochs=2, verbose=2)
    assert [line for line in capsys.readouterr().out.splitlines() if "poch" in line] == ["Epoch 1/2", "Epoch 2/2"]


def test_the_cnn_itself_learns(data):
    model = build_model("cnn", seed=3)
    before = [np.array(value) for value in model.get_weights()]
    assert fit_augmented(model, *data, held_out=HELD_OUT, epochs=1, seed=3) > 0
    assert all(np.isfinite(value).all() for value in model.get_weights())
    assert sum(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)) >= len(before) - 1


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
    with pytest.raises(InputError, match="holds out 5000 images and needs more than that, got 10"):
        fit_augmented(build_model("cnn"), np.zeros((10, 28, 28), np.uint8), np.zeros(10, int))
    with pytest.raises(InputError, match="holds out 0 images"):
        fit_augmented(build_model("cnn"), np.zeros((10, 28, 28), np.uint8), np.zeros(10, int), held_out=0)


def test_the_random_state_of_another_model_is_refused():
    with pytest.raises(ModelFileError, match="2 random layers"):
        restore_random_state(build_model("cnn"), [[0, 0], [0, 0]])


@once
@pytest.mark.parametrize("own", [True, False])
def test_temperature_goes_into_the_exported_file(tmp_path, own):
    """Only if the JSON beside the model speaks of these very weights."""
    from mnistkit.core.contract import weights_sha256
    from mnistkit.core.files import write_json
    from mnistkit.core.keras_files import weights_of
    from mnistkit.digits.classifier import Classifier
    from mnistkit.export import export_onnx

    model = build_model("cnn", seed=3)
    path = tmp_path / "cnn.keras"
    model.save(path)
    sha256 = weights_sha256(weights_of(model)) if own else "0" * 64
    write_json(path.with_suffix(".train.json"), {"temperature": 1.23456, "weights_sha256": sha256})
    found = Classifier(export_onnx(path).path, device="cpu").metadata.get("temperature")
    assert found == ("1.2346" if own else None)
