"""What a file says of itself can be read back, and damage is noticed."""

import base64
import json
import zlib

import numpy as np
import pytest

from mnistkit.core import golden
from mnistkit.core.comparison import compare
from mnistkit.core.contract import read_labels, weights_sha256
from mnistkit.core.errors import ModelFileError, ParityError
from mnistkit.core.golden import GoldenPair, decode_golden, encode_golden, rounded


@pytest.fixture
def pairs():
    generator = np.random.default_rng(0)
    return [
        GoldenPair(
            {"image": generator.random((1, 784)).astype(dtype)},
            {"probabilities": generator.random((1, 10)).astype(np.float32), "class": np.array([number])},
        )
        for number, dtype in enumerate((np.float32, np.float16, np.float64))
    ]


def test_golden_pairs_come_back_as_they_were(pairs):
    for before, after in zip(pairs, decode_golden({"golden": encode_golden(pairs)}), strict=True):
        for side in ("inputs", "outputs"):
            left, right = getattr(before, side), getattr(after, side)
            assert list(right) == sorted(left)
            for name in left:
                assert right[name].dtype == left[name].dtype
                np.testing.assert_array_equal(left[name], right[name])


def test_words_come_back_as_they_were():
    """Whether a framework holds them as text or as bytes; the bytes of such an array are addresses in memory."""
    words = np.array([["red", "grün"], ["", "a"]], dtype=object)
    held = [words, words.astype("U"), np.array([[word.encode() for word in row] for row in words], dtype=object)]
    texts = {encode_golden([GoldenPair({"color": array}, {"class": np.zeros(2)})]) for array in held}
    assert len(texts) == 1
    (pair,) = decode_golden({"golden": texts.pop()})
    assert pair.inputs["color"].tolist() == words.tolist()
    assert compare(held[0], held[2], atol=0, what="words").rows == 2
    with pytest.raises(ParityError, match="words: 1 of 4 words differ"):
        compare(words, np.array([["red", "green"], ["", "a"]], dtype=object), atol=0, what="words")


def test_golden_pairs_are_the_same_text_on_any_machine(pairs):
    swapped = [
        GoldenPair({k: v.astype(v.dtype.newbyteorder(">")) for k, v in pair.inputs.items()}, pair.outputs)
        for pair in pairs
    ]
    assert encode_golden(swapped) == encode_golden(pairs)


@pytest.mark.parametrize("metadata", [{}, {"golden": ""}])
def test_no_golden_pairs(metadata):
    with pytest.raises(ModelFileError, match="carries no golden pairs, so nothing can be verified; export it"):
        decode_golden(metadata)


def test_an_empty_list_proves_nothing():
    with pytest.raises(ModelFileError, match="list of golden pairs is empty"):
        decode_golden({"golden": "[]"})


def entry(**changes):
    packed = base64.b64encode(zlib.compress(np.ones(4, "<f4").tobytes())).decode()
    array = {"dtype": "float32", "shape": [1, 4], "zlib": packed} | changes
    return json.dumps([{"inputs": {"image": array}, "outputs": {"probabilities": array}}])


def test_the_entry_that_is_damaged_below_is_read_when_whole():
    assert decode_golden({"golden": entry()})[0].inputs["image"].tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[{}]",
        "[1]",
        entry(zlib="AAAA"),
        entry(zlib="?"),
        entry(shape=[1, 5]),
        entry(shape="x"),
        entry(dtype="object"),
        entry(dtype="str"),
        entry(dtype="str", zlib=base64.b64encode(zlib.compress(b"[1, 2, 3, 4]")).decode()),
        entry(
            dtype="str",
            shape=[500_000],
            zlib=base64.b64encode(zlib.compress(b'["a' + b'","a' * 499_999 + b'"]')).decode(),
        ),
        entry(dtype="nonsense"),
        entry(dtype=3),
        entry(dtype="," * 5000),
        entry(dtype="f4,f4,(1000000000,)f8"),
        entry(dtype=["float32"]),
        entry(shape=[1, 2**70]),
        '[{"inputs": [], "outputs": {}}]',
        '[{"inputs": 3, "outputs": {}}]',
        "[" * 100_000,
    ],
)
def test_damaged_golden_pairs(text):
    with pytest.raises(ModelFileError, match=r"golden pairs in the file are damaged .*; export it again"):
        decode_golden({"golden": text})


def test_a_golden_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(golden, "_MAX_GOLDEN_BYTES", 100)
    bomb = base64.b64encode(zlib.compress(bytes(10_000))).decode()
    with pytest.raises(ModelFileError, match="damaged"):
        decode_golden({"golden": entry(zlib=bomb, shape=[1, 2500])})


def test_many_small_golden_bombs_are_not_unpacked_either(monkeypatch):
    """The bound holds for all pairs of a file together."""
    monkeypatch.setattr(golden, "_MAX_GOLDEN_BYTES", 60)
    whole = json.loads(entry())
    assert len(decode_golden({"golden": json.dumps(whole)})) == 1  # 32 bytes
    with pytest.raises(ModelFileError, match="more than 60 bytes"):
        decode_golden({"golden": json.dumps(whole * 2)})


def test_what_is_said_of_damage_is_one_short_line():
    text = entry(dtype="x" * 5000 + "\n" * 50)
    with pytest.raises(ModelFileError) as caught:
        decode_golden({"golden": text})
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_labels():
    assert read_labels({}) is None
    assert read_labels({"labels": '["zero", "one"]'}) == ("zero", "one")


@pytest.mark.parametrize("text", ["{", "3", "[1, 2]", '{"a": "b"}', "[" * 100_000])
def test_damaged_labels(text):
    with pytest.raises(ModelFileError, match=r"labels in the file are .*; export it again"):
        read_labels({"labels": text})


def test_the_digest_of_weights_sees_every_change():
    weights = [np.ones((2, 3), np.float32), np.zeros(3, np.float32)]
    same = weights_sha256(weights)
    assert weights_sha256([w.astype(">f4") for w in weights]) == same
    assert weights_sha256([np.asfortranarray(w) for w in weights]) == same
    others = [
        [weights[0].T, weights[1]],
        [weights[0].astype(np.float64), weights[1]],
        weights[::-1],
        [np.nextafter(weights[0], 2), weights[1]],
    ]
    assert len({same, *(weights_sha256(other) for other in others)}) == 5


def test_floats_are_rounded_and_nothing_else():
    answers = {"half": np.array([60000.123, 0.1], np.float16), "float": np.array([0.123456789], np.float32)}
    kept = rounded({**answers, "digit": np.array(123456789, np.int64)})
    assert np.isfinite(kept["half"]).all()
    assert kept["float"] == np.float32(0.12346)
    assert kept["float"].dtype == np.float32
    assert kept["digit"] == 123456789
