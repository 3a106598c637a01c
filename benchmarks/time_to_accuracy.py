"""Time a whole process until 99 % of MNIST's test images are read: ``fit``, ``mnistkit.fit``, and loops without Keras.

python benchmarks/time_to_accuracy.py [--backend jax tensorflow torch] [--way fit mnistkit.fit hand-written]
    [--seeds 0 1 2 3 4] [--write]

The clock starts before Python does and stops when the measured accuracy is printed: imports, reading the data,
compiling, training and the test are all in it. All contenders train the same model by the same recipe
(accuracy_recipe.py) from the same initial weights. A seed that does not reach 99 % is a failure, and shown as one.
Each contender first runs once on a few images, unmeasured: Python's bytecode is then there, as pip leaves it. No other
cache is used.

--write keeps each figure in benchmarks/results/time_to_accuracy.json as it comes, and goes on where an interrupted run
ended; --again measures anew. `python tools/docs_tables.py` makes docs/training.md from them. Everything takes about
eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tools"))

import accuracy_by_hand  # noqa: E402
import accuracy_recipe  # noqa: E402
from doc_pages.time_to_accuracy import GOAL, table  # noqa: E402 - tools/ is on the path from here on

SCRIPT = Path(__file__)
RESULTS = ROOT / "benchmarks" / "results" / "time_to_accuracy.json"
BACKENDS = ("jax", "tensorflow", "torch")
WAYS = ("fit", "mnistkit.fit", "hand-written")
BY_HAND = {"jax": accuracy_by_hand.jax_by_hand, "torch": accuracy_by_hand.torch_by_hand}
SEEDS = {"fit": range(3), "mnistkit.fit": range(5), "hand-written": range(5)}
PATIENCE = 300  # seconds; a contender that takes longer is reported as such
WARM_IMAGES = 4 * accuracy_recipe.BATCH
_CACHES = ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "XLA_FLAGS", "TF_XLA_FLAGS", "OMP_NUM_THREADS")


def main() -> int:
    """Measure, print, and with --write keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--way", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--seeds", nargs="+", type=int, help="default: 0 to 4, for plain fit 0 to 2")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--again", action="store_true", help="measure what was kept before as well")
    parser.add_argument("--child", nargs=3, metavar=("BACKEND", "WAY", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        backend, way, seed = args.child
        print(json.dumps(measure(backend, way, int(seed), images=args.images)), flush=True)
        return 0
    contenders = wanted(args.backend, args.way, args.seeds)
    done = [] if args.again or not args.write else kept()
    left = [contender for contender in contenders if not is_kept(contender, done)]
    rows = [row for row in done if name_of(row) in contenders]
    with tempfile.TemporaryDirectory() as bytecode:
        for backend, way in dict.fromkeys((backend, way) for backend, way, _ in left):
            warm = run(backend, way, 0, bytecode=bytecode, images=WARM_IMAGES)
            print(f"{backend} {way}: {warm.get('failed', 'ready')}", file=sys.stderr, flush=True)
        for contender in left:
            row = dict(zip(("backend", "way", "seed"), contender, strict=True)) | run(*contender, bytecode=bytecode)
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows = [one for one in rows if name_of(one) != contender] + [row]
            if args.write:
                keep(row)
    print("\n".join(table(rows)))
    return 0 if all(row.get("accuracy", 0) >= GOAL for row in rows) else 1


def wanted(backends: Any, ways: Any, seeds: list[int] | None) -> list[tuple[str, str, int]]:
    """Return backend, way and seed of each process, seed by seed, so that contenders run side by side."""
    pairs = [(backend, way) for backend in backends for way in ways if way != "hand-written" or backend in BY_HAND]
    every = seeds if seeds is not None else max(SEEDS.values(), key=len)
    return [(b, way, seed) for seed in every for b, way in pairs if seeds is not None or seed in SEEDS[way]]


def run(backend: str, way: str, seed: int, *, bytecode: str, images: int | None = None) -> dict[str, Any]:
    """Run one contender in a process of its own; ``whole`` is from its start to the printed accuracy.

    Args:
        backend: Of Keras, or of the loop written by hand.
        way: One of `WAYS`.
        seed: Of weights and order.
        bytecode: Folder for Python's compiled modules.
        images: Train on so many images alone; None is all.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _CACHES}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": bytecode, "KERAS_BACKEND": backend}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "MPLBACKEND": "agg"}
    command = [sys.executable, str(SCRIPT), "--child", backend, way, str(seed)]
    command += ["--images", str(images)] if images else []
    begun = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        late = threading.Timer(PATIENCE, process.kill)
        late.daemon = True
        late.start()
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("{")), "")  # a framework may print others
        whole = time.perf_counter() - begun
        process.communicate()
        late.cancel()
        if whole >= PATIENCE:
            return {"failed": f"took more than {PATIENCE} s"}
        if process.returncode or not line:
            errors.seek(0)
            return {"failed": (errors.read().strip().splitlines() or [f"exit {process.returncode}"])[-1][:200]}
    return json.loads(line) | {"whole": round(whole, 2), "load": round(os.getloadavg()[0], 1)}


def measure(backend: str, way: str, seed: int, *, images: int | None = None) -> dict[str, Any]:
    """Train and test in this process; report the accuracy and what each part took, in seconds."""
    begun = time.perf_counter()
    if way == "hand-written":
        __import__(backend)
    else:
        import keras

        if way == "mnistkit.fit":
            from mnistkit import fit
        else:
            fit = keras.Model.fit
    loaded = time.perf_counter()
    from mnistkit.digits.data import load_data

    train, test = ((x[:images, :, :, None].astype("float32") / 255, y[:images].astype("int32")) for x, y in load_data())
    read = time.perf_counter()
    if way == "hand-written":
        accuracy = float((BY_HAND[backend](train, test[0], seed=seed).argmax(1) == test[1]).mean())
    elif way == "mnistkit.fit":
        accuracy = accuracy_recipe.by_keras(train, test, seed=seed, fit=_seeded(fit, seed))
    else:
        keras.utils.set_random_seed(seed)  # of the order of the samples
        accuracy = accuracy_recipe.by_keras(train, test, seed=seed, fit=fit)
    return {
        "accuracy": round(accuracy, 6),
        "imports": round(loaded - begun, 2),
        "data": round(read - loaded, 2),
        "training": round(time.perf_counter() - read, 2),
        "processor": round(time.process_time(), 2),
    }


def _seeded(fit: Any, seed: int) -> Any:
    return lambda model, *arrays, **options: fit(model, *arrays, seed=seed, **options)


def name_of(row: dict[str, Any]) -> tuple[str, str, int]:
    """Return what tells a figure from others."""
    return row["backend"], row["way"], row["seed"]


def is_kept(contender: tuple[str, str, int], rows: list[dict[str, Any]]) -> bool:
    """Whether there is a figure of it already; a process that failed is run again."""
    return any(name_of(row) == contender and "failed" not in row for row in rows)


def kept() -> list[dict[str, Any]]:
    """Return the figures kept so far, none where they are of another recipe or another number of cores."""
    if not RESULTS.exists():
        return []
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found["rows"] if all(found.get(key) == value for key, value in _conditions().items()) else []


def keep(row: dict[str, Any]) -> None:
    """Add a figure to the kept ones, in the place of an earlier one."""
    rows = [one for one in kept() if name_of(one) != name_of(row)] + [row]
    rows.sort(key=lambda one: (BACKENDS.index(one["backend"]), WAYS.index(one["way"]), one["seed"]))
    RESULTS.parent.mkdir(exist_ok=True)
    written = RESULTS.with_suffix(".new")
    written.write_text(json.dumps({**_conditions(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    written.replace(RESULTS)


def _conditions() -> dict[str, Any]:
    return {"cores": len(os.sched_getaffinity(0)), "recipe": accuracy_recipe.RECIPE}


if __name__ == "__main__":
    sys.exit(main())
