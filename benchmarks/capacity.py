"""What p99 does ``mnistkit serve`` have at what load? Measured, predicted by a queue, and compared.

    python benchmarks/capacity.py [--seconds 2] [--workers 1 2] [--kinds json binary]

Starts a server with one and with two workers. Sends requests that arrive at random, at 3, 20, 40 and 60 % of the
highest rate; `capacity_model.py` takes from them how fast the server works, and predicts how long requests wait at 30,
50 and 70 %; such requests are sent too. All that in six turns, of which the medians are shown: a machine is held up now
and then, and one such moment must not decide. Writes benchmarks/results/capacity.json, prints both, and exits with 1
where a p99 predicted for 30 or 50 % is more than 25 % off. The client has the last processor of this machine for
itself, the server has the others.
"""

from __future__ import annotations

import argparse
import functools
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
from capacity_model import Server, services, waits  # noqa: E402  # beside this file
from doc_pages.scaling import SURE, table  # noqa: E402  # tools/ is on the path from here on

CONCURRENCY = 64  # for the highest rate
LEARNT = (0.03, 0.2, 0.4, 0.6)
"""Shares of the highest rate from which the model learns."""
SHARES = (0.3, 0.5, 0.7)
"""Shares of the highest rate that it predicts."""
TURNS = 6
TARGET = 0.025
"""Seconds: for the rate that a worker is good for."""
CLOSE = 0.25
"""How far a predicted p99 may be off, up to `SURE` of the highest rate. Beyond it each stall makes a queue that
takes long to work off; that is shown and not judged."""
_SETTLE = 0.5  # seconds at the start of a run by the clock that do not count


def main() -> int:
    """Measure, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=6, help="twice those of a measurement; there are 32 for a cell"
    )
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--kinds", nargs="*", default=["json", "binary"])
    options = parser.parse_args()
    cells, sizes = [], {}
    *servers, client = sorted(os.sched_getaffinity(0))
    if not servers:
        parser.error("needs two processors: the client must not take the server's")
    os.sched_setaffinity(0, servers)  # the servers inherit it
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
                    cells.append(
                        {"kind": kind, "workers": workers, **_cell(port, request, options.seconds, client, workers)}
                    )
                    sizes[kind] = {"request": len(content), "answer": cells[-1].pop("answer")}
                print(table({"cells": cells[-1:]}), file=sys.stderr)
    report = {
        "machine": {"processors": len(servers) + 1, "python": platform.python_version()},
        "target": TARGET, "seconds": options.seconds, "turns": TURNS, "bytes": sizes, "cells": cells,
    }  # fmt: skip
    target = ROOT / "benchmarks" / "results" / "capacity.json"
    target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))
    worst = max(abs(load["predicted"]["p99"] / load["measured"]["p99"] - 1)
                for cell in cells for load in cell["loads"] if load["share"] <= SURE)  # fmt: skip
    print(f"predicted p99 up to {SURE:.0%} of the highest rate: at most {worst:.0%} off (target {CLOSE:.0%})")
    return int(worst > CLOSE)


def _cell(port: str, request: Path, seconds: float, client: int, workers: int) -> dict[str, Any]:
    """One server and one kind of request."""
    drive = functools.partial(_drive, port, request, "--processor", client)
    full = [drive("--concurrency", CONCURRENCY, "--seconds", seconds) for _ in range(TURNS)]
    top = float(np.median([len(one["waits"]) / one["seconds"] for one in full]))
    predicted: dict[float, list[dict[str, float]]] = {share: [] for share in SHARES}
    measured: dict[float, list[dict[str, float]]] = {share: [] for share in SHARES}
    for turn in range(TURNS):
        learnt = []
        for share in sorted({*LEARNT, *SHARES}):
            one = drive("--rate", share * top, "--seconds", _SETTLE + seconds, "--seed", turn)
            done = np.array(one["done"])
            counts = done > _SETTLE
            waited = np.array(one["waits"])[counts]
            if share in LEARNT:
                learnt.append(services(done[counts] - waited, done[counts]))
            else:
                measured[share].append(_quantiles(waited))
        for share in SHARES:
            predicted[share].append(_quantiles(waits(Server(learnt), share * top, workers=workers)))
    loads = [
        {"share": share, "rate": share * top, "predicted": _medians(predicted[share]),
         "measured": _medians(measured[share]), "turns": {"predicted": predicted[share], "measured": measured[share]}}
        for share in SHARES
    ]  # fmt: skip
    return {"capacity": top, "loads": loads, "answer": one["bytes"]}


def _quantiles(found: Any) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{percent}": round(1000 * float(np.quantile(found, percent / 100)), 3) for percent in (50, 90, 99)}


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([one[name] for one in turns])) for name in turns[0]}


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
