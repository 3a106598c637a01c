"""What an operator does to a server, and what happens to it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from served import both_serve, children, refused_start, tensor, wait_for

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}


def row(number):
    return {"inputs": [tensor(np.full((1, 1024), float(number)), name="x")]}


class Load:
    """Clients that ask all the time and note every answer, or its absence."""

    def __init__(self, server, count=4, document=ONE, model="mnist"):
        self.server, self.body = server, json.dumps(document)
        self.path = f"/v2/models/{model}/infer"
        self.statuses, self.lost, self.refused = [], [], 0
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]

    def run(self):
        connection = None
        while not self.stopped.is_set():
            try:
                if connection is None:
                    connection = self.server.connect(10)
                    connection.connect()
            except OSError:  # the listener is gone: nothing was accepted, so nothing can be lost
                self.refused += 1
                connection = None
                time.sleep(0.02)
                continue
            try:
                connection.request("POST", self.path, self.body)
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
                if response.will_close:
                    connection.close()
                    connection = None
            except OSError as error:
                self.lost.append(repr(error))
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def test_sigterm_under_load_loses_no_request(started):
    with started("--grace", "1") as server, Load(server) as load:
        wait_for(lambda: len(load.statuses) > 50)
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        ready = server.get("/v2/health/ready")
        assert (ready.status, ready.json) == (503, {"ready": False})
        assert server.get("/v2/health/live").status == 200
        assert server.process.wait(15) == 0
        load.stopped.set()
    assert set(load.statuses) == {200}
    assert load.lost == []


def test_sigterm_waits_for_what_is_running(started, slow_model):
    with started("--model", slow_model, "--grace", "0") as server, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(server.infer, row(number), model="slow") for number in range(3)]
        time.sleep(0.15)
        server.signal(signal.SIGTERM)
        answers = [future.result() for future in asked]
        assert server.process.wait(15) == 0
    assert [answer.status for answer in answers] == [200] * 3
    for number, answer in enumerate(answers):
        assert np.allclose(answer.json["outputs"][0]["data"], number, atol=1e-2)


def test_a_second_signal_cuts_the_waiting_short(started):
    with started("--grace", "60") as server:
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_a_full_queue_gives_429_and_health_stays(started, slow_model):
    with started("--model", slow_model, "--max-queue", "2", "--max-batch", "1") as server:
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(server.infer, row(number), model="slow") for number in range(12)]
            time.sleep(0.05)
            for _ in range(5):
                assert server.get("/v2/health/live").status == 200
                assert server.get("/v2/health/ready").status == 200
                assert server.get("/metrics").status == 200
            answers = [future.result() for future in asked]
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {200, 429}
        for number, answer in enumerate(answers):
            if answer.status == 429:
                assert answer.headers["retry-after"] == "1"
                assert "the queue is full: expected at most 2 requests waiting" in answer.error
            else:
                assert np.allclose(answer.json["outputs"][0]["data"], number, atol=1e-2)
        assert server.infer(row(7), model="slow").status == 200


def test_the_deadline_covers_queue_and_compute(started, slow_model):
    with started("--model", slow_model, "--timeout", "0.005") as server:
        reply = server.infer(row(1), model="slow")
        assert reply.status == 504
        assert "expected an answer within 0.005 s" in reply.error
        time.sleep(0.5)
        assert server.get("/v2/health/ready").status == 200


def test_batches_form_while_busy_and_everyone_gets_their_own_answer(started, slow_model):
    with started("--model", slow_model, "--max-batch", "8") as server, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: server.infer(row(number), model="slow"), range(16)))
        for number, answer in enumerate(answers):
            assert np.allclose(answer.json["outputs"][0]["data"], number, atol=1e-2)
        runs, rows = server.metric("mnistkit_batch_rows_count"), server.metric("mnistkit_batch_rows_sum")
        assert rows == 16
        assert runs < 12


def test_no_batches_when_turned_off(started, slow_model):
    with started("--model", slow_model, "--max-batch", "1") as server, ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: server.infer(row(number), model="slow"), range(6)))
        assert server.metric("mnistkit_batch_rows_count") == 6


def test_small_requests_queue_when_told_to(started, digits):
    """With --inline-ms 0 even the smallest goes through the queue, here with two workers: all answers stay right."""
    one = [{"inputs": [tensor(digits[digit].reshape(1, 784), datatype="UINT8")]} for digit in range(10)]
    with started("--inline-ms", "0", "--concurrency", "2", "--max-batch", "4") as server, ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            answers = list(pool.map(server.infer, one))
            assert [int(np.argmax(answer.json["outputs"][0]["data"])) for answer in answers] == list(range(10))


def test_what_does_not_finish_in_time_is_given_up(started, slow_model):
    flags = ("--model", slow_model, "--grace", "0", "--stop-timeout", "0.3", "--max-batch", "1")
    with started(*flags) as server, ThreadPoolExecutor(20) as pool:
        heavy = {"inputs": [tensor(np.ones((64, 1024)), name="x")]}
        asked = [pool.submit(server.infer, heavy, model="slow") for _ in range(20)]
        wait_for(lambda: server.metric("mnistkit_in_flight") >= 15)
        before = time.monotonic()
        server.signal(signal.SIGTERM)
        server.process.wait(20)
        assert time.monotonic() - before < 10
        assert server.events()[-1]["event"] == "stopped"
        assert server.events()[-1]["unfinished"] > 0
        assert any(future.exception() for future in asked)


def other_model(asset):
    """The same model with another bias: a file that is in order but is not what its golden pairs say."""
    import onnxfile

    content = asset.read_bytes()
    bias = onnxfile.classes_bias(content)
    return onnxfile.replaced(content, bias, onnxfile.read(content, bias) + np.linspace(0, 3, 10))


@pytest.mark.parametrize("bad", ["truncated", "empty", "text", "gone", "unproven", "another kind"])
def test_a_bad_file_on_reload_leaves_the_old_model_serving(started, asset, echo_model, tmp_path, bad):
    path = Path(shutil.copy(asset, tmp_path / "m.onnx"))
    with started("--model", path) as server:
        before = server.infer(ONE, model="m").json
        good = asset.read_bytes()
        content = {"truncated": good[: len(good) // 2], "empty": b"", "text": b"<html>",
                   "unproven": other_model(asset), "another kind": echo_model.read_bytes()}.get(bad)  # fmt: skip
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        server.signal(signal.SIGHUP)
        wait_for(lambda: any("not reloaded" in event.get("event", "") for event in server.events()))
        assert server.infer(ONE, model="m").json == before
        assert server.metric("mnistkit_reloads_total") == 1
        assert 'result="refused"' in server.get("/metrics").body.decode()


def test_reload_swaps_under_load(started, asset, tmp_path):
    path = Path(shutil.copy(asset, tmp_path / "m.onnx"))
    with started("--model", path) as server, Load(server, model="m") as load:
        for _ in range(3):
            count = len(load.statuses)
            server.signal(signal.SIGHUP)
            wait_for(lambda count=count: len(load.statuses) > count + 20)
        wait_for(lambda: sum(event.get("event") == "reloaded" for event in server.events()) == 3)
        load.stopped.set()
    assert set(load.statuses) == {200}
    assert load.lost == []


def test_watch_reloads_by_itself(started, asset, tmp_path):
    path = Path(shutil.copy(asset, tmp_path / "m.onnx"))
    with started("--model", path, "--watch") as server:
        path.write_bytes(b"nonsense")
        wait_for(lambda: any("not reloaded" in event.get("event", "") for event in server.events()))
        time.sleep(1.5)
        assert sum("not reloaded" in event.get("event", "") for event in server.events()) == 1
        assert server.infer(ONE, model="m").status == 200
        fresh = tmp_path / "fresh.onnx"
        shutil.copy(asset, fresh)
        fresh.replace(path)
        wait_for(lambda: any(event.get("event") == "reloaded" for event in server.events()))


def test_workers_survive_the_death_of_one(started):
    with started("--workers", "2") as server:
        victim = both_serve(server)[0]
        with Load(server) as load:
            wait_for(lambda: len(load.statuses) > 50)
            os.kill(victim, signal.SIGKILL)
            count = len(load.statuses)
            wait_for(lambda: len(load.statuses) > count + 50)
            wait_for(lambda: len(set(children(server.process.pid)) - {victim}) == 2)
            time.sleep(1)
            load.stopped.set()
        assert set(load.statuses) == {200}
        assert len(load.lost) <= 4  # those that the victim itself was answering: one for each connection at most
        assert server.metric("mnistkit_requests_total") > 100
        server.signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def sockets(pid):
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            names.append(str(link.readlink()))
    return sum(name.startswith("socket") for name in names)


def test_workers_share_a_burst_of_connections(started):
    with started("--workers", "2") as server:
        workers = both_serve(server)
        before = [sockets(worker) for worker in workers]
        links = [socket.socket() for _ in range(64)]
        for link in links:
            link.connect(("127.0.0.1", server.port))
        wait_for(lambda: sum(map(sockets, workers)) == sum(before) + 64)
        shares = [sockets(worker) - count for worker, count in zip(workers, before, strict=True)]
        assert min(shares) >= 10, shares
        for link in links:
            link.close()


def test_new_connections_go_to_the_workers_that_live(started):
    with started("--workers", "2") as server:
        victim = both_serve(server)[0]
        os.kill(victim, signal.SIGKILL)
        # until its last thread has ended, the kernel may still hand it a connection, which is reset then
        wait_for(lambda: not Path(f"/proc/{victim}").exists())
        assert [server.infer(ONE).status for _ in range(20)] == [200] * 20


def test_what_was_counted_never_shrinks(started):
    with started("--workers", "2") as server:
        workers = both_serve(server)
        for _ in range(40):
            server.infer(ONE)
        wait_for(lambda: server.metric("mnistkit_batch_rows_count") == 40)  # the others' numbers are half a second old
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: len(set(children(server.process.pid)) - set(workers)) == 1)
        assert server.metric("mnistkit_batch_rows_count") == 40
        both_serve(server)
        assert server.metric("mnistkit_batch_rows_count") == 40
        assert server.metric("mnistkit_model_info") == 1


def test_two_servers_of_several_workers_do_not_share_a_port(started, tmp_path):
    with started("--workers", "2") as server:
        code, said = refused_start(tmp_path, "--workers", "2", "--port", str(server.port))
        assert code == 1
        assert "cannot listen there" in said


def test_workers_stop_when_their_parent_is_killed(started):
    with started("--workers", "2") as server:
        wait_for(lambda: len(children(server.process.pid)) == 2)
        workers = children(server.process.pid)
        server.signal(signal.SIGKILL)
        server.process.wait()
        wait_for(lambda: not any(alive(worker) for worker in workers))


def alive(pid):
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def test_workers_reload(started, asset, tmp_path):
    path = Path(shutil.copy(asset, tmp_path / "m.onnx"))
    with started("--model", path, "--workers", "2") as server:
        both_serve(server)
        server.signal(signal.SIGHUP)
        wait_for(lambda: sum(event.get("event") == "reloaded" for event in server.events()) == 2)


def test_token(started, tmp_path, png):
    (tmp_path / "token").write_text("s3cret\n")
    with started("--token-file", tmp_path / "token", "--grpc-port", "0") as server:
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/mnist/ready", "/", "/page.js", "/docs"):
            assert server.get(path).status == 200, path
        for method, path in (("GET", "/v2"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("POST", "/predict"),
                             ("POST", "/v2/models/mnist/infer")):  # fmt: skip
            reply = server.ask(method, path)
            assert reply.status == 401, path
            assert reply.headers["www-authenticate"] == "Bearer"
            assert "s3cret" not in reply.error
        for wrong in ("Bearer other", "Bearer ", "s3cret", "Basic s3cret"):
            assert server.get("/v2", headers={"Authorization": wrong}).status == 401
        right = {"Authorization": "Bearer s3cret"}
        assert server.get("/v2", headers=right).status == 200
        assert server.infer(ONE, headers=right).status == 200
        assert server.post("/predict", png(2), right).json["predictions"][0]["digit"] == 2

        import tritonclient.grpc
        from tritonclient.utils import InferenceServerException

        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
            assert client.is_server_live()
            with pytest.raises(InferenceServerException, match="expected Bearer"):
                client.get_server_metadata()
            assert client.get_server_metadata(headers={"authorization": "Bearer s3cret"}).name == "mnistkit"


def test_cors_is_off_by_default(server):
    reply = server.get("/v2", headers={"Origin": "https://app.example"})
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert server.ask("OPTIONS", "/predict", headers={"Origin": "https://app.example"}).status == 405


def test_cors(started):
    with started("--cors-origin", "https://app.example, https://b.example") as server:
        reply = server.infer(ONE, headers={"Origin": "https://b.example"})
        assert reply.status == 200
        assert reply.headers["access-control-allow-origin"] == "https://b.example"
        ask = server.ask("OPTIONS", "/predict", headers={"Origin": "https://app.example"})
        assert ask.status == 204
        assert "POST" in ask.headers["access-control-allow-methods"]
        other = server.get("/v2", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_tls(started, tmp_path):
    import http.client
    import ssl

    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    with started("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem") as server:
        context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        for _ in range(3):
            link = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=20)
            link.request("POST", "/v2/models/mnist/infer", json.dumps(ONE))
            assert link.getresponse().status == 200
            link.close()
        assert server.raw(b"GET / HTTP/1.1\r\n\r\n")[:12] != b"HTTP/1.1 200"


def test_it_listens_on_loopback_alone(server):
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert f"0100007F:{server.port:04X}" in listening
    assert f"00000000:{server.port:04X}" not in listening


def test_metrics(server):
    server.infer(ONE)
    server.infer({})
    text = server.get("/metrics").body.decode()
    for name in ("requests_total", "request_seconds_bucket", "batch_rows_bucket", "queue_depth", "in_flight",
                 "model_info", "connections"):  # fmt: skip
        assert f"mnistkit_{name}" in text
    assert 'mnistkit_requests_total{route="infer",status="400"}' in text
    assert 'model="mnist",provider="CPUExecutionProvider"' in text


def test_the_access_log_is_json_lines(started):
    with started() as server:
        server.infer(ONE)
        server.get("/nothing")
        wait_for(lambda: len(server.events()) >= 2)
        first, second = server.events()[:2]
        assert (first["method"], first["path"], first["status"]) == ("POST", "/v2/models/mnist/infer", 200)
        assert first["ms"] > 0
        assert first["bytes_in"] > 784
        assert second["status"] == 404


def test_nothing_heavy_is_loaded(server):
    """The server has no Keras and no onnx package mapped into it."""
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "onnxruntime" in maps
    for heavy in ("tensorflow", "jaxlib", "libtorch", "/onnx/", "h5py", "/scipy/"):
        assert heavy not in maps


def test_several_models(server):
    assert server.get("/v2/models/echo").json["name"] == "echo"
    assert server.get("/v2/models/slow").json["name"] == "slow"


def test_a_connection_that_goes_away_while_waiting(server):
    body = json.dumps(row(3)).encode()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as link:
            link.sendall(
                b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )
    assert np.allclose(server.infer(row(9), model="slow").json["outputs"][0]["data"], 9, atol=1e-2)
