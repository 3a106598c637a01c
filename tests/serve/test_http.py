"""HTTP as it reaches the application through Granian: odd, wrong and hostile requests, and the statuses they get.

A table of what an audit tried. An empty list: the connection is closed, or more is waited for, without an answer.
"""

import contextlib
import json
import re
import socket
import threading
from pathlib import Path

import pytest
from served import tensor

# fmt: off
# ruff: noqa: E501 - a line is a case
JSON = json.dumps({"inputs": [tensor([[0.5] * 784])]}).encode()
POST = b"POST /v2/models/mnist/infer HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n"
BIG = b"9" * 30
CASES = {
    "no Host (1.1)": ([400], b"GET /v2 HTTP/1.1\r\n\r\n"),
    "two Hosts": ([400], b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n"),
    "bad Host": ([400], b"GET /v2 HTTP/1.1\r\nHost: a b/<>@\r\n\r\n"),
    "foreign Host (rebinding)": ([400], b"GET /v2 HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    "CL twice same": ([400], POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"),
    "CL twice differ": ([400], POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
    "CL list 5, 5": ([400], POST + b"Content-Length: 5, 5\r\n\r\nabcde"),
    "CL +5": ([400], POST + b"Content-Length: +5\r\n\r\nabcde"),
    "CL -5": ([400], POST + b"Content-Length: -5\r\n\r\nabcde"),
    "CL 0x5": ([400], POST + b"Content-Length: 0x5\r\n\r\nabcde"),
    "CL 5 space": ([400], POST + b"Content-Length: 5 \r\n\r\nabcde"),
    "CL '5 5'": ([400], POST + b"Content-Length: 5 5\r\n\r\nabcde"),
    "CL empty": ([400], POST + b"Content-Length: \r\n\r\n"),
    "CL 1_0": ([400], POST + b"Content-Length: 1_0\r\n\r\nabcdeabcde"),
    "CL unicode digit": ([400], POST + b"Content-Length: \xd9\xa5\r\n\r\nabcde"),
    "CL 30 nines": ([400], POST + b"Content-Length: " + BIG + b"\r\n\r\n"),
    "CL 2^64+5": ([400], POST + b"Content-Length: 18446744073709551621\r\n\r\nabcde"),
    "CL name with space": ([400], POST + b"Content-Length : 5\r\n\r\nabcde"),
    "CL tab value": ([400], POST + b"Content-Length:\t5\r\n\r\nabcde"),
    "TE+CL": ([400], POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "CL+TE other order": ([400], POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    "TE chunked twice": ([400], POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE chunked, identity": ([400], POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "TE identity": ([400], POST + b"Transfer-Encoding: identity\r\n\r\n"),
    "TE xchunked": ([400], POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "TE gzip, chunked": ([400], POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "TE 'chunked' VT": ([400], POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "TE chunked on 1.0": ([400], b"POST /v2/models/mnist/infer HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE ; chunked (param)": ([400], POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    "TE TAB chunked + CL": ([400], POST + b"Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    "chunk ext": ([400], POST + b'Transfer-Encoding: chunked\r\n\r\n2;a=b;c="d"\r\n{}\r\n0\r\n\r\n'),
    "chunk ext bare LF": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n2;a\n{}\r\n0\r\n\r\n"),
    "chunk size LF only": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n"),
    "chunk data no CRLF": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n"),
    "chunk 0x2": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk -1": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n"),
    "chunk space": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n"),
    "chunk leading space": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n 2\r\n{}\r\n0\r\n\r\n"),
    "chunk 00000000000000000002": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n00000000000000000002\r\n{}\r\n0\r\n\r\n"),
    "chunk ffffffffffffffff": ([], POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}"),
    "chunk 10000000000000000 (2^64)": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{}"),
    "chunk 7fffffffffffffff": ([], POST + b"Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n{}"),
    "obs-fold": ([400], b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: b\r\n c\r\n\r\n"),
    "obs-fold first": ([400], b"GET /v2 HTTP/1.1\r\n Host: localhost\r\n\r\n"),
    "bare LF lines": ([200], b"GET /v2 HTTP/1.1\nHost: localhost\n\n"),
    "bare CR in value": ([400], b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: b\rc\r\n\r\n"),
    "CR CR LF": ([400], b"GET /v2 HTTP/1.1\r\nHost: localhost\r\r\n\r\n"),
    "NUL in value": ([400], b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n"),
    "NUL in path": ([400], b"GET /v2\0x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "NUL in name": ([400], b"GET /v2 HTTP/1.1\r\nHo\0st: a\r\n\r\n"),
    "space in name": ([400], b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX Y: z\r\n\r\n"),
    "empty name": ([400], b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n: z\r\n\r\n"),
    "no colon": ([400], b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nfoo\r\n\r\n"),
    "absolute-form": ([400], b"GET http://other.example/v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "absolute bad ipv6": ([400], b"GET http://[/v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "absolute bad port": ([400], b"GET http://a:99999999/v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "absolute no path": ([400], b"GET http://a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "authority CONNECT": ([400], b"CONNECT a:443 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "OPTIONS *": ([404], b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path //v2": ([404], b"GET //v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path /./v2": ([404], b"GET /./v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path /x/../v2": ([404], b"GET /x/../v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path ../../etc/passwd": ([404], b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path %2e%2e/page.css": ([404], b"GET /%2e%2e/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path %2Fv2": ([200], b"GET /%76%32 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path models%2F": ([200], b"GET /v2%2Fmodels%2Fmnist HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path %00": ([404], b"GET /v2%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path bad utf8": ([404], b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path raw utf8": ([404], "GET /ü HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()),
    "path %": ([404], b"GET /% HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "path #": ([200], b"GET /v2#frag HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "HTTP/0.9": ([400], b"GET /v2\r\n\r\n"),
    "HTTP/1.2": ([400], b"GET /v2 HTTP/1.2\r\nHost: localhost\r\n\r\n"),
    "HTTP/2.0": ([400], b"GET /v2 HTTP/2.0\r\nHost: localhost\r\n\r\n"),
    "h2 preface": ([], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/1.0": ([200], b"GET /v2 HTTP/1.0\r\n\r\n"),
    "HTTP/1.0 keep-alive": ([200], b"GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    "1.0 expect": ([400], POST.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"),
    "expect unknown": ([400], POST + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}"),
    "expect too large": ([413], POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"),
    "upgrade websocket": ([200], GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    "upgrade h2c + next": ([200, 200], GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nGET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "upgrade with body": ([200], POST + b"Connection: Upgrade\r\nUpgrade: foo\r\nContent-Length: %d\r\n\r\n" % len(JSON) + JSON),
    "close then next": ([200], GET + b"Connection: close\r\n\r\n" + GET + b"\r\n"),
    "HEAD": ([200], b"HEAD /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "HEAD 404": ([404], b"HEAD /nope HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "HEAD infer": ([405], b"HEAD /v2/models/mnist/infer HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "GET with body": ([200], GET + b"Content-Length: 3\r\n\r\nabc"),
    "TRACE": ([405], b"TRACE /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "made-up method": ([405], b"FOO /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "lower-case method": ([405], b"get /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "leading CRLFs": ([200], b"\r\n\r\n\r\n" + GET + b"\r\n"),
    "100 KB of CRLF": ([431], b"\r\n" * 50000 + GET + b"\r\n"),
    "101 headers": ([431], GET + b"".join(b"X%d: 1\r\n" % i for i in range(101)) + b"\r\n"),
    "101 same header": ([431], GET + b"X: 1\r\n" * 500 + b"\r\n"),
    "17 KB header": ([431], GET + b"X: " + b"a" * 17000 + b"\r\n\r\n"),
    "17 KB url": ([431], b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "TLS hello to http": ([400], bytes.fromhex("16030100f8010000f4") + bytes(100)),
    "good then bad": ([200, 400], GET + b"\r\n" + b"BAD\r\n\r\n"),
    "trailer CL": ([400], POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: x\r\n\r\n"),
    "IHCL 5000 digits": ([400], POST + b"Inference-Header-Content-Length: " + b"0" * 5000 + b"1\r\nContent-Length: 2\r\n\r\n{}"),
    "IHCL 20 zeros 999": ([400], POST + b"Inference-Header-Content-Length: " + b"0" * 20 + b"99999\r\nContent-Length: %d\r\n\r\n" % len(JSON) + JSON),
    "Content-Encoding gzip infer": ([415], POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
    "Content-Encoding gzip predict": ([415], b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
    "Range": ([200], b"GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-3\r\n\r\n"),
    "If-None-Match": ([200], b"GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n\r\n"),
}
# fmt: on


STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def answers(link, count):
    """What comes until there are ``count`` answers, and whatever comes at once behind them."""
    received = b""
    link.settimeout(20)
    while True:
        if len(STATUS.findall(received)) >= count:
            link.settimeout(0.3)
        try:
            piece = link.recv(65536)
        except (TimeoutError, ConnectionResetError):
            return received
        if not piece:
            return received
        received += piece


@pytest.mark.parametrize("case", CASES)
def test_request(server, case):
    statuses, data = CASES[case]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        link.sendall(data)
        received = answers(link, len(statuses))
    assert [int(status) for status in STATUS.findall(received)] == statuses, received[:300]
    assert b"Traceback" not in received
    assert server.get("/v2/health/live").status == 200


def test_pipelined_requests_are_answered_in_their_order(server):
    requests = [b"GET /v2/models/n%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number for number in range(200)]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        link.sendall(b"".join(requests))
        received = answers(link, 200)
    assert re.findall(rb"got 'n(\d+)'", received) == [b"%d" % number for number in range(200)]


def test_bytes_of_a_body_are_never_a_request(server):
    """A head that came before, again as the body of another request: once answered as a request of its own."""
    first = b"GET /v2/models/SMUGGLED HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outer = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        for _ in range(3):
            link.sendall(first)
            answers(link, 1)
        link.sendall(GET + b"\r\n" + outer % len(first))
        received = answers(link, 1)
        link.sendall(first)
        received += answers(link, 1)
    assert STATUS.findall(received) == [b"200", b"400"]
    assert b"SMUGGLED" not in received


@pytest.mark.parametrize("tail", [b"Content-Length: 0\r\n\r\n", b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_half_of_a_head_is_never_remembered(server, tail):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        link.sendall(GET + b"\r\nGET /v2/models/EVIL HTTP/1.1\r\nHost: localhost\r\nFoo: ")
        answers(link, 1)
        link.sendall(tail)
        answers(link, 1)
        link.sendall(tail)
        assert b"EVIL" not in answers(link, 1)


def test_a_body_behind_an_upgrade_arrives(server):
    """Java's client asks every server for h2c, with its first POST as well."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        link.sendall(POST + upgrade + b"Content-Length: %d\r\n\r\n" % len(JSON) + JSON)
        received = answers(link, 1)
    assert STATUS.findall(received) == [b"200"]
    assert b"probabilities" in received


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


def test_trailers_do_not_become_headers(started, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    wrong = CHUNKED.replace(b"Transfer", b"Authorization: Bearer wrong\r\nTransfer")
    with started("--token-file", tmp_path / "token") as server:
        for trailer in (b"", b"Authorization: Bearer secret\r\n"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
                link.sendall(wrong + trailer + b"\r\n")
                assert STATUS.findall(answers(link, 1)) == [b"401"]


def resident(pid):
    """Memory of a process in MiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) // 1024


@pytest.mark.parametrize(
    "line", [b"X: " + b"a" * 2**20, b"".join(b"X%d: %s\r\n" % (n, b"a" * 50_000) for n in range(50))]
)
def test_trailers_are_bounded(server, line):
    """A trailer that never ends, and many of them: the connection ends, and little has been kept."""
    before = resident(server.process.pid)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        with contextlib.suppress(OSError):  # the other end has had enough
            link.sendall(CHUNKED)
            for _ in range(64):
                link.sendall(line)
        answers(link, 1)
    assert resident(server.process.pid) < before + 40
    assert server.get("/v2/health/live").status == 200


def test_reading_is_paused_while_answers_are_not_taken(server):
    """Pipelined requests of a client that reads nothing: little of them is taken in."""
    before = resident(server.process.pid)
    block = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000
    sent = 0
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect(("127.0.0.1", server.port))
        link.settimeout(2)
        with contextlib.suppress(TimeoutError):
            while sent < 32 * 2**20:
                sent += link.send(block)
    assert sent < 32 * 2**20
    assert resident(server.process.pid) < before + 60


def test_a_burst_of_requests_does_not_hold_others(server):
    """Another client is answered among 256 KB of pipelined requests, not behind them."""
    one = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    count = 2**18 // len(one)
    received = []

    def read(link):
        with contextlib.suppress(OSError):
            while piece := link.recv(2**20):
                received.append(piece.count(b"HTTP/1.1 200"))

    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        reader = threading.Thread(target=read, args=(link,))
        reader.start()
        link.sendall(one * count)
        meanwhile = []
        for _ in range(5):
            before = sum(received)
            assert server.get("/v2/health/live").status == 200
            meanwhile.append(sum(received) - before)
        link.shutdown(socket.SHUT_RDWR)
        reader.join()
    assert max(meanwhile) < count / 8
