"""HTTP/1.1 as clients really speak it: in pieces, in a row, half closed; and heads that come again."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from served import binary_body, tensor

PATH = b"/v2/models/mnist/infer"


def post(body, *, path=PATH, version=b"1.1", headers=()):
    lines = [b"POST %s HTTP/%s" % (path, version), b"Host: localhost", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", b""]) + body


class Link:
    """A bare connection that reads one answer at a time."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """Status, headers and body; ``None`` when the other end has closed."""
        line = self.file.readline()
        if not line:
            return None
        headers = {}
        while (header := self.file.readline()) != b"\r\n":
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(line.split()[1]), headers, self.file.read(int(headers.get("content-length", 0)))


@pytest.fixture(scope="module")
def documents(digits):
    """For each digit a JSON request; all of one length, so that their heads are the same bytes."""
    found = [json.dumps({"inputs": [tensor(image.reshape(1, 784), datatype="UINT8")]}).encode() for image in digits]
    longest = max(map(len, found))
    return [document + b" " * (longest - len(document)) for document in found]


@pytest.fixture(scope="module")
def binaries(digits):
    """The same with raw tensors: bodies, and the header they need."""
    made = [binary_body(image.reshape(1, 784).astype(np.float32) / np.float32(255), output=False) for image in digits]
    return [body for body, _ in made], b"Inference-Header-Content-Length: " + made[0][1].popitem()[1].encode()


def digit(answer):
    status, _, body = answer
    assert status == 200, body
    return int(np.argmax(json.loads(body)["outputs"][0]["data"]))


def test_the_same_head_again_with_other_bodies(server, documents, binaries):
    bodies, header = binaries
    with Link(server) as link:
        for _ in range(3):
            for number in range(10):
                link.send(post(documents[number]))
                assert digit(link.answer()) == number
        for number in range(10):
            link.send(post(bodies[number], headers=[header]))
            assert digit(link.answer()) == number


def test_heads_that_differ_are_told_apart(server, documents, binaries):
    """Each request after one whose head was remembered, and differs from it in one thing."""
    bodies, header = binaries
    with Link(server) as link:
        for number in range(10):
            for _ in range(2):
                link.send(post(documents[number]))
                assert digit(link.answer()) == number
            link.send(post(bodies[number], headers=[header]))
            assert digit(link.answer()) == number
            link.send(post(documents[number], headers=[b"Content-Encoding: gzip"]))
            assert link.answer()[0] == 415
            link.send(post(documents[number], path=b"/v2/models/none/infer"))
            assert link.answer()[0] == 404
            link.send(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
            assert [link.answer()[0], link.answer()[0]] == [200, 200]


def test_a_body_that_looks_like_the_end_of_a_head(server, documents):
    """Two requests in one piece, the first with an empty line in its body, must not be taken for one."""
    trick = b"\r\n\r\n" + b"x" * 20
    with Link(server) as link:
        for number in range(4):
            link.send(post(trick) + post(documents[number]))
            assert link.answer()[0] == 400
            assert digit(link.answer()) == number
            link.send(post(trick))
            assert link.answer()[0] == 400
            link.send(post(documents[number]))
            assert digit(link.answer()) == number


def test_known_head_with_a_body_in_pieces(server, documents):
    with Link(server) as link:
        for number in range(5):
            link.send(post(documents[number]))
            assert digit(link.answer()) == number
            whole = post(documents[number + 5])
            for start in range(0, len(whole), 1000):
                link.send(whole[start : start + 1000])
                time.sleep(0.002)
            assert digit(link.answer()) == number + 5


def test_pipelined_in_one_piece(server, documents):
    with Link(server) as link:
        link.send(b"".join(map(post, documents)) * 3)
        assert [digit(link.answer()) for _ in range(30)] == [*range(10)] * 3


def test_pipelined_behind_a_slow_one(server, documents):
    slow = json.dumps({"inputs": [tensor(np.full((1, 1024), 3.0), name="x")]}).encode()
    with Link(server) as link:
        for number in range(3):
            link.send(post(documents[number]))
            assert digit(link.answer()) == number
            link.send(post(slow, path=b"/v2/models/slow/infer"))
            link.send(post(documents[number + 3]))
            link.send(post(documents[number + 6]))
            assert json.loads(link.answer()[2])["model_name"] == "slow"
            assert [digit(link.answer()), digit(link.answer())] == [number + 3, number + 6]


def test_one_byte_at_a_time(server, documents, binaries):
    bodies, header = binaries
    with Link(server) as link:
        link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, whole in ((3, post(documents[3])), (8, post(bodies[8], headers=[header]))):
            for place in range(len(whole)):
                link.send(whole[place : place + 1])
            assert digit(link.answer()) == number


def test_binary_in_chunks(server, binaries):
    bodies, header = binaries
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n" % (PATH, header)
    with Link(server) as link:
        for number in range(10):
            pieces = [bodies[number][start : start + 700] for start in range(0, len(bodies[number]), 700)]
            link.send(head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
            assert digit(link.answer()) == number


def test_http_1_0_closes_unless_asked_to_keep(server, documents):
    with Link(server) as link:
        for number in range(3):
            link.send(post(documents[number], version=b"1.0", headers=[b"Connection: keep-alive"]))
            assert digit(link.answer()) == number
        link.send(post(documents[7], version=b"1.0"))
        assert digit(link.answer()) == 7
        assert link.answer() is None


def test_connection_close_after_a_remembered_head(server, documents):
    with Link(server) as link:
        for number in range(2):
            link.send(post(documents[number]))
            assert digit(link.answer()) == number
        link.send(post(documents[9], headers=[b"Connection: close"]))
        status, headers, _ = link.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert link.answer() is None


def test_expect_continue_every_time(server, documents):
    head = post(b"", headers=[b"Expect: 100-continue"]).replace(b"Length: 0", b"Length: %d" % len(documents[0]))
    with Link(server) as link:
        for number in range(4):
            link.send(head)
            assert link.file.readline().startswith(b"HTTP/1.1 100")
            assert link.file.readline() == b"\r\n"
            link.send(documents[number])
            assert digit(link.answer()) == number


def test_expect_continue_by_a_client_that_does_not_wait(server, documents):
    with Link(server) as link:
        for number in range(3):
            link.send(post(documents[number], headers=[b"Expect: 100-continue"]))
            assert link.file.readline().startswith(b"HTTP/1.1 100")  # before the answer, never behind it
            assert link.file.readline() == b"\r\n"
            assert digit(link.answer()) == number


def test_head_repeated(server):
    with Link(server) as link:
        for _ in range(3):
            link.send(b"HEAD /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert link.file.readline().startswith(b"HTTP/1.1 200")
            while link.file.readline() != b"\r\n":
                pass
        link.send(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert json.loads(link.answer()[2]) == {"live": True}


def test_a_client_that_stops_sending_is_taken_for_gone(server, documents):
    """Granian's HTTP closes a connection whose client has closed its half; others are served on."""
    slow = json.dumps({"inputs": [tensor(np.full((1, 1024), 5.0), name="x")]}).encode()
    with Link(server) as link:
        link.send(post(slow, path=b"/v2/models/slow/infer"))
        link.socket.shutdown(socket.SHUT_WR)
        assert link.answer() is None
    with Link(server) as link:
        link.send(post(documents[3]))
        assert digit(link.answer()) == 3


def test_an_answer_larger_than_the_sockets_buffer(server):
    """A client that reads slowly gets all of it, and the next answer right behind."""
    rows = np.arange(400_000, dtype=np.float32).reshape(4, 100_000)
    inputs = [tensor(rows, name="x"), tensor(np.arange(4), name="number", datatype="INT64")]
    body = json.dumps({"inputs": inputs}).encode()
    with Link(server) as link:
        link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        for _ in range(2):
            link.send(post(body, path=b"/v2/models/echo/infer"))
        link.send(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.3)
        for _ in range(2):
            outputs = json.loads(link.answer()[2])["outputs"]
            assert np.array_equal(outputs[0]["data"], 2 * rows.ravel())
        assert json.loads(link.answer()[2]) == {"live": True}


def test_many_connections_never_get_each_others_answers(server, documents, binaries):
    bodies, header = binaries

    def run(number):
        with Link(server) as link:
            for _ in range(30):
                link.send(post(documents[number]))
                assert digit(link.answer()) == number
                link.send(post(bodies[number], headers=[header]))
                assert digit(link.answer()) == number

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(run, range(10)))


def test_a_binary_header_seen_before_excuses_nothing(server):
    """Sizes and values are checked every time; only the header is not read again."""
    good, headers = binary_body(np.full((1, 784), 0.5, np.float32))
    for _ in range(3):
        assert server.infer(good, headers=headers).status == 200
    short = server.infer(good[:-4], headers=headers)
    assert short.status == 400
    assert "inputs[0].parameters.binary_data_size: expected a number up to the 3132 bytes left" in short.error
    assert "got 4 bytes behind them" in server.infer(good + b"1234", headers=headers).error
    for wrong in (np.nan, -0.5, 1.5, np.inf, -np.inf):
        body, _ = binary_body(np.full((1, 784), wrong, np.float32))
        assert "floats must lie in [0, 1]" in server.infer(body, headers=headers).error
    minus_zero, _ = binary_body(np.full((1, 784), -0.0, np.float32))
    assert server.infer(minus_zero, headers=headers).status == 200
    assert server.infer(good, headers=headers).status == 200
