"""The protocol as pure functions, with whatever hypothesis thinks of."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistkit.serve.http import HTTPError, Request, truncate
from mnistkit.serve.models import Models
from mnistkit.serve.protocol import flat_json, inference
from mnistkit.serve.protocol.datatypes import NUMPY, exact, from_bytes, from_list
from mnistkit.serve.settings import Settings

FAST = settings(max_examples=60, deadline=None)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8)
DOCUMENTS = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner))


@pytest.fixture(scope="module")
def model(asset):
    made = Models(Settings(models=(("mnist", str(asset)),), device="cpu"), observe=lambda *_: None).get("mnist")
    yield made
    made.batcher.close()


def levels(value):
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@FAST
@given(DOCUMENTS, st.booleans())
def test_depth_is_that_of_the_document(document, ascii_only):
    assert inference.depth(json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")) == levels(
        document
    )


@pytest.mark.parametrize(
    ("text", "depth"), [(b'"[[["', 0), (b'["\\"[", []]', 2), (b"[" * 99, 99), (b"", 0), (b'["\\\\",[]]', 2)]
)
def test_depth_reads_strings_as_json_does(text, depth):
    assert inference.depth(text) == depth


@FAST
@given(st.binary(max_size=400) | DOCUMENTS.map(lambda document: json.dumps(document).encode()), st.sampled_from(
    [None, "0", "1", "17", "9" * 30, "x", "", "-1"]))  # fmt: skip
def test_any_body_is_read_or_refused(model, body, length):
    headers = {} if length is None else {inference.LENGTH_HEADER: length}
    try:
        found = inference.parse(Request("POST", "/", "", headers, body), model, Settings())
    except HTTPError as error:
        assert error.status in {400, 413}  # noqa: PT017 - both ways are right
    else:
        assert found.feeds["image"].dtype == np.float32


ENTRY = {"name": "image", "datatype": "FP32", "shape": [1, 784], "data": [0.5] * 784}


@FAST
@given(st.dictionaries(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), DOCUMENTS, min_size=1))
def test_a_good_document_with_anything_in_it_is_read_or_refused(model, changes):
    body = json.dumps({"inputs": [{**ENTRY, **changes}]}).encode()
    try:
        found = inference.parse(Request("POST", "/", "", {}, body), model, Settings())
    except HTTPError as error:
        assert error.status == 400  # noqa: PT017 - both ways are right
    else:
        assert found.rows >= 0


@FAST
@given(st.lists(st.integers(-(2**70), 2**70) | st.floats(), max_size=20), st.sampled_from(sorted(NUMPY)))
def test_numbers_keep_their_value_or_are_refused(numbers, datatype):
    try:
        found = from_list(numbers, datatype, "field")
    except HTTPError:
        return
    assert found.dtype == NUMPY[datatype]
    for sent, kept in zip(numbers, found.tolist(), strict=True):
        if found.dtype.kind in "iub":
            assert int(kept) == sent
        elif math.isfinite(sent):
            assert math.isfinite(kept)


def test_whole_numbers_are_not_rounded_by_a_fraction_beside_them():
    assert from_list([2**53 + 1, 1], "INT64", "field").tolist() == [2**53 + 1, 1]
    assert from_list([2**53 - 1, 1.0], "INT64", "field").tolist() == [2**53 - 1, 1]
    assert from_list([[]], "INT64", "field").shape == (1, 0)
    with pytest.raises(HTTPError, match="without fractions beside them"):
        from_list([2**53 + 1, 1.0], "INT64", "field")


@FAST
@given(st.binary(max_size=64), st.sampled_from(sorted(NUMPY)))
def test_bytes_there_and_back(content, datatype):
    try:
        found = from_bytes(memoryview(content), datatype, "field")
    except HTTPError:
        assert len(content) % NUMPY[datatype].itemsize or (datatype == "BOOL" and max(content) > 1)
        return
    assert found.tobytes() == content
    assert exact(found, found.dtype, "field") is found or len(found) == 0


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.integers(-300, 300) | st.floats(allow_nan=False, allow_infinity=False)
LISTS = st.lists(NUMBERS, max_size=6) | st.lists(st.lists(NUMBERS, max_size=3), max_size=4) | st.recursive(
    NUMBERS | st.none() | st.booleans() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3))  # fmt: skip


def said(data, datatype):
    """Shape and bytes, or the refusal."""
    try:
        made = from_list(data, datatype, "x")
    except HTTPError as error:
        return str(error)
    return made.shape, made.tobytes()


@FAST
@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": st.text(max_size=4), "datatype": st.sampled_from([*NUMPY, "BF16", "x"]), "shape": DOCUMENTS},
            optional={"data": LISTS, "parameters": DOCUMENTS},
        ),
        max_size=2,
    ),
    st.dictionaries(st.sampled_from(["id", "outputs", "parameters"]), DOCUMENTS),
)
def test_numbers_in_a_flat_buffer_are_those_of_the_text(inputs, others):
    pytest.importorskip("simdjson")
    body = json.dumps({"inputs": inputs, **others}).encode()
    found = flat_json.load(body)
    if found is None:
        return
    expected = json.loads(body)
    for entry, wanted in zip(found["inputs"], expected["inputs"], strict=True):
        data = entry.pop("data")
        values = wanted.pop("data")
        assert data.tolist() == values
        assert said(data, entry["datatype"]) == said(values, entry["datatype"])
    assert found == expected


IMAGE = '{"inputs":[{"name":"image","datatype":"FP32","shape":[1,2],"data":%s}]}'


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (IMAGE % "[1, 0.5]", [1, 0.5]),
        (IMAGE % "[[1, 0.5]]", [[1, 0.5]]),
        (IMAGE % "[[1], [2]]", [[1], [2]]),
        (IMAGE % "[[1], 2]", None),
        (IMAGE % "[1, [2]]", None),
        (IMAGE % "[[1, 2], [3]]", None),
        (IMAGE % "[[[1], [2]]]", None),
        (IMAGE % "[true, 1]", None),
        (IMAGE % "[9007199254740993]", None),  # a float64 would not tell it from its neighbor
        (IMAGE % "[1e39]", None),
        (IMAGE % '["["]', None),
        (IMAGE % "5", None),
        (IMAGE % "[1, 2", None),
        ("\ufeff" + IMAGE % "[1]", None),
        ((IMAGE % "[1]").replace('"shape"', '"data":[2],"shape"'), None),
        ((IMAGE % "[1]").replace("FP32", "BOOL"), None),
        ('{"inputs":[5]}', None),
        ('{"inputs":{}}', None),
        ("[]", None),
    ],
)
def test_what_is_read_into_a_flat_buffer(body, data):
    pytest.importorskip("simdjson")
    found = flat_json.load(body.encode())
    assert (found and found["inputs"][0]["data"].tolist()) == data


@pytest.mark.parametrize("data", ["[0.5, 1e39]", "[[1], 2]", '["1"]', "[[0.5,0.5]]", "5", "[1e400]", "[0.5,0.25]"])
def test_without_simdjson_everything_is_answered_alike(model, monkeypatch, data):
    text = (IMAGE % data).replace("[1,2]", "[1,784]").replace("0.25", ",".join(["0.25"] * 783))

    def said():
        try:
            return (
                inference.parse(Request("POST", "/", "", {}, text.encode()), model, Settings()).feeds["image"].tolist()
            )
        except HTTPError as error:
            return str(error)

    monkeypatch.setattr(flat_json, "LEAST", 0)
    first = said()
    monkeypatch.setattr(flat_json, "simdjson", None)
    assert said() == first


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.5, "x", "é" * 70, "it's", b"x" * 70, [], [1, 784], {"a": [1, {"b": None}]}, [[[]], [0.5]]],
)
def test_a_value_in_an_error_reads_as_python_writes_it(value):
    text = repr(value)
    assert truncate(value) == (text if len(text) <= 60 else f"{text[:57]}...")


@pytest.mark.parametrize("wrap", [list, lambda items: {"x": list(items)}, dict.fromkeys])
def test_of_a_value_in_an_error_no_more_is_looked_at_than_is_told(wrap):
    looked = []

    class Item:
        def __repr__(self):
            looked.append(self)
            return "item"

    assert truncate(wrap(Item() for _ in range(1000))).endswith("...")
    assert len(looked) < 20
