"""Processor time of one request, which neighbors on the machine change far less than requests a second.

    python benchmarks/serve_cpu.py --rounds 8

Starts servers of `serve.py` beside each other, drives them with wrk in turns of a second, and divides what all threads
of a process took of the processors (`/proc/PID/task/*/schedstat`, Linux) by the requests that were answered. The lower
quarter of all turns counts: whatever disturbs a turn only adds to it. Writes nothing but its table.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import serve

CONTENDERS = ("mnistkit", "granian", "starlette")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Processor time of one request.")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=list(serve.CONTENDERS))
    parser.add_argument("--connections", nargs="*", type=int, default=[1, 16, 64])
    parser.add_argument("--venvs", default=str(Path(tempfile.gettempdir()) / "mnistkit-bench"))
    options = parser.parse_args()
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        scripts = serve.requests(Path(folder), ids=False)
        running = {}
        for name in options.only:
            interpreter = serve.python(name, Path(options.venvs))
            running[name] = servers.enter_context(serve.running(name, interpreter, scripts))
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for kind, count in product(("json", "binary"), options.connections):
                for name, (server, paths) in running.items():
                    if kind in paths:
                        found = _measure(server.pid, *paths[kind], count)
                        taken.setdefault((name, f"{kind} {count}"), []).append(found)
    cells = list(dict.fromkeys(cell for _, cell in taken))
    print("µs a request (p50, ms)".ljust(24), *(cell.rjust(14) for cell in cells))
    for name in options.only:
        print(name.ljust(24), *(_quarter(taken.get((name, cell), [])).rjust(14) for cell in cells))
    return 0


def _measure(process: int, url: str, script: str, connections: int) -> tuple[float, float]:
    """Microseconds of the processor for a request, and the median of the answers' times in milliseconds."""
    before = _processor_time(process)
    text = _wrk(url, script, connections)
    return (_processor_time(process) - before) / _answered(text) * 1e6, serve.quantile(text, 50)


def _quarter(taken: list[tuple[float, float]]) -> str:
    """The lower quarter of what was measured, the times on their own."""
    if not taken:
        return "-"
    place = (len(taken) - 1) // 4
    processor, median = (sorted(column)[place] for column in zip(*taken, strict=True))
    return f"{processor:.0f} ({median:.2f})"


def _processor_time(process: int) -> float:
    """Seconds that all threads of a process have had."""
    total = 0
    for task in Path(f"/proc/{process}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def _wrk(url: str, script: str, connections: int) -> str:
    command = ["wrk", "-t1", f"-c{connections}", "-d1s", "--latency", "-s", script, url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text:
        raise SystemExit(f"{url}: answers other than 200\n{text}")
    return text


def _answered(text: str) -> int:
    found = re.search(r"(\d+) requests in", text)
    assert found is not None, text
    return int(found[1])


if __name__ == "__main__":
    sys.exit(main())
