"""Every limit has a flag, and this is what happens at it."""

import contextlib
import json
import socket
import time

import numpy as np
import pytest
from served import binary_body, multipart, refused_start, tensor

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}


@pytest.fixture(scope="module")
def small(tmp_path_factory, asset):
    """A server with small limits."""
    from served import serving

    flags = (
        "--max-body 20000 --max-elements 2000 --max-pixels 50000 --max-pictures 2 --max-json-depth 5"
        " --max-header-bytes 2000 --max-headers 20 --receive-timeout 1"
    )
    with serving(tmp_path_factory.mktemp("small"), "--model", f"mnist={asset}", *flags.split()) as served:
        yield served


def test_below_the_limits_all_is_well(small):
    assert small.infer(ONE).status == 200


def test_body(small):
    reply = small.infer(b" " * 20001)
    assert reply.status == 413
    assert reply.error == "body: expected at most 20000 bytes, got more"
    endless = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"4000\r\n" + b"x" * 16384
    )
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
    assert small.raw(unended + b"y" * 20_000).startswith(b"HTTP/1.1 431")


def test_slow_headers_and_bodies(small):
    """A head that does not come ends the connection; a body that does not come is answered first."""
    for start in (b"", b"GET /v2 HT", b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: "):
        assert small.raw(start, timeout=30) == b""
    received = small.raw(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc", timeout=30)
    assert received.startswith(b"HTTP/1.1 408")
    assert json.loads(received.split(b"\r\n\r\n", 1)[1])["error"].startswith("request: expected all of it within 1 s")
    chunked = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    assert small.raw(chunked, timeout=30).startswith(b"HTTP/1.1 408")


def test_an_idle_connection_is_closed(small):
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as link:
        for _ in range(2):
            link.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert link.recv(1000).startswith(b"HTTP/1.1 200")
        assert link.recv(1000) == b""


def test_keep_alive_is_accepted_and_said_to_have_no_effect(tmp_path, started):
    with started("--keep-alive", "2") as server:
        assert server.get("/v2").status == 200
    assert "--keep-alive has no effect" in "".join(path.read_text() for path in tmp_path.glob("talk-*"))


def test_connections(started):
    """One more than the limit waits; health is answered on a port of its own all the same."""
    with started("--max-connections", "5", "--admin-port", "0") as server:
        request = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        links = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(5)]
        for link in links:
            link.sendall(request)
            assert link.recv(1000).startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as waiting:
            waiting.sendall(request)
            waiting.settimeout(0.5)
            with pytest.raises(TimeoutError):
                waiting.recv(1000)
            assert server.admin("/v2/health/live").json == {"live": True}
            assert server.admin("/metrics").status == 200
            links[0].close()
            waiting.settimeout(20)
            assert waiting.recv(1000).startswith(b"HTTP/1.1 200")
        for link in links:
            link.close()
        assert server.admin("/v2").status == 404
        assert server.admin("/openapi.json").status == 404


@pytest.fixture
def uploading():
    """A server, and a function that begins an upload and never ends it."""
    links = []

    def begin(server, count, length=1000):
        for _ in range(count):
            link = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            link.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nab" % length)
            links.append(link)

    yield begin
    for link in links:
        link.close()


def in_flight(server, count):
    deadline = time.monotonic() + 20
    while server.metric("mnistkit_in_flight") != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_requests_in_all(started, uploading):
    with started("--max-requests", "3") as server:
        uploading(server, 3)
        in_flight(server, 3)
        reply = server.infer(ONE)
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        assert "expected at most 3 at a time" in reply.error
        assert server.get("/v2/health/ready").status == 200


def test_requests_of_one_client(started, uploading):
    flags = ("--max-client-requests", "3", "--proxy-headers")
    with started(*flags) as server:
        uploading(server, 3)
        in_flight(server, 3)
        reply = server.infer(ONE)
        assert reply.status == 429
        assert "of one client" in reply.error
        assert server.infer(ONE, headers={"X-Forwarded-For": "203.0.113.9"}).status == 200
        assert server.get("/metrics").status == 200


def test_memory(started, uploading):
    with started("--max-memory", "50000") as server:
        uploading(server, 1, length=40_000)
        in_flight(server, 1)
        reply = server.infer(ONE["inputs"][0] and json.dumps(ONE) + " " * 20_000)
        assert reply.status == 429
        assert "expected at most 50000 bytes" in reply.error
        assert server.infer(ONE).status == 200


def test_json_has_a_bound_of_its_own(started):
    with started("--max-json", "5000") as server:
        assert server.infer(ONE).status == 200
        reply = server.infer(json.dumps(ONE) + " " * 5000)
        assert reply.status == 413
        assert reply.error == "body: expected at most 5000 bytes of JSON, got more"
        body, headers = binary_body(np.zeros((4, 784), np.float32))
        assert server.infer(body, headers=headers).status == 200
        padded = b"{" + b" " * 5000 + body[1:]
        size = str(int(headers["Inference-Header-Content-Length"]) + 5000)
        assert server.infer(padded, headers={"Inference-Header-Content-Length": size}).status == 413


def test_slow_clients_do_not_stop_others(started):
    """200 connections that send one byte a second."""
    with started("--receive-timeout", "60") as server:
        links = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        request = b"POST /v2/models/mnist/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"
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
        link.connect(("127.0.0.1", small.port))
        link.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while True:
                link.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        link.settimeout(60)
        # what is still sent meets a connection that is no more
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - the kernel tells when it likes
            while True:
                link.sendall(b"x")
                time.sleep(0.2)
    assert small.infer(ONE).status == 200


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "missing.onnx"], "missing.onnx: no such file"),
        (["--model", "a b=x.onnx"], "--model: expected a name of letters"),
        (["--max-body", "0"], "--max-body: expected at least 1, got 0"),
        (["--timeout", "0"], "--timeout: expected seconds above 0"),
        (["--timeout", "inf"], "--timeout: expected seconds above 0"),
        (["--grace", "nan"], "--grace: expected a number from 0"),
        (["--inline-ms", "-1"], "--inline-ms: expected a number from 0"),
        (["--threads", "0"], "--threads: expected 1 to 1024, got 0"),
        (["--threads", "100000"], "--threads: expected 1 to 1024, got 100000"),
        (["--cors-origin", "https://a.example, null"], "--cors-origin: expected origins or *, got null"),
        (["--port", "70000"], "--port: expected a port from 0 to 65535"),
        (["--admin-port", "-1"], "--admin-port: expected a port"),
        (["--host", ""], "--host: expected an address"),
        (["--config", "missing.toml"], "--config: missing.toml cannot be read"),
        (["--uds", "/missing/socket"], "no such folder"),
        (["--tls-client-ca", "x"], "--tls-client-ca: expected --tls-cert"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key: expected both or neither"),
        (["--token-file", "missing"], "--token-file: missing cannot be read"),
        (["--host", "192.0.2.1"], "cannot listen there"),
        (["--workers", "2", "--model", "missing.onnx"], "missing.onnx: no such file"),
        (["--device", "cuda"], "cuda"),
        (["--device", "cpu", "--provider-option", "a=1"], "provider options need a device by name"),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path, flags, message):
    code, said = refused_start(tmp_path, *flags)
    assert code == 1
    assert message in said
    assert said.count("\n") == 1, said
