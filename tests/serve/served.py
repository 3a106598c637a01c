"""Starts real servers in processes of their own, and speaks to them with the standard library alone."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import mnistkit

ROOT = Path(mnistkit.__file__).parents[1]


@dataclass
class Reply:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        assert set(self.json) == {"error"}
        assert "Traceback" not in self.json["error"]
        assert "\n" not in self.json["error"]
        return self.json["error"]


@dataclass
class Served:
    """A running server."""

    process: subprocess.Popen
    port: int
    grpc_port: int | None
    log: Path
    tls: bool = False
    headers: dict = field(default_factory=dict)
    talk: Path | None = None

    def admin(self, path):
        """A GET on the port for health and metrics."""
        port = int(re.search(r"health and metrics on http://\S+:(\d+)", self.talk.read_text())[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, *, timeout=30):
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def post(self, path, body, headers=None, **options):
        body = json.dumps(body) if isinstance(body, dict | list) else body
        return self.ask("POST", path, body, headers, **options)

    def infer(self, document, *, model="mnist", **options):
        return self.post(f"/v2/models/{model}/infer", document, **options)

    def raw(self, data, *, timeout=10):
        """Send bytes as they are and read until the other end closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as link:
            link.sendall(data)
            received = b""
            while piece := link.recv(65536):
                received += piece
        return received

    def metric(self, name):
        """Sum of a metric over its labels."""
        text = self.get("/metrics").body.decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))

    def signal(self, number):
        self.process.send_signal(number)

    def events(self):
        return [json.loads(line) for line in self.log.read_text().splitlines() if line]


@contextlib.contextmanager
def serving(folder, *flags, wait=60, env=None):
    """Start a server with these flags on a free port, and stop it at the end."""
    log, talk = folder / f"access-{time.monotonic_ns()}.log", folder / f"talk-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "mnistkit.serve", "--port", "0", "--device", "cpu", "--threads", "1",
               "--access-log", log, *flags]  # fmt: skip
    if "--grace" not in flags:
        command += ["--grace", "0.2"]
    with talk.open("wb") as stderr:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )
    try:
        port, grpc_port = _ports(process, talk, wait)
        yield Served(process, port, grpc_port, log, talk=talk)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)  # what a test has left half-sent need not run out of its time
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        if process.poll() is None:
            process.kill()
        process.wait()


def _ports(process, talk, wait):
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        found = re.search(r"at https?://\S+:(\d+)(?:, gRPC on port (\d+))?\n", talk.read_text())
        if found:
            return int(found[1]), int(found[2]) if found[2] else None
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}: {talk.read_text()}")
        time.sleep(0.02)
    raise AssertionError(f"not ready after {wait} s: {talk.read_text()}")


def wait_for(condition, seconds=120):
    """Wait until something is so; the limit only ends what would hang."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def children(pid):
    """The workers of a server; multiprocessing has one more process, which keeps track of what they share."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if b"spawn_main" in _command_line(child)]


def both_serve(server):
    """Wait until each of two workers listens; gives their process numbers."""
    wait_for(lambda: len(children(server.process.pid)) == 2)
    wait_for(lambda: Path("/proc/net/tcp").read_text().count(f" 0100007F:{server.port:04X} 00000000:0000 0A ") == 2)
    return children(server.process.pid)


def _command_line(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def refused_start(folder, *flags):
    """Start a server that must not start; its exit code and what it said."""
    command = [sys.executable, "-m", "mnistkit.serve", "--port", "0", *map(str, flags)]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return ended.returncode, ended.stderr


def tensor(array, *, name="image", datatype="FP32", shape=None):
    """An input as JSON."""
    array = np.asarray(array)
    return {"name": name, "datatype": datatype, "shape": list(shape or array.shape), "data": array.ravel().tolist()}


def binary_body(array, *, name="image", datatype="FP32", output=True, shape=None):
    """A binary infer request: body and headers."""
    content = np.ascontiguousarray(array).tobytes()
    document = {
        "inputs": [
            {"name": name, "datatype": datatype, "shape": list(shape or array.shape),
             "parameters": {"binary_data_size": len(content)}}
        ],
        "parameters": {"binary_data_output": output},
    }  # fmt: skip
    header = json.dumps(document).encode()
    return header + content, {"Inference-Header-Content-Length": str(len(header))}


def multipart(*files, boundary="bound"):
    """A form with files: body and headers."""
    body = b""
    for number, (filename, content) in enumerate(files):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="f{number}"; filename="{filename}"\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}
