"""Every malformed request: its status, and a sentence with field, expected and got."""

import io
import json

import numpy as np
import pytest
from served import binary_body, multipart, tensor

ONE = tensor(np.zeros((1, 784)))
WITHOUT = {key: value for key, value in ONE.items() if key != "data"}
GOOD_ECHO = [tensor([[1.0]], name="x"), tensor([1], name="number", datatype="INT64")]


def changed(**values):
    return {"inputs": [{**ONE, **values}]}


BAD_DOCUMENTS = {
    "not json": (b"{", "body: expected JSON"),
    "empty": (b"", "body: expected JSON"),
    "a list": (b"[]", "body: expected a JSON object, got list"),
    "NaN": (json.dumps(changed(data=[float("nan")] * 784)).encode(), "body: expected JSON"),
    "no inputs": ({}, "inputs: expected a list of tensors, got None"),
    "inputs an object": ({"inputs": {}}, "inputs: expected a list"),
    "an input that is a number": ({"inputs": [3]}, "inputs[0]: expected an object, got 3"),
    "no name": ({"inputs": [{}]}, "inputs[0].name: expected one of image, got None"),
    "another name": (changed(name="picture"), "inputs[0].name: expected one of image, got 'picture'"),
    "twice": ({"inputs": [ONE, ONE]}, "inputs[1].name: expected each input once"),
    "no shape": (changed(shape=None), "inputs[0].shape: expected a list of sizes"),
    "negative shape": (changed(shape=[-1, 784]), "inputs[0].shape: expected a list of sizes"),
    "boolean shape": (changed(shape=[True, 784]), "inputs[0].shape: expected a list of sizes"),
    "fraction in shape": (changed(shape=[1.0, 784]), "inputs[0].shape: expected a list of sizes"),
    "huge shape": (changed(shape=[10**9, 784]), "inputs[0].shape: expected at most"),
    "huge and empty": (changed(shape=[10**9, 0], data=[]), "inputs[0].shape: expected at most"),
    "too many dimensions": (changed(shape=[1] * 40), "inputs[0].shape: expected at most 16 dimensions"),
    "unknown datatype": (changed(datatype="FP8"), "inputs[0].datatype: expected one of BOOL"),
    "bytes": (changed(datatype="BYTES"), "inputs[0].datatype: expected one of BOOL"),
    "datatype a list": (changed(datatype=["FP32"]), "inputs[0].datatype: expected one of"),
    "no data": ({"inputs": [WITHOUT]}, "inputs[0].data: expected a list of numbers, got NoneType"),
    "data a text": (changed(data="0" * 784), "inputs[0].data: expected a list of numbers, got str"),
    "too few": (changed(data=[0.0] * 783), "inputs[0].data: expected 784 numbers"),
    "too many": (changed(data=[0.0] * 785), "inputs[0].data: expected 784 numbers"),
    "texts among numbers": (changed(data=["0"] * 784), "inputs[0].data: expected numbers"),
    "null among numbers": (changed(data=[None] + [0] * 783), "inputs[0].data: expected numbers"),
    "ragged": (changed(data=[[0.0] * 783, [0.0]]), "inputs[0].data: expected a flat list, or nested"),
    "nested otherwise": (changed(data=np.zeros((28, 28)).tolist()), "inputs[0].data: expected 784 numbers for shape"),
    "wrong shape": ({"inputs": [tensor(np.zeros((1, 783)))]}, "input image: expected shape"),
    "values over 1": (changed(data=[255.0] * 784), "input image: floats must lie in [0, 1], got 255"),
    "values under 0": (changed(data=[-0.5] * 784), "input image: floats must lie in [0, 1]"),
    "byte of 256": (changed(datatype="UINT8", data=[256] * 784), "inputs[0].data: expected values in 0..255"),
    "fractions for UINT8": (changed(datatype="UINT8", data=[0.5] * 784), "expected whole numbers"),
    "over FP16": (changed(datatype="FP16", data=[1e6] * 784), "expected numbers within float16"),
    "id a number": ({"id": 3, "inputs": [ONE]}, "id: expected a string, got 3"),
    "parameters a list": ({"parameters": [], "inputs": [ONE]}, "parameters: expected an object"),
    "binary_data_output 1": ({"parameters": {"binary_data_output": 1}, "inputs": [ONE]}, "expected true or false"),
    "outputs a text": ({"inputs": [ONE], "outputs": "all"}, "outputs: expected a list, got 'all'"),
    "unknown output": ({"inputs": [ONE], "outputs": [{"name": "x"}]}, "outputs[0].name: expected one of probabilities"),
    "output twice": (
        {"inputs": [ONE], "outputs": [{"name": "probabilities"}] * 2},
        "outputs[1].name: expected each output once",
    ),
    "classification": (
        {"inputs": [ONE], "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]},
        "outputs[0].parameters: expected binary_data alone, got classification",
    ),
    "shared memory": (changed(parameters={"shared_memory_region": "r"}), "shared memory region"),
    "binary size without data": (
        {"inputs": [{**WITHOUT, "parameters": {"binary_data_size": 3136}}]},
        "inputs[0].parameters.binary_data_size: expected a number up to the 0 bytes left, got 3136",
    ),
    "too deep": (b'{"a":' * 40 + b"1" + b"}" * 40, "body: expected at most 16 levels"),
    "absurdly deep": (b"[" * 50_000, "body: expected JSON"),
    "too many lists": (changed(data=[[0.5]] * 100_001), "body: expected at most 100000 lists and objects, got 100006"),
    "many lists": (changed(data=[[0.5]] * 99_000), "inputs[0].data: expected 784 numbers"),
}


@pytest.mark.parametrize("case", BAD_DOCUMENTS)
def test_bad_documents(server, case):
    body, message = BAD_DOCUMENTS[case]
    reply = server.infer(body)
    assert reply.status == 400
    assert message in reply.error


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("-1", "Inference-Header-Content-Length: expected a number"),
        ("x", "Inference-Header-Content-Length: expected a number"),
        ("99999999999999999999999", "Inference-Header-Content-Length: expected a number"),
        ("0", "body: expected a multiple of 3136 bytes"),
        ("1", "body: expected JSON"),
    ],
)
def test_bad_header_lengths(server, length, message):
    body, _ = binary_body(np.zeros((1, 784), np.float32))
    reply = server.infer(body, headers={"Inference-Header-Content-Length": length})
    assert reply.status == 400
    assert message in reply.error


def test_binary_data_that_does_not_fit(server):
    body, headers = binary_body(np.zeros((1, 784), np.float32))
    for wrong in (body[:-1], body[:-3000], body + b"\0"):
        assert server.infer(wrong, headers=headers).status == 400
    body, headers = binary_body(np.zeros((1, 784), np.float32), shape=(2, 784))
    assert "expected 6272 for FP32 [2, 784], got 3136" in server.infer(body, headers=headers).error
    body, headers = binary_body(np.full((1, 784), 2, np.uint8), datatype="BOOL")
    assert "expected bytes 0 or 1 for BOOL" in server.infer(body, headers=headers).error
    body, headers = binary_body(np.full((1, 784), np.nan, np.float32))
    assert "floats must lie in [0, 1], got nan" in server.infer(body, headers=headers).error


def test_a_model_of_several_inputs(server):
    assert "got none named number" in server.infer({"inputs": GOOD_ECHO[:1]}, model="echo").error
    uneven = [tensor([[1.0]], name="x"), tensor([1, 2], name="number", datatype="INT64")]
    assert "expected one batch size for all" in server.infer({"inputs": uneven}, model="echo").error
    fractions = [GOOD_ECHO[0], tensor([0.5], name="number", datatype="FP32")]
    assert "input number: expected whole numbers" in server.infer({"inputs": fractions}, model="echo").error
    flat = [tensor([1.0], name="x"), GOOD_ECHO[1]]
    assert "input x: expected shape [-1, -1], got [1]" in server.infer({"inputs": flat}, model="echo").error
    raw = server.infer(b"\0" * 8, model="echo", headers={"Inference-Header-Content-Length": "0"})
    assert "got raw data for a model of 2 inputs" in raw.error


def test_what_onnxruntime_refuses_is_the_clients_fault(server):
    good = server.infer({"inputs": [tensor([1, 3], name="index", datatype="INT32")]}, model="gather")
    assert good.json["outputs"][0]["data"] == [1.0, 3.0]
    wrong = server.infer({"inputs": [tensor([1, 9], name="index", datatype="INT32")]}, model="gather")
    assert wrong.status == 400
    assert "onnxruntime refuses the input" in wrong.error
    wide = server.infer({"inputs": [tensor([2**40], name="index", datatype="INT64")]}, model="gather")
    assert "expected values in -2147483648..2147483647 for int32" in wide.error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/mnist/versions/2", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/mnist/versions/x/infer", 404),
        ("GET", "/v2/models/", 404),
        ("GET", "/%00", 404),
        ("GET", "/%ff%fe", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/v2/models/mnist/infer", 405),
        ("GET", "/predict", 405),
        ("POST", "/v2", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "/predict", 405),
    ],
)
def test_paths_and_methods(server, method, path, status):
    reply = server.ask(method, path)
    assert reply.status == status
    assert "expected" in reply.error
    assert ("allow" in reply.headers) == (status == 405)


def test_a_compressed_body_is_refused(server):
    reply = server.infer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert reply.status == 415
    assert "Content-Encoding: expected none, got 'gzip'" in reply.error


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",  # TLS spoken to a plain port
    ],
)
def test_not_http(server, data):
    assert server.raw(data).startswith(b"HTTP/1.1 400")


PICTURES = {
    "empty": (b"", {}, 400, "expected a picture file, got 0 bytes"),
    "text": (b"hello", {}, 400, "is not a picture, it is text"),
    "html": (b"<html></html>", {"Content-Type": "image/png"}, 400, "it is a web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", {}, 400, "Git LFS pointer"),
    "json": (b"{}", {"Content-Type": "application/json"}, 415, "header Content-Type: expected image/*"),
    "no boundary": (b"x", {"Content-Type": "multipart/form-data"}, 400, "expected a boundary"),
    "form without parts": (b"--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}, 400, "expected"),
    "a form that is none": (b"junk", {"Content-Type": "multipart/form-data; boundary=b"}, 400, "expected"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_bad_pictures(server, case):
    body, headers, status, message = PICTURES[case]
    reply = server.post("/predict", body, headers)
    assert reply.status == status, reply.body
    assert message in reply.error


def test_damaged_and_empty_pictures(server, png):
    assert server.post("/predict", png(3)[:200]).status == 400
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(stream, "PNG")
    blank = server.post("/predict", stream.getvalue())
    assert blank.status == 422
    assert "no digit found" in blank.error
    body, headers = multipart(("good.png", png(1)), ("blank.png", stream.getvalue()))
    second = server.post("/predict", body, headers)
    assert second.status == 422
    assert "picture 2 of 2 ('blank.png')" in second.error
    cut = multipart(("good.png", png(1)))
    assert "cut off" in server.post("/predict", cut[0][:-20], cut[1]).error


@pytest.mark.parametrize(
    "query", ["explain=maybe", "model=none", "other=1", "&".join("model=mnist" for _ in range(20))]
)
def test_bad_queries(server, png, query):
    reply = server.post(f"/predict?{query}", png(1))
    assert reply.status in {400, 404}
    assert "expected" in reply.error


def test_a_model_that_reads_no_pictures(server, png):
    assert "expected one that reads 28x28 pictures, got echo" in server.post("/predict?model=echo", png(1)).error


def test_a_long_strip_is_refused_before_it_is_decoded(server):
    """A file of a kilobyte took 4 GB of memory."""
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (1_000_000, 1), 255).save(stream, "PNG")
    reply = server.post("/predict", stream.getvalue())
    assert reply.status == 400
    assert "has a side of more than 100000 pixels" in reply.error
