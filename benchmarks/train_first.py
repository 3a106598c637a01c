"""Time whole calls of `fit` and of `mnistkit.fit`, what short runs and repeated calls cost, and memory.

python benchmarks/train_first.py [--case NAME ...] [--backend jax tensorflow torch] [--rounds 2] [--write]

Each call runs in a process of its own, `fit` and `mnistkit.fit` in turn. The time is that from the call to its return,
with tracing and compiling; the process' start and the model's construction do not count. --write keeps each figure in
benchmarks/results/train_first.json as it comes. The table is printed; no page shows it yet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tools"))

from doc_pages.first_calls import table  # noqa: E402 - tools/ is on the path from here on

RESULTS = ROOT / "benchmarks" / "results" / "train_first.json"
BATCH = 32
WAYS = ("fit", "mnistkit.fit")
SHORT = {"10 steps": (10, 1), "100 steps": (50, 2), "1000 steps": (200, 5)}
"""Steps of an epoch, of which the last has 20 samples, and epochs."""
CASES = {
    "tiny, 64 samples": ("tiny", 64, 1),
    "tiny, 1000 samples": ("tiny", 1000, 1),
    **{
        f"{model}, {name}": (model, steps * BATCH - 12, epochs)
        for model in ("cnn", "mobilenet", "transformer")
        for name, (steps, epochs) in SHORT.items()
    },
    "20 calls, 500 to 519 samples": ("tiny", 0, 1),
    "100 calls": ("tiny", 0, 1),
}
"""Model, samples and epochs of each case."""
PATIENCE = 400  # seconds; a call that takes longer is reported as such


def main() -> int:
    """Measure, print, and with --write keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--backend", nargs="+", choices=("jax", "tensorflow", "torch"), default=None)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(*args.child)))
        return 0
    rows = []
    for backend in args.backend or ("jax", "tensorflow", "torch"):
        for case in args.case:
            for number in range(args.rounds):
                for way in WAYS[:: 1 if number % 2 else -1]:
                    row = {"backend": backend, "case": case, "way": way, "round": number} | run(backend, case, way)
                    print(json.dumps(row), file=sys.stderr, flush=True)
                    rows.append(row)
                    if args.write:
                        keep(row)
    print("\n".join(table(rows)))
    return 1 if any("failed" in row for row in rows) else 0


def run(backend: str, case: str, way: str) -> dict[str, Any]:
    """Measure one call in a process of its own, without caches of compiled programs."""
    unwanted = ("XLA_FLAGS", "OMP_NUM_THREADS")
    kept_ = {name: value for name, value in os.environ.items() if name not in unwanted and "CACHE" not in name}
    environment = {**kept_, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend, "PYTHONWARNINGS": "ignore"}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    command = [sys.executable, __file__, "--child", case, way]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {PATIENCE} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1]) | {"load": round(os.getloadavg()[0], 1)}


def measure(case: str, way: str) -> dict[str, Any]:
    """Call one way to train as often as the case says."""
    import resource

    import first_models
    import keras

    import mnistkit

    keras.utils.set_random_seed(first_models.SEED)
    name, samples, epochs = CASES[case]
    model, data = first_models.MODELS[name]()
    several = {"20 calls, 500 to 519 samples": range(500, 520), "100 calls": [1000] * 100}
    numbers = several.get(case, [samples])
    arrays = [data(n) for n in dict.fromkeys(numbers)]
    fit = keras.Model.fit if way == "fit" else mnistkit.fit
    calls, resident = [], []
    for i in range(len(numbers)):
        begun, processor = time.perf_counter(), time.process_time()
        history = fit(model, *arrays[i % len(arrays)], epochs=epochs, batch_size=BATCH, verbose=0)
        calls.append((time.perf_counter() - begun, time.process_time() - processor))
        resident.append(_resident_mib())
    found = {
        "seconds": sum(seconds for seconds, _ in calls),
        "processor": sum(processor for _, processor in calls),
        "first": calls[0][0],
        "loss": history.history["loss"][-1],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return found | ({"grown_mib": resident[-1] - resident[9]} if len(calls) > 20 else {})


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def keep(new: dict[str, Any]) -> None:
    """Add a figure to the kept ones; those of earlier runs of the same round and later ones go."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    same = ("backend", "case", "way")
    rows = [row for row in rows if any(row[name] != new[name] for name in same) or row["round"] < new["round"]]
    rows = sorted([*rows, new], key=lambda row: (row["backend"], list(CASES).index(row["case"]), row["round"]))
    written = RESULTS.with_suffix(".new")
    written.write_text(
        json.dumps({"cores": len(os.sched_getaffinity(0)), "batch_size": BATCH, "rows": rows}, indent=1) + "\n",
        encoding="utf-8",
    )
    written.replace(RESULTS)


if __name__ == "__main__":
    sys.exit(main())
