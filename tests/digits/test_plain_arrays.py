"""Arrays that are taken as they are answer like all others, and no value of theirs is taken by mistake."""

import numpy as np
import pytest

from mnistkit import Classifier
from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.digits.plain_arrays import are_finite, plain_rows

COUNTS = [1, 3, 70]


def of_bits(bits):
    return np.uint32(bits).view(np.float32)


RIGHT = {
    "0": of_bits(0),
    "-0": of_bits(0x80000000),
    "the smallest number": of_bits(1),
    "the largest subnormal number": of_bits(0x007FFFFF),
    "just below 1": np.nextafter(np.float32(1), np.float32(0)),
    "1": np.float32(1),
}
WRONG = {
    "just above 1": np.nextafter(np.float32(1), np.float32(2)),
    "-1": np.float32(-1),
    "the smallest number below 0": of_bits(0x80000001),
    "the largest number": np.finfo(np.float32).max,
    "infinity": of_bits(0x7F800000),
    "-infinity": of_bits(0xFF800000),
    "NaN": of_bits(0x7FC00000),
    "-NaN": of_bits(0xFFC00000),
    "a signaling NaN": of_bits(0x7F800001),
    "a signaling -NaN": of_bits(0xFF800001),
    "a NaN of all bits": of_bits(0xFFFFFFFF),
}


def rows_with(mnist, count, value):
    rows = (mnist.x_test[:count] / np.float32(255)).reshape(count, 784)
    # bit by bit, so that NaN stays as it is
    rows.view(np.uint32)[count // 2, 391] = np.asarray(value, np.float32).view(np.uint32)
    return rows


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", RIGHT)
def test_numbers_in_the_range_are_answered_as_step_by_step(classifier, mnist, count, name):
    rows = rows_with(mnist, count, RIGHT[name])
    assert (plain_rows(rows, most=100) is None) == (name == "-0")
    slow = classifier.probabilities(rows.reshape(count, 28, 28, 1))
    np.testing.assert_array_equal(classifier.probabilities(rows), slow)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", WRONG)
def test_numbers_out_of_range_are_refused_wherever_they_are(classifier, mnist, count, name):
    rows = rows_with(mnist, count, WRONG[name])
    assert plain_rows(rows, most=100) is None
    for call in (classifier.probabilities, classifier.predict):
        with pytest.raises(InputError, match=r"floats must lie in \[0, 1\]"):
            call(rows)


@pytest.mark.parametrize("place", [(0, 0), (0, 783), (2, 0), (2, 783)])
def test_the_first_and_the_last_number_count(classifier, mnist, place):
    rows = rows_with(mnist, 3, 0)
    rows[place] = np.nan
    with pytest.raises(InputError, match=r"floats must lie in \[0, 1\]"):
        classifier.probabilities(rows)


def test_every_grey_level_is_divided_as_float32_is():
    levels = np.zeros((3, 28, 28), np.uint8)
    levels.reshape(-1)[100:356] = np.arange(256)
    for count in (1, 3):
        found = plain_rows(levels[:count], most=100)
        np.testing.assert_array_equal(found, levels[:count].reshape(count, 784).astype(np.float32) / np.float32(255))
    assert levels.reshape(-1)[100:356].tolist() == list(range(256))


class Subclass(np.ndarray):
    """Whoever subclasses may give operators another meaning."""


def odd_arrays(levels):
    """The same images in other clothes, by what they are called."""
    rows = (levels / np.float32(255)).reshape(len(levels), 784)
    shifted = np.zeros(rows.nbytes + 1, np.uint8)
    shifted[1:] = rows.view(np.uint8).ravel()
    locked = rows.copy()
    locked.flags.writeable = False
    wide = np.zeros((len(rows), 2 * 784), np.float32)
    wide[:, ::2] = rows
    every_second = np.zeros((len(levels), 28, 56), np.uint8)
    every_second[:, :, ::2] = levels
    return {
        "not aligned": shifted[1:].view(np.float32).reshape(rows.shape),
        "read-only": locked,
        "with gaps": wide[:, ::2],
        "backward": rows[::-1, ::-1].copy()[::-1, ::-1],
        "Fortran's order": np.asfortranarray(rows),
        "byte-swapped": rows.astype(rows.dtype.newbyteorder()),
        "a subclass": rows.view(Subclass),
        "masked": np.ma.masked_array(rows, np.zeros(rows.shape, bool)),
        "bytes with gaps": every_second[:, :, ::2],
        "bytes in Fortran's order": np.asfortranarray(levels),
        "read-only bytes": np.frombuffer(levels.tobytes(), np.uint8).reshape(levels.shape),
    }


@pytest.mark.parametrize("count", COUNTS)
def test_other_arrays_of_the_same_numbers_answer_alike(classifier, mnist, count):
    levels = mnist.x_test[:count]
    expected = classifier.probabilities(levels[..., None])
    for name, given in odd_arrays(levels).items():
        before = given.tobytes()
        np.testing.assert_array_equal(classifier.probabilities(given), expected, err_msg=name)
        assert given.tobytes() == before, name


@pytest.mark.parametrize("name", ["with gaps", "backward", "Fortran's order", "byte-swapped"])
def test_arrays_whose_memory_is_no_row_after_row_go_step_by_step(mnist, name):
    assert plain_rows(odd_arrays(mnist.x_test[:3])[name], most=100) is None


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((0, 784), "float32"),
        ((5, 784), "float32"),  # more than the most
        ((2, 28, 28), "float32"),
        ((784,), "float32"),
        ((2, 783), "float32"),
        ((2, 784), "float64"),
        ((2, 784), "uint8"),
        ((0, 28, 28), "uint8"),
        ((5, 28, 28), "uint8"),
        ((2, 28, 27), "uint8"),
        ((2, 27, 28), "uint8"),
        ((28, 28), "uint8"),
        ((2, 28, 28), "int8"),
        ((2, 28, 28), "bool"),
        ((), "float32"),
    ],
    ids=str,
)
def test_what_is_not_taken_as_it_is(shape, dtype):
    assert plain_rows(np.zeros(shape, dtype), most=4) is None


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("values", [(np.nan,), (-np.nan,), (np.inf,), (-np.inf,), (np.inf, -np.inf), (np.inf, np.nan)])
def test_an_answer_that_is_no_number_is_seen(asset, mnist, count, values):
    answers = np.full((count, 10), 0.1, np.float32)
    assert are_finite(answers)
    answers[-1, 10 - len(values) :] = values
    assert not are_finite(answers)
    broken = Classifier(asset, device="cpu")
    broken._runtime.run_outputs = lambda *_: [answers]
    with pytest.raises(ModelFileError, match="answers with NaN or infinity"):
        broken.predict(np.ascontiguousarray(mnist.x_test[:count]))
