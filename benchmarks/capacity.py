"""What p99 does ``mnistkit serve`` have at what load? Measured, predicted by a queue, and compared.

    python benchmarks/capacity.py [--seconds 8] [--workers 1 2] [--kinds json binary]

Starts a server with one and with two workers. Measures its gaps between answers at 2 to 64 requests under way and, at a
low rate, at one; `capacity_model.py` predicts from them what requests that arrive at random wait for at 30, 50 and 70 %
of the highest rate; then such requests are sent. Writes benchmarks/results/capacity.json, prints both, and exits with 1
where a predicted p99 is more than 25 % off. Server and client share this machine's processors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))

import serve  # noqa: E402  # beside this file
from capacity_model import Gaps, highest_rate, waits  # noqa: E402  # beside this file
from doc_pages.scaling import table  # noqa: E402  # tools/ is on the path from here on

CONCURRENCY = (2, 4, 8, 16, 32, 64)
SHARES = (0.3, 0.5, 0.7)
LIGHT = 0.03  # of the highest rate: nearly all requests find nobody there
TARGET = 0.025
"""Seconds: for the rate that a worker is good for."""
CLOSE = 0.25
_SETTLE = 1.0  # seconds at the start of a run by the clock that do not count


def main() -> int:
    """Measure, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--kinds", nargs="*", default=["json", "binary"])
    options = parser.parse_args()
    cells, sizes = [], {}
    with tempfile.TemporaryDirectory() as folder:
        scripts = serve.requests(Path(folder), ids=False)
        for kind in options.kinds:
            for workers in options.workers:
                name = "mnistkit" if workers == 1 else f"mnistkit --workers {workers}"
                with serve.running(name, sys.executable, scripts) as (_, paths):
                    request = Path(folder) / f"{kind}.request"
                    port, content = _request(paths[kind][0], Path(scripts[kind]).with_suffix(".body").read_bytes(),
                                             Path(scripts[kind]).read_text(encoding="utf-8"))  # fmt: skip
                    request.write_bytes(content)
                    cells.append({"kind": kind, "workers": workers, **_cell(port, request, options.seconds)})
                    sizes[kind] = {"request": len(content), "answer": cells[-1].pop("answer")}
                print(table({"cells": cells[-1:]}), file=sys.stderr)
    report = {
        "machine": {"processors": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "target": TARGET, "seconds": options.seconds, "bytes": sizes, "cells": cells,
    }  # fmt: skip
    target = ROOT / "benchmarks" / "results" / "capacity.json"
    target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))
    worst = max(abs(load["predicted"]["p99"] / load["measured"]["p99"] - 1) for cell in cells for load in cell["loads"])
    print(f"predicted p99: at most {worst:.0%} off (target {CLOSE:.0%})")
    return int(worst > CLOSE)


def _cell(port: str, request: Path, seconds: float) -> dict[str, Any]:
    """One server and one kind of request."""
    measured = {count: _drive(port, request, "--concurrency", count, "--seconds", seconds / 2) for count in CONCURRENCY}
    top = max(len(one["waits"]) / one["seconds"] for one in measured.values())
    alone = _drive(port, request, "--rate", LIGHT * top, "--seconds", seconds)
    gaps = Gaps({1: np.array(alone["waits"]),
                 **{count: np.diff(np.sort(one["done"])) for count, one in measured.items()}})  # fmt: skip
    loads = []
    for share in SHARES:
        rate = share * gaps.capacity
        found = _drive(port, request, "--rate", rate, "--seconds", seconds + _SETTLE)["waits"][int(rate * _SETTLE) :]
        loads.append({"share": share, "rate": rate, "predicted": _quantiles(waits(gaps, rate)),
                      "measured": _quantiles(np.array(found))})  # fmt: skip
    return {
        "capacity": gaps.capacity,
        "predicted_good_for": highest_rate(gaps, TARGET),
        "loads": loads,
        "answer": alone["bytes"],
    }


def _quantiles(found: Any) -> dict[str, float]:
    return {f"p{percent}": 1000 * float(np.quantile(found, percent / 100)) for percent in (50, 90, 99)}


def _request(url: str, body: bytes, script: str) -> tuple[str, bytes]:
    """The port, and the whole request that a script for wrk makes."""
    host, _, path = url.removeprefix("http://").partition("/")
    headers = [line.split('"')[1::2] for line in script.splitlines() if line.startswith("wrk.headers")]
    lines = [f"POST /{path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return host.partition(":")[2], "\r\n".join([*lines, "", ""]).encode() + body


def _drive(port: str, request: Path, *flags: object) -> dict[str, Any]:
    file = Path(__file__).with_name("capacity_client.py")
    command = [sys.executable, str(file), port, str(request), *map(str, flags)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
