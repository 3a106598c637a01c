"""The convolutional net and its recipe, small enough to run anywhere."""

import keras
import numpy as np
import pytest

from mnistkit.errors import InputError
from mnistkit.models import build_model
from mnistkit.recipe import HELD_OUT, _dataset, _rate, calibrate, fit_augmented


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


def test_the_learning_rate_follows_its_cycle_over_all_epochs(data):
    rates: list[float] = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            del batch, logs
            rates.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))

    fit_augmented(build_model("cnn"), *data, epochs=2, seed=3, callbacks=[Watch()])
    assert rates == pytest.approx([_rate(done / 4) for done in range(4)], rel=1e-6)
    assert rates[1] > rates[2] > rates[3]


def test_each_epoch_sees_other_variations_and_the_same_again():
    images, labels = np.full((8, 28, 28), 200, np.uint8), np.arange(8)
    dataset, _ = _dataset(images, labels, epochs=2, batch_size=4, seed=1)

    def seen(epoch):
        dataset.start(epoch)
        return dataset[0][0]

    assert np.array_equal(seen(0), seen(0))
    assert not np.array_equal(seen(0), seen(1))


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
