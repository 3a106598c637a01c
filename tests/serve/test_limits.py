"""Every limit has a flag, and this is what happens at it."""

import json
import socket
import time

import numpy as np
import pytest
from served import multipart, refused_start, tensor

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}


@pytest.fixture(scope="module")
def small(tmp_path_factory, asset):
    """A server with small limits."""
    from served import serving

    flags = (
        "--max-body 20000 --max-elements 2000 --max-pixels 50000 --max-pictures 2 --max-json-depth 5"
        " --max-header-bytes 2000 --max-headers 20 --receive-timeout 1 --keep-alive 2"
    )
    with serving(tmp_path_factory.mktemp("small"), "--model", f"mnist={asset}", *flags.split()) as served:
        yield served


def test_below_the_limits_all_is_well(small):
    assert small.infer(ONE).status == 200


def test_body(small):
    reply = small.infer(b" " * 20001)
    assert reply.status == 413
    assert reply.error == "body: expected at most 20000 bytes, got more"
    endless = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"4000\r\n" + b"x" * 16384
    assert small.raw(endless + b"\r\n4000\r\n" + b"x" * 16384).startswith(b"HTTP/1.1 413")
    # the refusal is read even by a client that first sends everything
    connection = small.connect()
    connection.request("POST", "/predict", b"x" * 200_000)
    assert connection.getresponse().status == 413
    connection.close()


def test_elements(small):
    assert "expected at most 2000 elements" in small.infer({"inputs": [tensor(np.zeros((3, 784)))]}).error


def test_pixels(small, png):
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (300, 300), 255).save(stream, "PNG")
    assert "50000 pixels" in small.post("/predict", stream.getvalue()).error
    assert small.post("/predict", png(1)).status == 200


def test_pictures(small, png):
    body, headers = multipart(*[("a.png", png(1))] * 3)
    assert "expected at most 2 parts" in small.post("/predict", body, headers).error


def test_json_depth(small):
    assert small.infer({"inputs": [{**ONE["inputs"][0], "data": np.zeros((1, 784)).tolist()}]}).status == 200
    assert "expected at most 5 levels" in small.infer({**ONE, "parameters": {"a": {"b": {"c": {"d": {}}}}}}).error


def test_headers(small):
    assert small.get("/v2", headers={"X": "y" * 1000}).status == 200
    assert small.get("/v2", headers={"X": "y" * 2000}).status == 431
    assert small.get("/v2?" + "y" * 2000).status == 431
    assert small.get("/v2", headers={f"X-{number}": "y" for number in range(20)}).status == 431
    unended = b"GET /v2 HTTP/1.1\r\nX: "
    assert small.raw(unended + b"y" * 4000).startswith(b"HTTP/1.1 431")


def test_slow_headers_and_bodies(small):
    for start in (b"", b"GET /v2 HT", b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"):
        before = time.monotonic()
        received = small.raw(start)
        assert 0.9 < time.monotonic() - before < 5
        assert received.startswith(b"HTTP/1.1 408")
        assert json.loads(received.split(b"\r\n\r\n", 1)[1])["error"].startswith(
            "request: expected all of it within 1 s"
        )


def test_keep_alive(small):
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as link:
        link.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert link.recv(1000).startswith(b"HTTP/1.1 200")
        before = time.monotonic()
        assert link.recv(1000) == b""
        assert 1.4 < time.monotonic() - before < 8


def test_connections(started):
    with started("--max-connections", "5") as server:
        links = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        time.sleep(0.2)
        reply = server.get("/v2")
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        for link in links:
            link.close()
        time.sleep(0.2)
        assert server.get("/v2").status == 200


def test_slow_clients_do_not_stop_others(started):
    """200 connections that send one byte a second."""
    with started("--receive-timeout", "60") as server:
        links = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        request = b"POST /v2/models/mnist/infer HTTP/1.1\r\nContent-Length: 4000\r\n\r\n"
        for second in range(3):
            for link in links:
                link.send(request[second : second + 1])
            before = time.monotonic()
            assert all(server.infer(ONE).status == 200 for _ in range(20))
            assert time.monotonic() - before < 4
            time.sleep(1)
        for link in links:
            link.close()


def test_a_client_that_does_not_read_is_cut_off(small):
    """Many answers asked for, none taken: the connection is dropped and memory given back."""
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(1)
        link.connect(("127.0.0.1", small.port))
        with pytest.raises(OSError):  # noqa: PT012 - which send fails is up to the kernel's buffers
            for _ in range(200):
                link.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
                time.sleep(0.05)
    assert small.infer(ONE).status == 200


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "missing.onnx"], "missing.onnx: no such file"),
        (["--model", "a b=x.onnx"], "--model: expected a name of letters"),
        (["--max-body", "0"], "--max-body: expected at least 1, got 0"),
        (["--timeout", "0"], "--timeout: expected seconds above 0"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key: expected both or neither"),
        (["--token-file", "missing"], "--token-file: missing cannot be read"),
        (["--host", "192.0.2.1"], "cannot listen there"),
        (["--workers", "2", "--model", "missing.onnx"], "missing.onnx: no such file"),
        (["--device", "cuda"], "cuda"),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path, flags, message):
    code, said = refused_start(tmp_path, *flags)
    assert code == 1
    assert message in said
    assert said.count("\n") == 1, said
