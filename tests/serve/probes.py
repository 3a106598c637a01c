# ruff: noqa: E501 - tables
"""Probes of the audit that cost too much, or look at too little, to run with every change.

pytest collects this file only by its name, as ``python benchmarks/serve_probes.py`` does.
"""

import contextlib
import io
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx  # noqa: TID253 - this file is collected only by its name
import pytest
from conftest import save_model, value
from onnx import TensorProto, helper  # noqa: TID253
from PIL import Image
from served import ROOT, multipart, serving, tensor, wait_for
from test_http import GET, POST, STATUS, answers, resident

from mnistkit.core.errors import MnistkitError
from mnistkit.core.golden import decode_golden
from mnistkit.core.runtime import Runtime
from mnistkit.digits.classifier import Classifier

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}
LARGEST = 4 * 2**20 - 4096  # bytes of JSON that are read
PATIENCE = 2.0  # seconds that nobody else may wait, on a machine that others use too


@contextlib.contextmanager
def others(server):
    """Somebody else asks all the time: gives a list of how long each answer took."""
    waits, over = [], threading.Event()

    def ask():
        while not over.is_set():
            start = time.perf_counter()
            assert server.get("/v2/health/live", timeout=120).status == 200
            waits.append(time.perf_counter() - start)
            over.wait(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()
    assert max(waits) < PATIENCE, f"somebody else waited {max(waits):.1f} s"


def processor_time(pid):
    """Seconds of the processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- one connection ---------------------------------------------------------------------------------------------------


def test_a_chunk_extension_that_never_ends(server):
    before = resident(server.process.pid)
    with others(server), socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        link.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n1;")
        with contextlib.suppress(OSError):
            for _ in range(64):
                link.sendall(b"a" * 2**20)
        answers(link, 1)
    assert resident(server.process.pid) < before + 40


@pytest.mark.parametrize("first", [b"", GET + b"\r\n"])
def test_half_a_head_is_held_no_longer_behind_a_whole_one(started, first):
    with started("--receive-timeout", "1") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
            link.sendall(first + b"GET /v2 HTTP/1.1\r\nHost")
            start = time.monotonic()
            while link.recv(65536):
                pass
        assert time.monotonic() - start < 1 + PATIENCE


def test_ten_thousand_short_connections(server):
    before = resident(server.process.pid)
    head = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for _ in range(10_000):
        assert server.raw(head).startswith(b"HTTP/1.1 200")
    assert resident(server.process.pid) < before + 40
    assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 200


def test_heads_that_all_differ_are_not_kept(server):
    before = resident(server.process.pid)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
        for number in range(10_000):
            link.sendall(b"GET /v2/models/n%d HTTP/1.1\r\nHost: localhost\r\nX-%d: 1\r\n\r\n" % (number, number))
            assert link.recv(65536).startswith(b"HTTP/1.1 404")
    assert resident(server.process.pid) < before + 40


@pytest.mark.parametrize("how", [[], ["--http1.0"], ["--http1.1"], ["--http2"]])
def test_curl(server, tmp_path, how):
    (tmp_path / "body").write_text(json.dumps(ONE))
    url = f"http://127.0.0.1:{server.port}/v2/models/mnist/infer"
    command = ["curl", "-sf", *how, "-d", f"@{tmp_path / 'body'}", "-H", "Content-Type: application/json", url]
    assert "probabilities" in subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


# --- bodies -----------------------------------------------------------------------------------------------------------


def filled(unit, *, end=b"]}]}", kind=b"FP32", head=None):
    """JSON of the largest size: a unit again and again."""
    head = head or b'{"inputs":[{"name":"image","shape":[1,784],"datatype":"%b","data":[' % kind
    return head + b",".join([unit] * ((LARGEST - len(head) - len(end)) // (len(unit) + 1))) + end


def filled_shape(unit):
    return filled(unit, head=b'{"inputs":[{"name":"image","datatype":"FP32","shape":[')


JSON_BODIES = {
    "ints": filled(b"1"),
    "floats": filled(b"0.5"),
    "nested []": filled(b"[]"),
    "nested {}": filled(b"{}"),
    "texts": filled(b'""'),
    "ragged": filled(b"[1]", end=b",[1,2]]}]}"),
    "null": filled(b"null"),
    "booleans and floats": filled(b"true,1.5"),
    "lists of one": filled(b"[[1]]"),
    "large ints": filled(b"99999999999999999"),
    "floats for INT8": filled(b"1.0", kind=b"INT8"),
    "a shape of floats": filled_shape(b"1.5"),
    "a shape of lists": filled_shape(b"[]"),
    "a shape of ints": filled_shape(b"1"),
    "a list as datatype": filled(b"1.5", head=b'{"inputs":[{"name":"image","shape":[1,784],"datatype":['),
    "objects as name": filled(b"{}", head=b'{"inputs":[{"name":['),
    "empty inputs": filled(b"{}", head=b'{"inputs":[', end=b"]}"),
    "many keys": b'{"inputs":{' + b",".join(b'"%x":0' % number for number in range(350_000)) + b"}}",
    "two megabytes of lists of one": filled(b"[[1]]")[: 2 * 2**20] + b"]}]}",
}


@pytest.mark.parametrize("case", JSON_BODIES)
def test_json_of_the_largest_size(server, case):
    with others(server):
        reply = server.infer(JSON_BODIES[case], timeout=120)
    assert reply.status == 400
    assert reply.error.isprintable()
    assert resident(server.process.pid) < 600


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
FORMS = {
    "a header of megabytes": (b'--b\r\nContent-Disposition: form-data; name="' + b"a" * 8 * 2**20 + b'"\r\n\r\nx\r\n--b--', FORM),
    "many headers": (b"--b\r\n" + b"X: y\r\n" * 500_000 + b"\r\nx\r\n--b--\r\n", FORM),
    "many parts": (b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n\r\n' * 60_000 + b"--b--\r\n", FORM),
    "almost boundaries": (b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + b"\r\n--a" * 10**6, FORM),
    "no boundary at all": (b"\r\n" * 4 * 10**6, FORM),
    "a long boundary": (b"x" * 8 * 2**20, {"Content-Type": "multipart/form-data; boundary=" + "b" * 4000}),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_hostile_forms(server, case):
    body, headers = FORMS[case]
    with others(server):
        reply = server.post("/predict", body, headers, timeout=120)
    assert 400 <= reply.status < 500
    assert resident(server.process.pid) < 600


UNWANTED = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch /tmp/owned) (w) file\n",
    "PSD": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x09\0\0\0\x09\0\x08\0\3" + bytes(99),
    "PDF": b"%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    "FITS": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80) + b"END".ljust(2720),
    "a script": b"#!/bin/sh\necho owned\n",
    "XBM": b"#define im_width 8\n#define im_height 1\nstatic char im_bits[] = {\n0xff };\n",
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(60),
    "a zip": b"PK\3\4" + bytes(60),
}  # fmt: skip


@pytest.mark.parametrize("case", UNWANTED)
def test_unwanted_formats_by_content(server, case):
    reply = server.post("/predict", UNWANTED[case])
    assert reply.status in {400, 415}
    assert "expected" in reply.error or "not a picture" in reply.error


@pytest.mark.parametrize("kind", ["TGA", "PCX", "SGI", "MSP", "DDS"])
def test_unwanted_formats_that_pillow_reads(server, kind):
    stream = io.BytesIO()
    Image.new("1" if kind == "MSP" else "RGB", (28, 28)).save(stream, kind)
    assert server.post("/predict", stream.getvalue()).status in {400, 415}


@pytest.mark.parametrize("mode", ["L", "1", "RGBA", "I;16"])
def test_the_largest_pictures_do_not_hold_others(server, mode):
    stream = io.BytesIO()
    Image.new(mode, (8000, 8000)).save(stream, "PNG", compress_level=1)
    with others(server):
        assert server.post("/predict", stream.getvalue(), timeout=120).status in {200, 422, 504}


# --- gRPC, TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    return tmp_path / "cert.pem", tmp_path / "key.pem"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_tls_is_refused(started, certificate, version):
    cert, key = certificate
    with started("--tls-cert", cert, "--tls-key", key) as server:
        for newest, code in ((version, 35), ("1.2", 0), ("1.3", 0)):
            url = f"https://127.0.0.1:{server.port}/v2"
            ended = subprocess.run(
                ["curl", "-sk", "--tls-max", newest, "--tlsv1.0", url], check=False, capture_output=True
            )
            assert ended.returncode == code, newest


def test_http_2_is_offered_over_tls_when_asked_for(started, certificate):
    cert, key = certificate
    with started("--tls-cert", cert, "--tls-key", key, "--http2") as server:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection(("127.0.0.1", server.port)) as link, context.wrap_socket(link) as wrapped:
            assert wrapped.selected_alpn_protocol() == "h2"


def infer_message(shape, *, datatype="FP32", values=None, raw=None):
    from mnistkit.serve.protocol.messages import messages

    message = messages().ModelInferRequest(model_name="mnist")
    given = message.inputs.add(name="image", datatype=datatype, shape=shape)
    if raw is None:
        given.contents.fp32_contents.extend(values or [])
    else:
        message.raw_input_contents.append(raw)
    return message.SerializeToString()


def call(port, message, metadata=()):
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            infer(message, timeout=30, metadata=metadata)
    return refused.value.code().name


MESSAGES = {
    "a negative size": lambda: infer_message([-1, 784], values=[0.5] * 784),
    "a huge shape": lambda: infer_message([2**62, 2**62], values=[0.5] * 784),
    "no row of 2^40": lambda: infer_message([0, 2**40]),
    "short raw data": lambda: infer_message([1, 784], raw=b"abc"),
    "NaN": lambda: infer_message([1, 784], raw=b"\0\0\xc0\x7f" * 784),
    "an unknown type": lambda: infer_message([1, 784], datatype="FP99", raw=bytes(3136)),
    "nothing": lambda: b"",
    "no message": lambda: b"\xff" * 40,
    "20 MB": lambda: infer_message([1, 784], raw=bytes(20 * 2**20)),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_bad_grpc_messages(server, case):
    code = call(server.grpc_port, MESSAGES[case]())
    assert code in {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}


def test_a_large_grpc_message_without_a_token_costs_little(started, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    message = infer_message([1, 784], values=[0.5] * 3_900_000)
    with started("--token-file", tmp_path / "token", "--grpc-port", "0") as server:
        before = processor_time(server.process.pid)
        with others(server):
            assert call(server.grpc_port, message) == "UNAUTHENTICATED"
        assert processor_time(server.process.pid) - before < 1


def test_http_1_on_the_grpc_port(server):
    with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=20) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answers(link, 1)
    assert server.get("/v2/health/live").status == 200


# --- operation --------------------------------------------------------------------------------------------------------


def started_by_a_shell(folder, before):
    """A server behind a line of shell, and the file with what it says."""
    talk = folder / "talk"
    command = f'{before}; exec "{sys.executable}" -m mnistkit.serve --port 0 --device cpu --threads 1 --grace 0'
    with talk.open("wb") as stderr:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, stderr=stderr, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    return process, talk


def test_few_descriptors(tmp_path):
    """More connections than there are descriptors: no spinning, and everything goes on when they have gone."""
    process, talk = started_by_a_shell(tmp_path, "ulimit -n 64")
    try:
        wait_for(lambda: re.search(r"serving .*:(\d+)\n", talk.read_text()) or process.poll() is not None)
        port = int(re.search(r"serving .*:(\d+)\n", talk.read_text())[1])
        links = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(150)]
        time.sleep(1)
        before = processor_time(process.pid)
        time.sleep(2)
        assert processor_time(process.pid) - before < 1
        for link in links:
            link.close()
        assert answers_on(port) == [b"200"]
    finally:
        process.terminate()
        process.wait(30)


def answers_on(port):
    """The statuses of a request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(GET + b"\r\n")
        return STATUS.findall(answers(link, 1))


def test_stderr_that_is_closed(tmp_path):
    process, _ = started_by_a_shell(tmp_path, "exec 2>&-")
    try:
        port = []

        def listens():
            inodes = set()
            for place in Path(f"/proc/{process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.update(re.findall(r"socket:\[(\d+)\]", str(place.readlink())))
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    port.append(int(fields[1].rpartition(":")[2], 16))
            return port or process.poll() is not None

        wait_for(listens)
        assert process.poll() is None
        assert answers_on(port[0]) == [b"200"]
    finally:
        process.terminate()
        process.wait(30)


def test_a_hundred_hangups(started):
    with started() as server:
        before = resident(server.process.pid)
        for _ in range(100):
            server.signal(signal.SIGHUP)
            time.sleep(0.01)
        wait_for(lambda: server.metric("mnistkit_reloads_total") > 0)
        assert server.infer(ONE).status == 200
        assert resident(server.process.pid) < before + 60


# --- models -----------------------------------------------------------------------------------------------------------


def edited(asset, folder, **metadata):
    """The model with other metadata."""
    model = onnx.load(asset)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    helper.set_model_props(model, entries | {f"mnistkit.{key}": text for key, text in metadata.items()})
    path = folder / "edited.onnx"
    path.write_bytes(model.SerializeToString())
    return path


ARRAY = {"dtype": "uint8", "shape": [2**20], "zlib": "eJwDAAAAAAE="}
METADATA = {
    "golden nested deeply": {"golden": "[" * 200_000 + "]" * 200_000},
    "golden with a list as inputs": {"golden": '[{"inputs":[],"outputs":[]}]'},
    "golden of a huge shape": {"golden": json.dumps([{"inputs": {"image": {**ARRAY, "shape": [2**70]}}, "outputs": {}}])},
    "golden of a dtype of dtypes": {"golden": json.dumps([{"inputs": {"image": {**ARRAY, "dtype": "f4,f4,(1000000000,)f8"}}, "outputs": {}}])},
    "golden of commas": {"golden": json.dumps([{"inputs": {"image": {**ARRAY, "dtype": "," * 5000}}, "outputs": {}}])},
    "golden of a number as data": {"golden": json.dumps([{"inputs": {"image": {**ARRAY, "zlib": 5}}, "outputs": {}}])},
    "golden as a number": {"golden": "1"},
    "labels nested deeply": {"labels": "[" * 200_000},
}  # fmt: skip


@pytest.mark.parametrize("case", METADATA)
def test_damaged_metadata_is_one_line(asset, tmp_path, case):
    runtime = Runtime(edited(asset, tmp_path, **METADATA[case]), device="cpu", threads=1)

    def read():
        decode_golden(runtime.metadata)
        Classifier(runtime)

    with pytest.raises(MnistkitError) as refused:
        read()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_odd_texts_in_metadata_do_not_disturb_the_metrics(asset, tmp_path, started):
    path = edited(asset, tmp_path, weights_sha256="a b c\nd", evil="\x1b]0;x\x07\x1b[2J")
    with started("--model", f"mnist={path}") as server:
        text = server.get("/metrics").body.decode()
        assert server.infer(ONE).status == 200
    (line,) = [line for line in text.splitlines() if line.startswith("mnistkit_model_info{")]
    assert re.fullmatch(r'mnistkit_model_info\{(\w+="[^"\n]*",?)+\} 1\.0', line)


@pytest.mark.parametrize("order", ["key first", "value first"])
@pytest.mark.parametrize("place", ["absolute", "../out.bin", "link.bin", "/dev/zero", "*/_ORT_MEM_ADDR_/*"])
def test_weights_outside_of_the_models_folder(tmp_path, place, order):
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "out.bin").write_bytes(bytes(31360))
    (folder / "link.bin").symlink_to(tmp_path / "out.bin")
    location = str(tmp_path / "out.bin") if place == "absolute" else place
    weights = helper.make_tensor("w", TensorProto.FLOAT, [784, 10], bytes(31360), raw=True)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", "0"), ("length", "31360")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, text
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "w"], ["y"])], "g",
        [value("image", TensorProto.FLOAT, ["b", 784])], [value("y", TensorProto.FLOAT, ["b", 10])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    if order == "value first":
        key, text = b"\x0a\x08location", b"\x12" + bytes([len(location)]) + location.encode()
        assert key + text in model
        model = model.replace(key + text, text + key)
    (folder / "m.onnx").write_bytes(model)
    with pytest.raises(MnistkitError):
        Runtime(folder / "m.onnx", device="cpu", threads=1)


def test_an_unknown_operator_is_refused(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Evil", ["image"], ["y"], domain="evil.ops")], "g",
        [value("image", TensorProto.FLOAT, ["b", 784])], [value("y", TensorProto.FLOAT, ["b", 10])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(MnistkitError):
        Runtime(tmp_path / "m.onnx", device="cpu", threads=1)


@pytest.mark.parametrize("classes", [0, 7])
def test_a_model_of_other_outputs_reads_no_pictures(tmp_path, classes):
    nodes = [helper.make_node("Slice", ["image", "a", "z", "x"], ["y"])]
    numbers = [onnx.numpy_helper.from_array(np.array([n]), name) for name, n in (("a", 0), ("z", classes), ("x", 1))]
    path = save_model(
        tmp_path / "m.onnx", nodes, [value("image", TensorProto.FLOAT, ["b", 784])],
        [value("y", TensorProto.FLOAT, ["b", "c"])], numbers,
    )  # fmt: skip
    with serving(tmp_path, "--model", f"m={path}") as server:
        reply = server.infer(ONE, model="m")
        assert reply.status == 200
        assert reply.json["outputs"][0]["shape"] == [1, classes]
        body, headers = multipart(("a.png", b"x"))
        assert server.post("/predict", body, headers).status in {400, 404}


def test_a_page_full_of_dots_is_read_in_linear_time(classifier):
    from mnistkit.digits.numbers import read_digits

    def seconds(side):
        page = np.full((side * 12, side * 12), 255, np.uint8)
        for row in range(side):
            for column in range(side):
                page[row * 12 + 4 : row * 12 + 7, column * 12 + 4 : column * 12 + 7] = 0
        start = time.process_time()
        with contextlib.suppress(MnistkitError):
            read_digits(page, classifier)
        return time.process_time() - start

    seconds(10)
    assert seconds(80) < 10 * max(seconds(40), 0.05)  # four times as many dots
