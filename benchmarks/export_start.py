"""How long the whole export command takes, beside what it cannot do without: importing Keras and onnxruntime.

    python benchmarks/export_start.py [--backend jax] [--pairs 5] [--write]

Both commands run in turn, each in a fresh process, with the files in the page cache. The ratio of the medians is what
the command adds: loading the model, writing, the verification on 10,000 images, and its own imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "export_start.json"
IMPORTS = "import keras, onnxruntime"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--model", default=str(ROOT / "exports" / "mnist-jax.keras"))
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        export = ["-m", "mnistkit.export", options.model, "--out", str(Path(folder) / "model.onnx")]
        commands = {"imports": ["-c", IMPORTS], "export": export}
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(options.pairs + 1):
            for name, arguments in commands.items():
                taken = run(arguments, options.backend)
                if number:  # the first pair fills the caches
                    seen[name].append(taken)
    row: dict[str, Any] = {
        "backend": options.backend,
        "pairs": options.pairs,
        "processors": len(os.sched_getaffinity(0)),
    }
    for kind, index in (("wall", 0), ("cpu", 1)):
        middle = {name: statistics.median(taken[index] for taken in all_) for name, all_ in seen.items()}
        row[kind] = {name: round(value, 3) for name, value in middle.items()}
        row[f"{kind}_ratio"] = round(middle["export"] / middle["imports"], 2)
        print(
            f"{kind}: imports {middle['imports']:.2f} s, export {middle['export']:.2f} s, {row[f'{kind}_ratio']:.2f} x"
        )
    if options.write:
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(dict(sorted((known | {options.backend: row}).items())), indent=1) + "\n")
    return 0


def run(arguments: list[str], backend: str) -> tuple[float, float]:
    """Run Python once; return wall and processor seconds."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
