"""Who may ask, and what a refusal tells."""

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess

import numpy as np
import pytest
from served import tensor, wait_for

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]:8000"])
def test_loopback_names_are_served_by_default(server, host):
    assert server.get("/v2", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil@localhost", ""]
)
def test_other_names_are_refused(server, host):
    reply = server.get("/v2", headers={"Host": host})
    assert reply.status == 400
    assert "header Host: expected" in reply.error


def test_allowed_hosts(started):
    with started("--allowed-hosts", "api.example, localhost") as server:
        assert server.get("/v2", headers={"Host": "api.example:443"}).status == 200
        assert server.get("/v2", headers={"Host": "localhost"}).status == 200
        assert server.get("/v2").status == 400  # 127.0.0.1 is not among them
    with started("--allowed-hosts", "*") as server:
        assert server.get("/v2", headers={"Host": "any.example"}).status == 200
        assert server.get("/v2", headers={"Host": "a b"}).status == 400


CROSS = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("headers", CROSS)
def test_a_page_of_another_site_cannot_post(server, headers):
    reply = server.infer(ONE, headers={"Content-Type": "text/plain", **headers})
    assert reply.status == 403
    assert "header Origin: expected this server's" in reply.error
    assert server.get("/v2", headers=headers).status == 200  # it cannot read the answer, and it costs nothing


def test_the_servers_own_page_can_post(server):
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.infer(ONE, headers=own).status == 200
    assert server.infer(ONE, headers={"Sec-Fetch-Site": "none"}).status == 200
    other_port = {"Origin": f"http://127.0.0.1:{server.port + 1}"}
    assert server.infer(ONE, headers=other_port).status == 403


def test_a_private_network_preflight(started):
    ask = {"Origin": "https://a.example", "Access-Control-Request-Private-Network": "true"}
    with started("--cors-origin", "https://a.example") as server:
        allowed = server.ask("OPTIONS", "/predict", headers=ask)
        assert allowed.headers["access-control-allow-private-network"] == "true"
        other = server.ask("OPTIONS", "/predict", headers={**ask, "Origin": "https://evil.example"})
        assert "access-control-allow-private-network" not in other.headers
        assert server.infer(ONE, headers={**ask, "Sec-Fetch-Site": "cross-site"}).status == 200


def test_nosniff_on_everything(server):
    for path in ("/", "/page.js", "/v2", "/metrics", "/openapi.json", "/nothing", "/predict"):
        assert server.get(path).headers["x-content-type-options"] == "nosniff", path
    assert server.infer(ONE).headers["x-content-type-options"] == "nosniff"


def test_the_token_comes_before_the_body(started, tmp_path):
    """A refusal is there before a byte of the body has been sent."""
    (tmp_path / "token").write_text("secret\n")
    head = b"POST /v2/models/mnist/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
    with started("--token-file", tmp_path / "token") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
            link.sendall(head + b"\r\n")
            assert link.recv(1000).startswith(b"HTTP/1.1 401")
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as link:
            link.sendall(head + b"Authorization: Bearer secret\r\nExpect: 100-continue\r\n\r\n")
            assert link.recv(1000).startswith(b"HTTP/1.1 100")


def test_the_token_is_read_again_on_sighup(started, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    with started("--token-file", token) as server:

        def status(value):
            return server.get("/v2", headers={"Authorization": f"Bearer {value}"}).status

        assert status("first") == 200
        token.write_text("second\n")
        assert status("second") == 401
        server.signal(signal.SIGHUP)
        wait_for(lambda: status("second") == 200)
        assert status("first") == 401
        token.write_text("")
        server.signal(signal.SIGHUP)
        wait_for(lambda: any("token not read again" in event.get("event", "") for event in server.events()))
        assert status("second") == 200


def test_names_of_models_need_the_token(started, tmp_path, asset):
    (tmp_path / "token").write_text("secret\n")
    with started("--token-file", tmp_path / "token", "--model", f"hidden={asset}") as server:
        reply = server.get("/v2/models/other/ready")
        assert reply.status == 404
        assert "hidden" not in reply.error
        told = server.get("/v2/models/other/ready", headers={"Authorization": "Bearer secret"})
        assert told.status == 404
        assert "hidden" in told.error


def test_no_path_of_the_server_is_told(server, gather_model):
    reply = server.infer({"inputs": [tensor([9], name="index", datatype="INT32")]}, model="gather")
    assert reply.status == 400
    assert "onnxruntime refuses the input" in reply.error
    assert str(gather_model.parent) not in reply.error


def certificate(folder, name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{name}-key.pem", "-out", f"{name}.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / f"{name}.pem", folder / f"{name}-key.pem"


def presented(port):
    """The certificate that a server shows."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=20)


def test_certificates_are_read_again_on_sighup(started, tmp_path):
    first, first_key = certificate(tmp_path, "first")
    second, second_key = certificate(tmp_path, "second")
    shown, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(first, shown)
    shutil.copy(first_key, key)
    with started("--tls-cert", shown, "--tls-key", key) as server:
        assert presented(server.port).split() == first.read_text().split()
        shown.write_text("nonsense")
        server.signal(signal.SIGHUP)
        wait_for(lambda: any("certificate not read again" in event.get("event", "") for event in server.events()))
        assert presented(server.port).split() == first.read_text().split()
        shutil.copy(second, shown)
        shutil.copy(second_key, key)
        server.signal(signal.SIGHUP)
        wait_for(lambda: presented(server.port).split() == second.read_text().split())
        server.signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def signed(folder, name, authority):
    """A certificate that an authority has signed."""
    cert, key = authority
    subprocess.run(
        ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}-key.pem",
         "-out", f"{name}.csr"], cwd=folder, check=True, capture_output=True)  # fmt: skip
    (folder / "extensions").write_text("basicConstraints=CA:FALSE\nsubjectAltName=DNS:client\n")
    subprocess.run(
        ["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", cert, "-CAkey", key, "-CAcreateserial", "-days", "2",
         "-extfile", "extensions", "-out", f"{name}.pem"], cwd=folder, check=True, capture_output=True)  # fmt: skip
    return folder / f"{name}.pem", folder / f"{name}-key.pem"


def test_client_certificates(started, tmp_path):
    cert, key = certificate(tmp_path, "server")
    authority, stranger = certificate(tmp_path, "authority"), certificate(tmp_path, "stranger")
    known, known_key = signed(tmp_path, "known", authority)
    other, other_key = signed(tmp_path, "other", stranger)
    with started("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", authority[0]) as server:

        def ask(*chain):
            context = ssl.create_default_context(cafile=cert)
            if chain:
                context.load_cert_chain(*chain)
            with (
                socket.create_connection(("127.0.0.1", server.port), timeout=20) as link,
                context.wrap_socket(link, server_hostname="127.0.0.1") as wrapped,
            ):
                wrapped.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return wrapped.recv(1000)

        assert ask(known, known_key).startswith(b"HTTP/1.1 200")
        for chain in ((), (other, other_key)):
            with pytest.raises(OSError):
                assert ask(*chain) == b"x"


def test_connections_without_a_handshake_take_no_place(started, tmp_path):
    """As many as the limit and more of them: others are served, and all are let go in the end."""
    cert, key = certificate(tmp_path, "server")
    with started("--tls-cert", cert, "--tls-key", key, "--max-connections", "10", "--receive-timeout", "3") as server:
        silent = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(60)]
        context = ssl.create_default_context(cafile=cert)
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=20) as link,
            context.wrap_socket(link, server_hostname="127.0.0.1") as wrapped,
        ):
            wrapped.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wrapped.recv(1000).startswith(b"HTTP/1.1 200")
        for link in silent:
            assert link.recv(1) == b""
            link.close()


def test_grpc_streams_without_a_token_take_no_place(started, tmp_path):
    """150 calls that send no message, once enough to close gRPC to all."""
    import threading

    import grpc
    import tritonclient.grpc

    (tmp_path / "token").write_text("secret\n")
    with started("--token-file", tmp_path / "token", "--grpc-port", "0", "--receive-timeout", "3") as server:
        stop = threading.Event()

        def never():
            stop.wait(60)
            yield from ()

        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
            silent = [call.future(never()) for _ in range(150)]
            with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
                assert client.is_server_live()
                assert client.get_server_metadata(headers={"authorization": "Bearer secret"}).name == "mnistkit"
            assert {future.code() for future in silent} == {grpc.StatusCode.UNAUTHENTICATED}
            metadata = (("authorization", "Bearer secret"),)
            slow = call.future(never(), metadata=metadata)
            assert slow.code() == grpc.StatusCode.DEADLINE_EXCEEDED  # after --receive-timeout
            stop.set()


def test_grpc_names_need_the_token_and_calls_are_logged(started, tmp_path):
    import tritonclient.grpc
    from tritonclient.utils import InferenceServerException

    (tmp_path / "token").write_text("secret\n")
    with started("--token-file", tmp_path / "token", "--grpc-port", "0") as server:
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
            assert client.is_model_ready("mnist")
            with pytest.raises(InferenceServerException, match="expected the name of a model"):
                client.is_model_ready("other")
        wait_for(lambda: any("ModelReady" in str(event.get("path")) for event in server.events()))


def test_grpc_health_and_reflection(server):
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "inference.GRPCInferenceService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError):
            health.Check(health_pb2.HealthCheckRequest(service="other"), timeout=20)
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = next(stub.ServerReflectionInfo(iter([request]), timeout=20)).list_services_response
        assert "inference.GRPCInferenceService" in {service.name for service in listed.service}
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.ModelInferRequest")
        (file,) = next(
            stub.ServerReflectionInfo(iter([request]), timeout=20)
        ).file_descriptor_response.file_descriptor_proto
        assert b"raw_input_contents" in file


def test_request_ids(server):
    own = server.get("/v2", headers={"X-Request-Id": "abc-123"})
    assert own.headers["x-request-id"] == "abc-123"
    made = {server.get("/v2").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for wrong in ("a b", "x" * 200, "ü"):
        assert server.get("/v2", headers={"X-Request-Id": wrong.encode()}).headers["x-request-id"] != wrong


def test_refused_requests_are_logged_too(started):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with started("--max-body", "1000") as server:
        server.get("/v2", headers={"Host": "evil.example", "X-Request-Id": "one"})
        server.post("/predict", b"x" * 2000, {"X-Request-Id": "two", "User-Agent": "me", "traceparent": trace})
        server.get("/%C2%9B31m", headers={"X-Request-Id": "three", "X-Forwarded-For": "203.0.113.1"})
        wait_for(lambda: len(server.events()) >= 3)
        found = {event["id"]: event for event in server.events()}
        assert {name: found[name]["status"] for name in ("one", "two", "three")} == {
            "one": 400,
            "two": 413,
            "three": 404,
        }
        assert (found["two"]["user_agent"], found["two"]["traceparent"]) == ("me", trace)
        assert found["three"]["forwarded_for"] == "203.0.113.1"
        assert found["three"]["client"] == "127.0.0.1"
        assert "\x9b" not in server.log.read_text()
        assert re.search(r'"path":"/\\\\x9b31m"', server.log.read_text())
        assert json.loads(server.log.read_text().splitlines()[0])


def test_http2_when_asked_for(started):
    """By curl, which frames it; without the flag the same client falls back or fails."""
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("there is no curl that speaks HTTP/2")

    def ask(server, *flags):
        command = [curl, "-s", "-m", "60", *flags, "-w", " %{http_code} %{http_version}", "-d", json.dumps(ONE),
                   f"http://localhost:{server.port}/v2/models/mnist/infer"]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with started("--http2") as server:
        assert ask(server, "--http2-prior-knowledge").stdout.endswith(" 200 2")
        assert ask(server, "--http2-prior-knowledge", "-H", "Host: evil.example").stdout.endswith(" 400 2")
        assert ask(server).stdout.endswith(" 200 1.1")
    with started() as server:
        assert ask(server, "--http2").stdout.endswith(" 200 1.1")  # asks for h2c, with its body
        assert ask(server, "--http2-prior-knowledge").returncode != 0
