"""How much longer a call of mnistkit takes than onnxruntime's own ``session.run`` on the same array.

    python benchmarks/calls.py [--model exports/mnist-jax.onnx] [--rounds 60] [--write]

Every way runs in turn, in short rounds, in one process; the least time of each counts, which is what the code costs on
a machine that does nothing else. Ratios are to ``session.run`` on float32 ``[n, 784]``. The last two rows are the
floor: what NumPy alone takes to look at every number once, and to convert grey levels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mnistkit import Classifier, load_data  # noqa: E402  # this checkout, whatever is installed

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = ROOT / "benchmarks" / "results" / "calls.json"
CALLS = {1: 400, 32: 150, 1024: 8}  # calls a round


def ways(classifier: Classifier, count: int) -> dict[str, Callable[[], Any]]:
    runtime = classifier._runtime  # noqa: SLF001  # the very session that is compared
    session = runtime._session  # noqa: SLF001
    name, outputs = runtime.inputs[0].name, [output.name for output in runtime.outputs]
    levels = np.ascontiguousarray(load_data().x_test[:count])
    rows = (levels / np.float32(255)).reshape(count, 784)
    bits, white = rows.view(np.uint32), np.array(255, np.float32)
    return {
        "session.run": lambda: session.run(outputs, {name: rows}),
        "Runtime.run, array": lambda: runtime.run(rows),
        "Runtime.run, dict": lambda: runtime.run({name: rows}),
        "Classifier.probabilities, float32": lambda: classifier.probabilities(rows),
        "Classifier.probabilities, uint8": lambda: classifier.probabilities(levels),
        "Classifier.predict, float32": lambda: classifier.predict(rows),
        "numpy.argmax, float32": bits.argmax,
        "numpy.divide, uint8": lambda: np.divide(levels.astype(np.float32), white),
    }


def seconds(way: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        way()
    return (time.perf_counter() - started) / calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="exports/mnist-jax.onnx")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    options = parser.parse_args()
    classifier = Classifier(options.model, device="cpu")
    found: dict[str, dict[str, Any]] = {}
    for count, calls in CALLS.items():
        least: dict[str, float] = {}
        every = ways(classifier, count)
        for _ in range(options.rounds):
            for name, way in every.items():
                least[name] = min(least.get(name, 1e9), seconds(way, calls))
        base = least["session.run"]
        for name, taken in least.items():
            row = found.setdefault(name, {})
            row[str(count)] = {"us": round(taken * 1e6, 1), "ratio": round(taken / base, 2)}
            print(f"{count:5}  {name:36}  {taken * 1e6:8.1f} us  {taken / base:5.2f} x")
    if options.write:
        versions = {
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        }
        kept = {"model": options.model, "processors": len(os.sched_getaffinity(0)), "versions": versions, "ways": found}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
