"""Everything at once against one ``mnistkit serve``: what small requests wait for, and whether memory stays flat.

    python benchmarks/serve_soak.py [--seconds 300] [--without KIND ...] [-- FLAGS OF THE SERVER]

Starts a server with one thread of onnxruntime, and clients in processes of their own: small ones (one image as JSON,
a hundred a second), JSON bodies of 16 MB and just below --max-json, binary bodies of 16 MB, pictures of 8000 x 8000,
numbers to read, and clients that send a byte a second. Prints the small requests' latencies, each kind's answers, and
the server's memory over the time; exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
INFER = "/v2/models/mnist/infer"
TARGETS = {"p99": 0.1, "worst": 0.5, "memory": 600, "growth": 40}
"""Seconds for small requests; MB at most; MB of growth from the first fifth of the time to its end."""


def main() -> int:
    """Run a server and its clients."""
    parser = argparse.ArgumentParser(description="Soak a server.")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*")
    options = parser.parse_args()
    if options.client:
        kind, port = options.client
        return client(kind, int(port), options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        return soak(options, Path(folder))


def soak(options: argparse.Namespace, folder: Path) -> int:
    """Print the figures of one run."""
    talk = folder / "talk"
    with talk.open("wb") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-m", "mnistkit.serve", "--port", "0", "--device", "cpu", "--threads", "1",
             "--access-log", str(folder / "log"), *options.flags],
            cwd=folder, stderr=stderr, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    clients: dict[str, subprocess.Popen[str]] = {}
    try:
        while not (found := re.search(r"at http://\S+:(\d+)", talk.read_text())):
            time.sleep(0.1)
        for kind in CLIENTS:
            if kind not in options.without:
                command = [sys.executable, __file__, "--seconds", str(options.seconds), "--client", kind, found[1]]
                clients[kind] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        memory = []
        while any(one.poll() is None for one in clients.values()):
            memory.append(resident(server.pid))
            time.sleep(0.25)
        said = {kind: json.loads(one.communicate()[0]) for kind, one in clients.items()}
    finally:
        for one in clients.values():
            one.kill()
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    for kind, about in said.items():
        print(f"{kind:10} {about['count']:7} answers {about['statuses']}")
    fifth = memory[: max(1, len(memory) // 5)]
    figures = {
        "p50": said["small"]["p50"], "p99": said["small"]["p99"], "worst": said["small"]["worst"],
        "memory": max(memory), "growth": max(memory[-len(fifth) :]) - max(fifth),
    }  # fmt: skip
    for name, value in figures.items():
        target = TARGETS.get(name)
        told = "" if target is None else f"  (target {target}, {'met' if value <= target else 'MISSED'})"
        print(f"{name:10} {value:.3f}{told}")
    return int(any(figures[name] > target for name, target in TARGETS.items()))


def resident(process: int) -> float:
    """MB of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2


def client(kind: str, port: int, seconds: float) -> int:
    """Ask until the time is over; print what came back."""
    requests, pause = CLIENTS[kind]()
    end = time.monotonic() + seconds
    waits: list[float] = []
    statuses: Counter[str] = Counter()
    if kind == "slow":
        slow(port, end, statuses)
    else:
        number = 0
        while time.monotonic() < end:
            path, body, headers = requests[number % len(requests)]
            number += 1
            start = time.monotonic()
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                link.request("POST", path, body, headers)
                answer = link.getresponse()
                answer.read()
                statuses[str(answer.status)] += 1
            except OSError as error:
                statuses[type(error).__name__] += 1
            finally:
                link.close()
            waits.append(time.monotonic() - start)
            time.sleep(pause)
    waits.sort()
    about = {"count": sum(statuses.values()), "statuses": dict(statuses)}
    if waits:
        about |= {"p50": waits[len(waits) // 2], "p99": waits[int(0.99 * len(waits))], "worst": waits[-1]}
    print(json.dumps(about))
    return 0


def slow(port: int, end: float, statuses: Counter[str]) -> None:
    """A hundred connections that send a byte of their body each second."""
    links = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for link in links:
        link.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
    while time.monotonic() < end:
        for place, link in enumerate(links):
            try:
                link.send(b"x")
            except OSError:
                statuses["closed"] += 1
                links[place] = socket.create_connection(("127.0.0.1", port))
                links[place].sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        time.sleep(1)


def small() -> tuple[list[tuple[str, bytes, dict[str, str]]], float]:
    """One image a request."""
    return [(INFER, _json(1, "0.5"), {})], 0.01


def large_json() -> tuple[list[tuple[str, bytes, dict[str, str]]], float]:
    """Beyond the limit, and just below it: flat, and a list for each image."""
    flat, nested = _json(1300, "0.5"), _json(1000, "0.5", nested=True)
    return [(INFER, b"[" * (16 * 1024**2), {}), (INFER, flat, {}), (INFER, nested, {})], 0.05


def binary() -> tuple[list[tuple[str, bytes, dict[str, str]]], float]:
    """16 MB of images."""
    images = np.full((5300, 784), 0.5, np.float32)
    about = {"name": "image", "datatype": "FP32", "shape": [5300, 784]}
    header = json.dumps({"inputs": [{**about, "parameters": {"binary_data_size": images.nbytes}}]}).encode()
    return [(INFER, header + images.tobytes(), {"Inference-Header-Content-Length": str(len(header))})], 0.2


def pictures() -> tuple[list[tuple[str, bytes, dict[str, str]]], float]:
    """64 million pixels in several kinds of file."""
    from PIL import Image

    grey = Image.new("L", (8000, 8000), 255)
    grey.paste(0, (3800, 1000, 4300, 7000))
    made = []
    for mode, kind in (("L", "PNG"), ("RGB", "JPEG"), ("RGBA", "PNG"), ("RGB", "PNG")):
        stream = io.BytesIO()
        grey.convert(mode).save(stream, kind)
        made.append(("/predict", stream.getvalue(), {"Content-Type": "image/any"}))
    return made, 0.05


def numbers() -> tuple[list[tuple[str, bytes, dict[str, str]]], float]:
    """Ten strokes in a row."""
    from PIL import Image

    row = Image.new("L", (900, 300), 255)
    for place in range(10):
        row.paste(0, (40 + 80 * place, 60, 58 + 80 * place, 240))
    stream = io.BytesIO()
    row.save(stream, "PNG")
    return [("/predict?number=1", stream.getvalue(), {"Content-Type": "image/png"})], 0.2


def _json(count: int, value: str, *, nested: bool = False) -> bytes:
    one = ",".join([value] * 784)
    data = ",".join([f"[{one}]" if nested else one] * count)
    about = '{"inputs":[{"name":"image","datatype":"FP32","shape":'
    return f'{about}[{count},784],"data":[{data}]}}]}}'.encode()


CLIENTS = {
    "small": small, "json": large_json, "binary": binary, "pictures": pictures, "numbers": numbers, "slow": small,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
