"""A comparison raises when answers differ; each check has its negative twin."""

import numpy as np
import onnxfile
import pytest

from mnistkit.core.comparison import compare, verify_file
from mnistkit.core.errors import DeviceError, ModelFileError, ParityError
from mnistkit.core.golden import GOLDEN_ATOL


@pytest.fixture
def scores():
    return np.random.default_rng(0).dirichlet(np.ones(10), size=20).astype(np.float32)


def test_equal_answers(scores):
    found = compare(scores, scores.copy(), atol=1e-6, what="scores")
    assert (found.largest, found.allowed, found.rows, found.agreement) == (0.0, 1e-6, 20, 1.0)


def test_the_largest_difference_is_told(scores):
    near = scores.astype(np.float64)
    near[3, 4] += 3e-7
    found = compare(scores, near, atol=1e-6, what="scores")
    assert found.largest == pytest.approx(3e-7, rel=1e-6)


def twins(scores):
    """Answers that must not pass, each with the words that say why."""
    one_off = scores.copy()
    one_off[7, 2] += 1e-4
    nan = scores.copy()
    nan[7, 2] = np.nan
    infinite = scores.copy()
    infinite[7, 2] = np.inf
    return {
        "one number off": (one_off, r"scores: largest difference 0\.0001 at \[7, 2\], allowed 1e-06; labels agree on"),
        "NaN": (nan, "scores: NaN in the exported answers"),
        "infinity": (infinite, "an infinity on one side only"),
        "swapped columns": (scores[:, [1, 0, *range(2, 10)]], "largest difference"),
        "swapped rows": (scores[[1, 0, *range(2, 20)]], "largest difference"),
        "one row less": (scores[:-1], r"expected shape \[20, 10\], got \[19, 10\]"),
        "one row, broadcast": (scores[:1], r"expected shape \[20, 10\], got \[1, 10\]"),
        "logits": (np.log(scores), "largest difference"),
        "float16": (scores.astype(np.float16), "largest difference"),
        "constant": (np.full_like(scores, 0.1), "largest difference"),
    }


@pytest.mark.parametrize("case", list(twins(np.full((20, 10), 0.1, np.float32))))
def test_different_answers_never_pass(scores, case):
    actual, words = twins(scores)[case]
    with pytest.raises(ParityError, match=words):
        compare(scores, actual, atol=1e-6, what="scores")


def test_nan_on_both_sides_fails_too(scores):
    scores[0, 0] = np.nan
    with pytest.raises(ParityError, match="NaN in the expected answers"):
        compare(scores, scores.copy(), atol=1, what="scores")


def test_infinities_must_match_in_sign():
    expected = np.array([[np.inf, 0.0]])
    assert compare(expected, expected.copy(), atol=1e-6, what="x").largest == 0
    with pytest.raises(ParityError, match="infinity"):
        compare(expected, -expected, atol=1e-6, what="x")


def test_the_tolerance_is_absolute_below_one_and_follows_the_size_above(scores):
    small = scores * 1e-3
    with pytest.raises(ParityError):
        compare(small, small * 1.5, atol=1e-6, what="x")  # half as much again is far, however small the numbers are
    large = scores * (1000 / scores.max())
    assert compare(large, large + np.float64(9e-4), atol=1e-6, what="x").allowed == pytest.approx(1e-3)
    with pytest.raises(ParityError):
        compare(large, large + np.float64(2e-3), atol=1e-6, what="x")


def test_whole_numbers_must_be_equal():
    expected = np.arange(6).reshape(2, 3)
    assert compare(expected, expected.copy(), atol=1, what="classes").rows == 2
    with pytest.raises(ParityError, match="classes: 1 of 6 whole numbers differ"):
        compare(expected, expected + (expected == 4), atol=10, what="classes")


def test_agreement_is_the_share_of_equal_labels():
    expected = np.array([[0.50000001, 0.5], [0.0, 1.0]])
    found = compare(expected, np.array([[0.5, 0.50000001], [0.0, 1.0]]), atol=1e-6, what="x")
    assert found.agreement == 0.5


# --- files ----------------------------------------------------------------------------------------------------------


def test_the_packaged_model_verifies(asset):
    found = verify_file(asset)
    assert found.pairs >= 3
    assert found.largest <= found.allowed == GOLDEN_ATOL
    assert found.providers == ("CPUExecutionProvider",)
    assert verify_file(asset.read_bytes()).largest == found.largest


def changed(content, change, which=onnxfile.largest):
    weight = which(content)
    return onnxfile.replaced(content, weight, change(onnxfile.read(content, weight).copy()))


def nudged(values):
    values.flat[int(np.abs(values).argmax())] += 0.5
    return values


def swapped(values):
    flat = values.reshape(-1)
    places = [int(flat.argmin()), int(flat.argmax())]  # two equal ones would change nothing
    flat[places] = flat[places[::-1]]
    return flat.reshape(values.shape)


TAMPERED = {
    "one weight": lambda content: changed(content, nudged, onnxfile.classes_bias),
    "all weights a little": lambda content: changed(content, lambda values: values * np.float32(1.003)),
    "two swapped": lambda content: changed(content, swapped, onnxfile.classes_bias),
    "a NaN": lambda content: changed(content, lambda values: values * np.float32(np.nan)),
    "zeros": lambda content: changed(content, np.zeros_like),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_file_fails(model_file, case):
    model_file.write_bytes(TAMPERED[case](model_file.read_bytes()))
    with pytest.raises(ParityError, match=r"model\.onnx: golden pair \d, output probabilities: "):
        verify_file(model_file)


def test_the_tampering_itself_changes_nothing_else(model_file):
    """The twin's twin: writing the same weights back leaves a file that verifies."""
    content = model_file.read_bytes()
    same = changed(content, lambda values: values)
    assert same == content
    verify_file(same)


def test_tampered_golden_answers_fail(model_file):
    content = model_file.read_bytes()
    start = content.index(b'"golden') if b'"golden' in content else content.index(b"golden")
    place = content.index(b'"zlib":"', start) + 20
    model_file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises((ParityError, ModelFileError)):
        verify_file(model_file)


def test_a_file_without_golden_pairs(model_file):
    model_file.write_bytes(model_file.read_bytes().replace(b"mnistkit.golden", b"mnistkit.silver"))
    with pytest.raises(ModelFileError, match=r"model\.onnx: the file carries no golden pairs.*export it with mnistkit"):
        verify_file(model_file)


def test_truncated_file(model_file):
    model_file.write_bytes(model_file.read_bytes()[:-1000])
    with pytest.raises(ModelFileError, match="not a model that onnxruntime"):
        verify_file(model_file)


def test_verify_on_a_device_that_is_not_there(asset):
    with pytest.raises(DeviceError, match="unknown device"):
        verify_file(asset, device="tpu")
