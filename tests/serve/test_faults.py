"""What once stopped the server, held everybody up or was lost, each once more."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import ROOT, children, multipart, refused_start, tensor, wait_for

ONE = {"inputs": [tensor(np.zeros((1, 784)))]}


def ignores_hangup(pid):
    found = re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(found[1], 16) & 1 << (signal.SIGHUP - 1))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sighup_while_it_starts(tmp_path, workers):
    talk = tmp_path / "talk"
    with talk.open("wb") as stderr:
        command = [sys.executable, "-m", "mnistkit.serve", "--port", "0", "--grace", "0", "--workers", workers]
        process = subprocess.Popen(command, stderr=stderr, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        wait_for(lambda: ignores_hangup(process.pid))
        assert "onnxruntime" not in Path(f"/proc/{process.pid}/maps").read_text()  # before anything slow
        while "serving mnist" not in talk.read_text():
            process.send_signal(signal.SIGHUP)
            assert process.poll() is None, talk.read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_cannot_start_waits_ever_longer_and_leaves_the_others_alone(started, tmp_path, asset):
    path = Path(shutil.copy(asset, tmp_path / "m.onnx"))
    with started("--workers", "2", "--model", path) as server:
        wait_for(lambda: len(children(server.process.pid)) == 2)
        first, second = children(server.process.pid)
        wait_for(lambda: "onnxruntime" in Path(f"/proc/{first}/maps").read_text())
        path.write_bytes(b"half-written")
        os.kill(second, signal.SIGKILL)
        wait_for(lambda: "next try in 2 s" in server.talk.read_text())
        tries = re.findall(r"cannot start, next try in ([\d.]+) s: .*m.onnx", server.talk.read_text())
        assert [float(seconds) for seconds in tries] == [0.5 * 2**number for number in range(len(tries))]
        assert first in children(server.process.pid)
        assert [server.infer(ONE, model="m").status for _ in range(10)] == [200] * 10
        shutil.copy(asset, path)
        victim = (set(children(server.process.pid)) - {first}).pop()
        wait_for(lambda: "onnxruntime" in Path(f"/proc/{victim}/maps").read_text() and len(workers_seen(server)) == 2)
        server.signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def workers_seen(server):
    """Process numbers that have noted a reload."""
    server.signal(signal.SIGHUP)
    time.sleep(0.3)
    return {event["pid"] for event in server.events() if event.get("event") == "reloaded"}


def test_workers_that_die_again_and_again(started):
    """One place dies three times in a row: it comes back, and the other worker is the same all the time."""
    with started("--workers", "2") as server:
        wait_for(lambda: len(children(server.process.pid)) == 2)
        first, victim = children(server.process.pid)
        wait_for(lambda: "onnxruntime" in Path(f"/proc/{first}/maps").read_text())
        for _ in range(3):
            os.kill(victim, signal.SIGKILL)
            gone = victim
            wait_for(lambda gone=gone: len(set(children(server.process.pid)) - {gone}) == 2)
            (victim,) = set(children(server.process.pid)) - {first, gone}
            assert server.process.poll() is None
        assert first in children(server.process.pid)
        assert [server.infer(ONE).status for _ in range(10)] == [200] * 10


def test_the_clock_survives_a_temporary_folder_that_is_gone(started, tmp_path, asset):
    """With several workers the numbers go through files: metrics, reloads and the log go on without them."""
    path = Path(shutil.copy(asset, tmp_path / "m.onnx"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started("--workers", "2", "--model", path, "--watch", env={"TMPDIR": str(temporary)}) as server:
        (folder,) = temporary.glob("mnistkit-*")
        shutil.rmtree(folder)
        assert server.get("/metrics").status == 200
        time.sleep(1.2)
        assert server.get("/metrics").status == 200
        fresh = Path(shutil.copy(asset, tmp_path / "fresh.onnx"))
        fresh.replace(path)
        wait_for(lambda: any(event.get("event") == "reloaded" for event in server.events()))


def test_a_log_on_a_full_disk(started):
    with started("--access-log", "/dev/full") as server:
        assert [server.get("/v2").status for _ in range(20)] == [200] * 20


def test_the_log_comes_back_when_there_is_room():
    from mnistkit.serve.access_log import AccessLog

    read, write = os.pipe()
    os.set_blocking(write, False)
    log = AccessLog("none")
    log._descriptor, log._target = write, "pipe"
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 65536)
    for number in range(3):
        log.write({"event": number})
    log._flush()
    while len(os.read(read, 2**20)) == 2**20:
        pass
    log.write({"event": "again"})
    log._flush()
    lines = [json.loads(line) for line in os.read(read, 2**20).splitlines() if line.startswith(b"{")]
    assert lines == [{"event": "again"}, {"event": "log lines dropped", "count": 3}]
    os.close(read)
    os.close(write)


def test_the_log_is_reopened_on_sigusr1(started, tmp_path):
    with started() as server:
        server.get("/v2")
        wait_for(lambda: len(server.events()) == 1)
        moved = server.log.rename(tmp_path / "moved.log")
        server.signal(signal.SIGUSR1)
        wait_for(server.log.exists)
        server.get("/v2")
        wait_for(lambda: len(server.events()) == 1)
        assert len(moved.read_text().splitlines()) == 1


def test_a_log_that_nobody_reads_holds_nobody_up(tmp_path):
    """stderr is a pipe and full."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "mnistkit.serve", "--port", "0", "--grace", "0"]
    process = subprocess.Popen(command, stderr=write, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        said = b""
        while b"\n" not in said:
            said += os.read(read, 1000)
        port = int(re.search(rb":(\d+)\n", said)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
            for _ in range(30):
                link.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
                received = 0
                while received < 100:
                    received += link.recv(2**20).count(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read)
        os.close(write)


def test_json_of_the_largest_size_does_not_hold_others(server):
    """While 4 MB of JSON are read, small requests are answered; 16 MB are refused unread."""
    head = b'{"inputs":[{"name":"image","shape":[1,784],"datatype":"FP32","data":['
    body = head + b",".join([b"0.5"] * 1_000_000) + b"]}]}"
    done = threading.Event()
    replies = []

    def send():
        replies.append(server.infer(body, timeout=120))
        done.set()

    before = server.metric("mnistkit_in_flight")
    thread = threading.Thread(target=send)
    thread.start()
    answered = 0
    while not done.is_set():
        assert server.get("/v2/health/live").status == 200
        answered += not done.is_set()
    thread.join()
    assert replies[0].status == 400
    assert "expected 784 numbers" in replies[0].error
    assert answered >= 3
    assert before == 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        head = "POST /v2/models/mnist/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16000000\r\n\r\n"
        link.sendall(head.encode())
        assert link.recv(1000).startswith(b"HTTP/1.1 413")


def test_expired_pictures_are_not_decoded(started):
    """Forms of many large pictures whose clients have gone: the next small picture does not wait for them."""
    stream = io.BytesIO()
    picture = Image.new("RGB", (4000, 4000), "white")
    picture.paste("black", (1900, 1000, 2100, 3000))
    picture.save(stream, "PNG")
    body, headers = multipart(*[("a.png", stream.getvalue())] * 30)
    kind = headers["Content-Type"]
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    with started("--timeout", "60") as server:
        start = processor_seconds(server)
        assert server.post("/predict", stream.getvalue(), timeout=60).status == 200
        one = processor_seconds(server) - start
        links = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(5)]
        for link in links:
            link.sendall(head.encode() + body)
        wait_for(lambda: server.metric("mnistkit_in_flight") == 5)
        for link in links:
            link.close()
        small = io.BytesIO()
        Image.new("L", (28, 28), 255).save(small, "PNG")
        before = processor_seconds(server)
        assert server.post("/predict", small.getvalue(), timeout=120).status == 422
        assert processor_seconds(server) - before < 30 * one + 0.5  # of 150


def processor_seconds(server):
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_stop_does_not_wait_for_a_thread_for_ever(started, slow_model):
    """Far more work than the stop timeout allows, and its client gone: the process ends with 0."""
    heavy = json.dumps({"inputs": [tensor(np.ones((350, 1024)).round(0), name="x")]}).encode()
    flags = ("--model", slow_model, "--grace", "0", "--stop-timeout", "0.3", "--timeout", "600", "--max-batch", "1")
    with started(*flags) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
            head = f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(heavy)}\r\n\r\n"
            link.sendall(head.encode() + heavy)
            wait_for(lambda: server.metric("mnistkit_batch_rows_count") == 1)
        server.signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def test_a_fifo_is_no_model(tmp_path, started, asset):
    os.mkfifo(tmp_path / "fifo.onnx")
    code, said = refused_start(tmp_path, "--model", "fifo.onnx")
    assert code == 1
    assert "expected a regular file" in said
    path = Path(shutil.copy(asset, tmp_path / "m.onnx"))
    with started("--model", path) as server:
        path.unlink()
        os.mkfifo(path)
        server.signal(signal.SIGHUP)
        wait_for(lambda: any("not reloaded" in event.get("event", "") for event in server.events()))
        assert server.infer(ONE, model="m").status == 200
        server.signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def test_models_of_another_origin_never_run_in_the_event_loop(asset, echo_model):
    from mnistkit.serve.models import Models
    from mnistkit.serve.settings import Settings

    settings = Settings(models=(("own", str(asset)), ("other", str(echo_model))), device="cpu", inline_ms=1e6)
    models = Models(settings, observe=lambda *_: None)
    assert models.get("own").is_quick({"image": np.zeros((1, 784), np.float32)})
    assert not models.get("other").is_quick({"x": np.zeros((1, 1), np.float32), "number": np.zeros(1, np.int64)})
    for model in models:
        model.batcher.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket(tmp_path, workers):
    path = tmp_path / "socket"
    command = [sys.executable, "-m", "mnistkit.serve", "--uds", str(path), "--grace", "0", "--workers", workers]
    with (tmp_path / "talk").open("wb") as talk:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=talk, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        wait_for(lambda: "serving mnist" in (tmp_path / "talk").read_text())
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))
            link.sendall(b"GET /v2 HTTP/1.1\r\nHost: anything\r\n\r\n")
            assert link.recv(1000).startswith(b"HTTP/1.1 200")
        code, said = refused_start(tmp_path, "--uds", path)
        assert code == 1
        assert "another server listens there" in said
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


def test_a_large_request_runs_in_parts(asset):
    """Its memory does not grow with its rows, and it ends when nobody waits any more."""
    import asyncio

    from mnistkit.serve.http import HTTPError
    from mnistkit.serve.models import Models
    from mnistkit.serve.settings import Settings

    model = Models(Settings(models=(("own", str(asset)),), device="cpu"), observe=lambda *_: None).get("own")
    run, sizes = model.batcher._run, []

    def counting(feeds):
        sizes.append(len(feeds["image"]))
        time.sleep(0.02)
        return run(feeds)

    model.batcher._run = counting
    images = np.random.default_rng(0).random((600, 784), np.float32)
    whole = model.runtime.run({"image": images})["probabilities"]

    async def ask(seconds):
        return await model.batcher.submit({"image": images}, rows=600, deadline=time.monotonic() + seconds)

    try:
        found = asyncio.run(ask(60))["probabilities"]
        assert sizes == [256, 256, 88]
        assert np.allclose(found, whole, rtol=0, atol=1e-6)
        sizes.clear()
        with pytest.raises(HTTPError, match="expected an answer within"):
            asyncio.run(ask(0.01))
        model.batcher._pool.shutdown(wait=True)
        assert len(sizes) < 3
    finally:
        model.batcher.close()
