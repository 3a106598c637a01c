"""Requests per second of ``mnistkit serve`` beside other servers, on this machine, in one run.

    python benchmarks/serve.py [--seconds 3] [--rounds 3] [--only NAME ...] [--venvs DIR] [--add] [--ids]

Needs wrk. Makes one virtual environment for each contender, starts one server at a time (one process, one thread of
onnxruntime), and drives it over loopback with one wrk thread at concurrency 1, 16 and 64: one image a request, as JSON
and in binary, and with an X-Request-Id of its own on every request with --ids. Rounds are interleaved, so that what
else the machine does falls on all alike; the best round of each cell counts; --add takes the rounds along that the
results file already has, so that a long run can be made in short ones. Writes benchmarks/results/serve.json and prints
its table; `python tools/docs_tables.py` puts it into the docs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))

from doc_pages.serving import CONCURRENCY, table  # noqa: E402 - tools/ is on the path from here on

CONTENDERS = {
    "mnistkit": [],
    "mnistkit --workers 2": [],
    "starlette": ["starlette", "uvicorn", "uvloop", "httptools", "orjson"],
    "fastapi": ["fastapi", "uvicorn", "uvloop", "httptools"],
    "constant": ["uvicorn", "uvloop", "httptools"],
    "litserve": ["litserve"],
    "mlserver": ["mlserver"],
    "mosec": ["mosec", "orjson"],
    "granian": ["granian", "orjson", "uvloop"],
}


def main() -> int:
    """Run everything."""
    parser = argparse.ArgumentParser(description="Compare servers.")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS))
    parser.add_argument("--venvs", default=str(Path(tempfile.gettempdir()) / "mnistkit-bench"))
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--ids", action="store_true", help="a unique X-Request-Id on each request")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed; get it from your distribution", file=sys.stderr)
        return 1
    target = ROOT / "benchmarks" / "results" / "serve.json"
    before = json.loads(target.read_text()) if options.add else {"rounds": 0, "cells": {}}
    cells: dict[str, dict[str, dict[str, float]]] = before["cells"]
    with tempfile.TemporaryDirectory() as folder:
        scripts = requests(Path(folder), ids=options.ids)
        for round_ in range(options.rounds):
            for name in options.only:
                interpreter = python(name, Path(options.venvs))
                for cell, found in _measure(name, interpreter, scripts, options.seconds).items():
                    best = cells.setdefault(name, {}).get(cell)
                    if best is None or found["rate"] > best["rate"]:
                        cells[name][cell] = found
                print(f"round {round_ + 1}: {name}", file=sys.stderr)
    report = {
        "machine": {"processors": len(os.sched_getaffinity(0)), "python": platform.python_version(),
                    "load_at_end": os.getloadavg()[0]},
        "seconds": options.seconds, "rounds": before["rounds"] + options.rounds, "cells": cells,
        "start": _least(before.get("start", {}), _start(python("starlette", Path(options.venvs)))),
    }  # fmt: skip
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    return 0


_IDS = """
local count = 0
request = function()
  count = count + 1
  wrk.headers["X-Request-Id"] = tostring(count)
  return wrk.format()
end
"""


def requests(folder: Path, *, ids: bool) -> dict[str, tuple[str, str]]:
    """Scripts for wrk: for us the protocol's requests, for the others the same JSON and one raw tensor."""
    pixels = [round(((index * 37) % 256) / 255, 4) for index in range(784)]
    import array

    raw = array.array("f", pixels).tobytes()
    entry = {"name": "image", "shape": [1, 784], "datatype": "FP32"}
    document = json.dumps({"inputs": [{**entry, "data": pixels}]}).encode()
    header = json.dumps(
        {
            "inputs": [{**entry, "parameters": {"binary_data_size": len(raw)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    bodies = {"json": (document, {}), "raw": (raw, {}),
              "binary": (header + raw, {"Inference-Header-Content-Length": str(len(header))})}  # fmt: skip
    scripts = {}
    for name, (body, headers) in bodies.items():
        (folder / f"{name}.body").write_bytes(body)
        lines = ['wrk.method = "POST"', f'wrk.body = io.open("{folder}/{name}.body", "rb"):read("*a")']
        kind = "application/json" if name == "json" else "application/octet-stream"
        lines += [f'wrk.headers["{key}"] = "{value}"' for key, value in {"Content-Type": kind, **headers}.items()]
        (folder / f"{name}.lua").write_text("\n".join(lines) + (_IDS if ids else ""))
        scripts[name] = str(folder / f"{name}.lua")
    return scripts


def python(name: str, venvs: Path) -> str:
    if not CONTENDERS[name]:
        return sys.executable
    venv = venvs / name
    if not (venv / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run(
            [venv / "bin" / "pip", "install", "--quiet", "onnxruntime", "numpy", *CONTENDERS[name]], check=True
        )
    return str(venv / "bin" / "python")


def _measure(name: str, interpreter: str, scripts: dict[str, str], seconds: int) -> dict[str, dict[str, float]]:
    found = {}
    with running(name, interpreter, scripts) as (_, paths):
        for kind, (url, script) in paths.items():
            for count in CONCURRENCY:
                cell = _wrk(url, script, count, seconds)
                if cell is not None:
                    found[f"{kind} {count}"] = cell
    return found


@contextmanager
def running(
    name: str, interpreter: str, scripts: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, tuple[str, str]]]]:
    """One of `CONTENDERS`, answering: its process, and by the kind of request an address and a script for wrk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = str(ROOT / "exports" / "mnist-jax.onnx")  # the tutorial's: small, so that the servers are what is compared
    paths = {"json": ("/json", "json"), "binary": ("/binary", "raw")}
    file = Path(__file__).with_name("serve_contenders.py")
    command = [interpreter, str(file), name, str(port), model]
    if name.startswith("mnistkit"):
        workers = name.rsplit(" ", 1)[1] if "workers" in name else "1"
        command = [interpreter, "-m", "mnistkit.serve", "--model", f"mnist={model}", "--port", str(port),
                   "--threads", "1", "--device", "cpu", "--access-log", os.devnull, "--grace", "0",
                   "--workers", workers]  # fmt: skip
        paths = {"json": ("/v2/models/mnist/infer", "json"), "binary": ("/v2/models/mnist/infer", "binary")}
    elif name == "litserve":
        command = [interpreter, str(file.with_name("serve_litserve.py")), str(port), model]
        del paths["binary"]
    elif name == "mlserver":
        command = [interpreter, str(file.with_name("serve_mlserver.py")), str(port), model]
        paths = {"json": ("/v2/models/mnist/infer", "json")}
    elif name == "mosec":
        command = [interpreter, str(file.with_name("serve_mosec.py")), "--port", str(port), "--address", "127.0.0.1"]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "MODEL": model},
    )
    try:
        _wait(port, paths["json"][0], Path(scripts["json"]).with_suffix(".body").read_bytes())
        yield server, {kind: (f"http://127.0.0.1:{port}{path}", scripts[s]) for kind, (path, s) in paths.items()}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _start(python: str) -> dict[str, float]:
    """Seconds until ``mnistkit serve`` is ready, and of the imports alone that a server of this kind needs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begin = time.perf_counter()
    subprocess.run([python, "-c", "import onnxruntime, starlette, uvicorn"], check=True)
    imports = time.perf_counter() - begin
    flags = ["--port", str(port), "--grace", "0", "--access-log", "none"]
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "mnistkit", "serve", *flags], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as server:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.002)
        ready = time.perf_counter() - begin
        server.terminate()
    return {"imports": imports, "ready": ready}


def _least(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    return {name: min(value, before.get(name, value)) for name, value in now.items()}


def _wait(port: int, path: str, body: bytes) -> None:
    for _ in range(300):
        try:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the server on {port} never answered")


def _wrk(url: str, script: str, count: int, seconds: int) -> dict[str, float] | None:
    command = ["wrk", "-t1", f"-c{count}", f"-d{seconds}s", "--latency", "-s", script, url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text:
        print(f"{url}: answers other than 200\n{text}", file=sys.stderr)
        return None
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    return {"rate": float(rate[1]) if rate else 0.0, "p50": quantile(text, 50), "p99": quantile(text, 99)}


def quantile(text: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text)
    if not found:
        return float("nan")
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


if __name__ == "__main__":
    sys.exit(main())
