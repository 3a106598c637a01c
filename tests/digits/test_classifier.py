"""The classifier takes what a programmer has at hand, or says what it wants."""

import numpy as np
import pytest

from mnistkit import Classifier
from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.digits import classifier as inference
from mnistkit.digits.classifier import as_images, default_model

DIGITS = [7, 2, 1, 0, 4, 1, 4, 9]


@pytest.fixture(scope="module")
def expected(classifier, images):
    return classifier.probabilities(images)


def test_predictions(classifier, images):
    found = classifier.predict(images)
    assert [p.digit for p in found] == DIGITS
    assert [p.label for p in found] == [str(digit) for digit in DIGITS]
    for prediction in found:
        assert prediction.probabilities.dtype == np.float32
        assert prediction.probabilities.shape == (10,)
        assert prediction.confidence == prediction.probabilities[prediction.digit] == prediction.probabilities.max()


def test_a_prediction_cannot_be_changed(classifier, images):
    prediction = classifier.predict(images[0])[0]
    with pytest.raises(AttributeError):
        prediction.digit = 3
    with pytest.raises(ValueError, match="read-only"):
        prediction.probabilities[0] = 1


def test_probabilities_are_probabilities(classifier, mnist):
    found = classifier.probabilities(mnist.x_test[:5000])
    assert found.dtype == np.float32
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-5)


def test_it_has_learned(classifier, mnist):
    found = classifier.probabilities(mnist.x_test).argmax(axis=1)
    assert np.mean(found == mnist.y_test) >= 0.94
    assert float(classifier.metadata["test_accuracy"]) == pytest.approx(np.mean(found == mnist.y_test), abs=5e-5)


def test_batches_larger_than_one_run(classifier, mnist, monkeypatch):
    whole = classifier.probabilities(mnist.x_test[:100])
    monkeypatch.setattr(inference, "_BATCH", 7)
    np.testing.assert_allclose(classifier.probabilities(mnist.x_test[:100]), whole, rtol=0, atol=1e-6)


# --- shapes ---------------------------------------------------------------------------------------------------------

SHAPES = {
    "n,784": (8, 784),
    "n,28,28,1": (8, 28, 28, 1),
    "n,1,28,28": (8, 1, 28, 28),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes_of_batches(classifier, images, expected, case):
    np.testing.assert_array_equal(classifier.probabilities(images.reshape(SHAPES[case])), expected)


@pytest.mark.parametrize("shape", [(28, 28), (784,), (28, 28, 1), (1, 28, 28), (1, 784), (1, 1, 28, 28)], ids=str)
def test_shapes_of_one_image(classifier, images, expected, shape):
    found = classifier.probabilities(images[0].reshape(shape))
    assert found.shape == (1, 10)
    np.testing.assert_allclose(found, expected[:1], rtol=0, atol=1e-6)


def test_28_images_are_not_one(classifier, mnist):
    assert len(classifier.predict(mnist.x_test[:28])) == 28


def test_no_images(classifier):
    assert classifier.probabilities(np.zeros((0, 28, 28))).shape == (0, 10)
    assert classifier.predict(np.zeros((0, 784), np.uint8)) == []


@pytest.mark.parametrize(
    "shape", [(), (1,), (783,), (28, 29), (3, 28, 29), (8, 28, 28, 3), (8, 3, 28, 28), (2, 2, 28, 28), (0,)], ids=str
)
def test_other_shapes_are_named(classifier, shape):
    with pytest.raises(InputError, match=r"expected shape \(28, 28\), \(784,\), \(n, 28, 28\) or \(n, 784\)") as caught:
        classifier.probabilities(np.zeros(shape, np.float32))
    assert f"got {shape}" in str(caught.value)


# --- element types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.longdouble, ">f4"], ids=str)
def test_floats(classifier, images, expected, dtype):
    atol = 2e-3 if dtype is np.float16 else 1e-6
    np.testing.assert_allclose(classifier.probabilities(images.astype(dtype)), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32, np.int16, np.uint16, ">i4"], ids=str)
def test_grey_levels_are_divided_by_255(classifier, mnist, expected, dtype):
    found = classifier.probabilities(mnist.x_test[:8].astype(dtype))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_nested_lists(classifier, images, mnist, expected):
    np.testing.assert_allclose(classifier.probabilities(images.tolist()), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(classifier.probabilities(mnist.x_test[:8].tolist()), expected, rtol=0, atol=1e-6)


def test_strides_and_order_do_not_matter(classifier, images, expected):
    wide = np.zeros((8, 28, 56), np.float32)
    wide[:, :, ::2] = images
    np.testing.assert_array_equal(classifier.probabilities(wide[:, :, ::2]), expected)
    np.testing.assert_array_equal(classifier.probabilities(np.asfortranarray(images)), expected)


def test_masks(classifier, images):
    mask = images > 0.5
    as_floats = classifier.probabilities(mask.astype(np.float32))
    np.testing.assert_array_equal(classifier.probabilities(mask), as_floats)
    np.testing.assert_array_equal(classifier.probabilities(mask.astype(np.int64)), as_floats)


def test_a_dark_uint8_image_is_grey_levels_and_not_a_mask():
    """uint8 always means 0..255: a faint image must not become a black and white one."""
    faint = np.zeros((28, 28), np.uint8)
    faint[14, 14] = 1
    assert as_images(faint).max() == np.float32(1 / 255)


def test_each_image_is_judged_by_itself():
    mask, grey = np.zeros((2, 784), np.int64)
    mask[3], grey[3] = 1, 255
    found = as_images(np.stack([mask, grey]))
    assert found[:, 3].tolist() == [1.0, 1.0]


def test_the_callers_array_is_left_alone(classifier, mnist):
    before = mnist.x_test[:8].copy()
    classifier.predict(before)
    np.testing.assert_array_equal(before, mnist.x_test[:8])


RANGES = {
    "grey levels in floats": (np.full((28, 28), 255.0), r"floats must lie in \[0, 1\], got 255 to 255; divide"),
    "a little over 1": (np.full((28, 28), 1.01), r"floats must lie in \[0, 1\], got 1\.01"),
    "-1..1": (np.linspace(-1, 1, 784), r"floats must lie in \[0, 1\], got -1 to 1"),
    "NaN": (np.full(784, np.nan), r"floats must lie in \[0, 1\], got nan"),
    "one NaN": (np.r_[np.zeros(783), np.nan], r"floats must lie in \[0, 1\]"),
    "infinity": (np.full(784, np.inf), r"floats must lie in \[0, 1\]"),
    "256": (np.full(784, 256), r"whole numbers must lie in 0\.\.255, got 256 to 256"),
    "-1": (np.full(784, -1), r"whole numbers must lie in 0\.\.255"),
}


@pytest.mark.parametrize("case", RANGES)
def test_values_out_of_range_are_never_used(classifier, case):
    values, words = RANGES[case]
    with pytest.raises(InputError, match=words):
        classifier.predict(values)


NOT_NUMBERS = {
    "ragged": ([[1, 2], [3]], "ragged"),
    "ragged deeper": ([[[0.0] * 28] * 28, [[0.0] * 28] * 27], "ragged"),
    "text": ("seven", "expected numbers"),
    "objects": (np.array([None] * 784), "expected numbers, got object"),
    "complex": (np.zeros(784, complex), "expected numbers, got complex128"),
    "dates": (np.zeros(784, "datetime64[s]"), "expected numbers, got datetime64"),
}


@pytest.mark.parametrize("case", NOT_NUMBERS)
def test_what_is_no_array_of_numbers(classifier, case):
    values, words = NOT_NUMBERS[case]
    with pytest.raises(InputError, match=words):
        classifier.predict(values)


# --- which model ----------------------------------------------------------------------------------------------------


def test_what_they_look_like(classifier, images, asset):
    (first, *_) = classifier.predict(images)
    assert str(first) == f"7 ({100 * first.confidence:.1f} %)"
    assert repr(first) == f"Prediction(digit=7, label='7', confidence={first.confidence:.4f})"
    accuracy = classifier.metadata["test_accuracy"]
    assert repr(classifier) == f"Classifier({str(asset)!r}, CPUExecutionProvider, test accuracy {accuracy})"


def test_a_picture_is_not_an_array(classifier, seven, tmp_path):
    """Files and Pillow images have their own door: what is dark there may be ink, or background."""
    from mnistkit import read_picture

    path = tmp_path / "seven.png"
    seven.save(path)
    for picture, words in ((str(path), "a path"), (path, "a path"), (seven.resize((28, 28)), "a Pillow image")):
        for method in (classifier.predict, classifier.probabilities):
            with pytest.raises(InputError, match=f"got {words}; make an array with mnistkit.read_picture"):
                method(picture)
    with pytest.raises(InputError, match="read_picture"):
        classifier.predict([str(path)])
    assert classifier.predict(read_picture(path))[0].digit == 7


def test_an_array_of_another_size_names_read_picture(classifier):
    for shape in ((280, 280), (280, 280, 3)):
        with pytest.raises(InputError, match=r"of a picture of another size, make an array with mnistkit.read_picture"):
            classifier.predict(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("count", [1, 2, 3, 70, 300])
def test_arrays_that_need_no_conversion_are_read_as_all_others(classifier, mnist, count):
    levels = np.ascontiguousarray(mnist.x_test[:count])
    rows = (levels / np.float32(255)).reshape(count, 784)
    slow = classifier.probabilities(levels[..., None])  # with a channel axis: step by step
    for given in (levels, rows, np.where(rows == 0, np.float32(-0.0), rows)):
        np.testing.assert_array_equal(classifier.probabilities(given), slow)
        assert [str(one) for one in classifier.predict(given)] == [
            str(one) for one in classifier.predict(levels[..., None])
        ]
    np.testing.assert_array_equal(rows, (levels / np.float32(255)).reshape(count, 784))  # nothing is written into


@pytest.mark.parametrize("count", [1, 3, 300])
@pytest.mark.parametrize("wrong", [np.nextafter(np.float32(1), np.float32(2)), -1e-30, np.nan, np.inf, -np.inf])
def test_one_number_out_of_range_is_found_among_all(classifier, mnist, count, wrong):
    rows = (mnist.x_test[:count] / np.float32(255)).reshape(count, 784)
    rows[count // 2, 391] = wrong
    with pytest.raises(InputError, match=r"floats must lie in \[0, 1\]"):
        classifier.predict(rows)


@pytest.mark.parametrize("count", [1, 5, 300])
def test_a_model_that_begins_to_answer_nan_is_refused(asset, mnist, count):
    broken = Classifier(asset)
    broken._runtime.run_outputs = lambda *_: [np.full((count, 10), np.nan, np.float32)]
    with pytest.raises(ModelFileError, match="answers with NaN or infinity"):
        broken.predict(np.ascontiguousarray(mnist.x_test[:count]))


def test_dark_ink_on_light_paper_is_warned_of(classifier, mnist):
    for dark in (
        255 - mnist.x_test[:3],
        255 - mnist.x_test[:1],
        255 - mnist.x_test[:20],
        1 - mnist.x_test[0].astype(np.float32) / 255,
        1 - mnist.x_test[:2].reshape(2, 784).astype(np.float32) / 255,
    ):
        with pytest.warns(UserWarning, match="dark ink on light paper"):
            classifier.predict(dark)
    for images in (mnist.x_test[:50], np.ones((28, 28)), np.random.default_rng(0).random((20, 784))):
        classifier.predict(images)  # warnings are errors


def test_the_model_by_default(asset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_model() == asset
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "mnist.onnx").write_bytes(asset.read_bytes())
    assert default_model().absolute() == tmp_path / "exports" / "mnist.onnx"
    assert Classifier(device="cpu").predict(np.zeros((28, 28)))


def test_metadata_is_a_copy(classifier):
    classifier.metadata.clear()
    assert classifier.metadata["format_version"] == "1"
    assert classifier.labels == tuple("0123456789")
    assert classifier.providers == ("CPUExecutionProvider",)
