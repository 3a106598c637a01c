import http.client
import json

import numpy as np
import pytest
from served import binary_body, tensor


@pytest.fixture(scope="session")
def floats(digits):
    return digits.reshape(10, 784).astype(np.float32) / np.float32(255)


def answer(reply):
    assert reply.status == 200, reply.body
    output = reply.json["outputs"][0]
    return np.array(output["data"]).reshape(output["shape"])


def test_server_and_model_metadata(server):
    assert server.get("/v2").json["name"] == "mnistkit"
    assert "binary_tensor_data" in server.get("/v2").json["extensions"]
    for path in ("/v2/models/mnist", "/v2/models/mnist/versions/1"):
        found = server.get(path).json
        assert found["name"] == "mnist"
        assert found["versions"] == ["1"]
        assert found["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 784]}]
        assert found["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]


def test_health(server):
    assert server.get("/v2/health/live").json == {"live": True}
    assert server.get("/v2/health/ready").json == {"ready": True}
    assert server.get("/v2/models/mnist/ready").json == {"name": "mnist", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models/mnist/infer", "/v2/models/mnist/versions/1/infer"])
def test_all_digits_in_one_batch(server, floats, path):
    reply = server.post(path, {"id": "mine", "inputs": [tensor(floats)]})
    probabilities = answer(reply)
    assert probabilities.argmax(axis=1).tolist() == list(range(10))
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert reply.json["id"] == "mine"
    assert reply.json["model_name"] == "mnist"
    assert reply.json["model_version"] == "1"


def test_nested_and_flat_data_are_the_same(server, floats):
    flat = tensor(floats[:2])
    nested = {**flat, "data": floats[:2].tolist()}
    assert np.array_equal(answer(server.infer({"inputs": [flat]})), answer(server.infer({"inputs": [nested]})))


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (784,), (1, 784), (1, 28, 28, 1), (1, 1, 28, 28)])
def test_one_image_in_every_usual_shape(server, floats, shape):
    assert answer(server.infer({"inputs": [tensor(floats[7].reshape(shape))]})).argmax() == 7


@pytest.mark.parametrize("datatype", ["UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64"])
def test_grey_levels_are_divided_by_255(server, digits, floats, datatype):
    sent = answer(server.infer({"inputs": [tensor(digits[3:4].reshape(1, 784), datatype=datatype)]}))
    assert np.allclose(sent, answer(server.infer({"inputs": [tensor(floats[3:4])]})), atol=1e-6)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
def test_every_float_in_binary(server, floats, datatype):
    if datatype == "BF16":
        array = (floats[5:6].view(np.uint32) >> 16).astype(np.uint16)
    else:
        array = floats[5:6].astype(f"f{int(datatype[2:]) // 8}")
    body, headers = binary_body(array, datatype=datatype, output=False)
    assert answer(server.infer(body, headers=headers)).argmax() == 5


def test_bool_is_an_image_of_zeros_and_ones(server, floats):
    array = floats[0:1] > 0.5
    body, headers = binary_body(array, datatype="BOOL", output=False)
    as_bool = answer(server.infer(body, headers=headers))
    assert np.array_equal(as_bool, answer(server.infer({"inputs": [tensor(array.astype(float))]})))


def test_binary_answers(server, floats):
    body, headers = binary_body(floats)
    reply = server.infer(body, headers=headers)
    size = int(reply.headers["inference-header-content-length"])
    document = json.loads(reply.body[:size])
    assert document["outputs"][0]["parameters"]["binary_data_size"] == 400
    found = np.frombuffer(reply.body[size:], "<f4").reshape(10, 10)
    assert np.allclose(found, answer(server.infer({"inputs": [tensor(floats)]})), atol=1e-6)


def test_one_raw_tensor(server, floats):
    reply = server.infer(floats[:3].tobytes(), headers={"Inference-Header-Content-Length": "0"})
    size = int(reply.headers["inference-header-content-length"])
    assert np.frombuffer(reply.body[size:], "<f4").reshape(3, 10).argmax(axis=1).tolist() == [0, 1, 2]


def test_requested_outputs_in_their_order(server):
    inputs = [tensor([[1.0, 2.0]], name="x"), tensor([7], name="number", datatype="INT64")]
    both = server.infer({"inputs": inputs}, model="echo").json["outputs"]
    assert [output["name"] for output in both] == ["y", "count"]
    assert [output["data"] for output in both] == [[2.0, 4.0], [7]]
    one = server.infer({"inputs": inputs, "outputs": [{"name": "count"}]}, model="echo").json["outputs"]
    assert [output["name"] for output in one] == ["count"]
    turned = server.infer({"inputs": inputs, "outputs": [{"name": "count"}, {"name": "y"}]}, model="echo").json
    assert [output["name"] for output in turned["outputs"]] == ["count", "y"]


def test_one_output_binary_and_one_not(server):
    inputs = [tensor([[1.0, 2.0]], name="x"), tensor([7], name="number", datatype="INT64")]
    outputs = [{"name": "y", "parameters": {"binary_data": True}}, {"name": "count"}]
    reply = server.infer({"inputs": inputs, "outputs": outputs}, model="echo")
    size = int(reply.headers["inference-header-content-length"])
    assert np.frombuffer(reply.body[size:], "<f4").tolist() == [2.0, 4.0]
    assert json.loads(reply.body[:size])["outputs"][1]["data"] == [7]


def test_whole_numbers_of_64_bits_stay_exact(server):
    big = 2**63 - 1
    inputs = [tensor([[0.0]], name="x"), tensor([big], name="number", datatype="INT64")]
    assert server.infer({"inputs": inputs}, model="echo").json["outputs"][1]["data"] == [big]


def test_pipelined_requests_are_answered_in_order(server):
    slow = json.dumps({"inputs": [tensor(np.full((1, 1024), 3.0), name="x")]}).encode()
    first = b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(slow) + slow
    received = server.raw(
        first
        + b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        + b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.index(b"slow") < received.index(b"extensions") < received.index(b'"live"')


def test_chunked_bodies_and_kept_connections(server, floats):
    content = json.dumps({"inputs": [tensor(floats[4:5])]}).encode()
    connection = server.connect()
    for _ in range(3):
        pieces = [content[start : start + 500] for start in range(0, len(content), 500)]
        connection.request("POST", "/v2/models/mnist/infer", iter(pieces), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        response = connection.getresponse()
        assert np.argmax(json.loads(response.read())["outputs"][0]["data"]) == 4
        assert not response.will_close
    connection.close()


def test_head_has_no_body(server):
    reply = server.ask("HEAD", "/v2")
    assert reply.status == 200
    assert reply.body == b""
    assert int(reply.headers["content-length"]) > 0


def test_expect_continue(server):
    connection = server.connect()
    connection.putrequest("POST", "/v2/models/mnist/infer")
    connection.putheader("Expect", "100-continue")
    connection.putheader("Content-Length", "2")
    connection.endheaders()
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 100 Continue")
    connection.send(b"{}")
    response = http.client.HTTPResponse(connection.sock)
    response.begin()
    assert response.status == 400
    connection.close()
