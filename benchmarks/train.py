"""Time the ways to train the same model on the same data, side by side: one child process per contender and round.

python benchmarks/train.py [--model mlp|cnn|lstm|rows ...] [--backend jax tensorflow torch none] [--rounds 2] [--write]
python benchmarks/train.py --source [KIND ...] --hook [--backend ...]

Every round runs the contenders of a backend one right after the other, in another order each time; ratios are taken
within a round, and the median over the rounds is shown. --write keeps each figure in benchmarks/results/train.json as
it comes, so that an interrupted run loses nothing; `python tools/docs_tables.py` makes docs/training.md from them.

--model rows is all the small models of `train_models`, each of which can be named too. --missing measures only what has
no figure yet. --nightly PYTHON adds, under jax, the best settings of `fit` in the environment of another interpreter
that has keras-nightly, whose `steps_per_execution` is a loop of XLA's.

--source and --hook compare other sources of batches and logging callbacks with arrays and with plain fit, and print a
table of their own (`train_sources`).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tools"))

import train_models  # noqa: E402
import train_rows  # noqa: E402
import train_sources  # noqa: E402
from doc_pages.training import table  # noqa: E402 - tools/ is on the path from here on

RESULTS = ROOT / "benchmarks" / "results" / "train.json"
WHOLE = "python -m mnistkit.train"
WAYS = {
    ("mlp", "jax"): ("plain fit", "best fit", "mnistkit.fit", "hand-written", WHOLE),
    ("mlp", "tensorflow"): ("plain fit", "best fit", "mnistkit.fit", "hand-written", WHOLE),
    ("mlp", "torch"): ("plain fit", "mnistkit.fit", "hand-written", WHOLE),  # Keras offers no faster settings there
    ("mlp", "none"): ("NumPy by hand", "scikit-learn"),
    ("cnn", "jax"): ("plain fit", "best fit", "mnistkit.fit", "hand-written"),
    ("cnn", "tensorflow"): ("plain fit", "best fit", "mnistkit.fit", "hand-written"),
    ("cnn", "torch"): ("plain fit", "mnistkit.fit", "hand-written"),
    ("cnn", "none"): (),
    ("lstm", "jax"): ("plain fit", "best fit", "mnistkit.fit", "hand-written"),
    ("lstm", "tensorflow"): ("plain fit", "best fit", "mnistkit.fit", "hand-written"),
    ("lstm", "torch"): ("plain fit", "mnistkit.fit", "hand-written"),
    ("lstm", "none"): (),
}
ROWS = (*train_models.ROWS,)
SAMPLES = {"mlp": 60_000, "cnn": 6_000, "lstm": 6_000} | {name: row.samples for name, row in train_models.ROWS.items()}
EPOCHS = {"mlp": 4, "cnn": 3, "lstm": 5} | dict.fromkeys(ROWS, train_rows.EPOCHS)
PATIENCE = 200  # seconds; a contender that takes longer is reported as such


def main() -> int:
    """Measure, print, and with --write keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=(*SAMPLES, "rows"), default=["mlp"])
    parser.add_argument("--backend", nargs="+", choices=("jax", "tensorflow", "torch", "none"), default=None)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--missing", action="store_true", help="only what has no figure in the kept ones yet")
    parser.add_argument("--nightly", metavar="PYTHON", help="an interpreter whose packages have keras-nightly")
    parser.add_argument("--source", nargs="*", metavar="KIND", help="PyDataset, generator, tf.data, ...; none is all")
    parser.add_argument("--hook", action="store_true", help="with a callback that logs each batch, or each 50th")
    parser.add_argument("--child", nargs=2, metavar=("BACKEND", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    models = [name for given in args.model for name in (ROWS if given == "rows" else (given,))]
    if args.child:
        print(json.dumps(measure(*args.child, model=models[0])))
        return 0
    if args.source is not None or args.hook:
        ways, rows = train_sources.ways(args.source, hook=args.hook), []
        for backend in args.backend or ("jax", "tensorflow", "torch"):
            rows += measure_backend(backend, ways, model=models[0], rounds=args.rounds)
        print("\n".join(train_sources.table(rows)))
        return 1 if any("failed" in row for row in rows) else 0
    failed = False
    for model in models:
        rows = []
        for backend in args.backend or ("jax", "tensorflow", "torch", "none"):
            ways = ways_of(model, backend, nightly=args.nightly is not None)
            options = {"write": args.write, "missing": args.missing, "nightly": args.nightly}
            rows += measure_backend(backend, ways, model=model, rounds=args.rounds, **options)
        print("\n".join(["", model, *table(rows)]), flush=True)
        failed = failed or any("failed" in row for row in rows)
    return 1 if failed else 0


def ways_of(model: str, backend: str, *, nightly: bool) -> tuple[str, ...]:
    """Return the contenders."""
    if model not in ROWS:
        return WAYS[model, backend]
    return () if backend == "none" else train_rows.ways(backend, nightly=nightly)


def measure_backend(
    backend: str,
    ways: tuple[str, ...],
    *,
    model: str,
    rounds: int,
    write: bool = False,
    missing: bool = False,
    nightly: str | None = None,
) -> list[dict]:
    """Run the contenders of one backend, each once a round."""
    rows = []
    for number in range(rounds):
        turn = number % max(1, len(ways))
        for way in ways[turn:] + ways[:turn]:
            name = {"model": model, "backend": backend, "way": way, "round": number}
            known = [row for row in kept()["rows"] if "failed" not in row and name.items() <= row.items()]
            if missing and known:
                rows += known
                continue
            python = nightly if way == train_rows.NIGHTLY and nightly else sys.executable
            row = name | run(backend, way, model=model, python=python)
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows.append(row)
            if write:
                keep([row], model=model, backend=backend, before=number)
    return rows


def run(backend: str, way: str, *, model: str, python: str = sys.executable) -> dict:
    """Measure one contender in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    if backend == "none":
        environment["OPENBLAS_NUM_THREADS"] = "1"  # two wait for each other longer than products this small take
    else:
        environment["KERAS_BACKEND"] = backend
    if backend == "torch" and model in ("mlp", "lstm", *ROWS):
        environment["OMP_NUM_THREADS"] = "1"  # faster for every contender, and plain fit would suffer most otherwise
    with tempfile.TemporaryDirectory() as folder:
        command = [python, __file__, "--model", model, "--child", backend, way]
        if way == WHOLE:
            command = [sys.executable, *way.split()[1:], "--epochs", "2", "--out", f"{folder}/mnist.keras"]
        begun = time.perf_counter()
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {PATIENCE} s"}
        whole = time.perf_counter() - begun
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200]}
    found = {"whole": whole} if way == WHOLE else json.loads(done.stdout.splitlines()[-1])
    return found | {"load": round(os.getloadavg()[0], 1)}


def measure(backend: str, way: str, *, model: str) -> dict:
    """Train and report the seconds of each epoch, and what the process needed."""
    import resource

    import train_ways

    from mnistkit.digits.data import load_data

    del backend  # in the environment already
    if model in ROWS:
        epochs, loss = train_rows.run(way, model=model)
    else:
        data = load_data()
        n = SAMPLES[model]
        x = data.x_train.reshape(-1, 784)[:n].astype("float32") / 255
        train = train_ways.WAYS.get(way, functools.partial(train_sources.run, way))
        epochs, loss = train(x, data.y_train[:n], model=model, epochs=EPOCHS[model])
    return {
        "first": epochs[0][0],
        "total": sum(seconds for seconds, _ in epochs),
        "steady": statistics.median(seconds for seconds, _ in epochs[1:]),
        "processor": statistics.median(processor for _, processor in epochs[1:]),
        "loss": loss,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def kept() -> dict:
    """Return the figures kept so far."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rows": []}


def keep(new: list[dict], *, model: str, backend: str, before: int) -> None:
    """Add figures to the kept ones; those of an earlier run, of this round and later ones, go."""
    names = {row["way"] for row in new}
    rows = [
        row
        for row in kept()["rows"]
        if (row["model"], row["backend"]) != (model, backend) or row["way"] not in names or row["round"] < before
    ]
    rows = sorted(
        [*rows, *new], key=lambda row: (list(SAMPLES).index(row["model"]), row["backend"], row["round"], row["way"])
    )
    RESULTS.parent.mkdir(exist_ok=True)
    settings = {"cores": len(os.sched_getaffinity(0)), "batch_size": 32, "samples": SAMPLES, "epochs": EPOCHS}
    written = RESULTS.with_suffix(".new")
    written.write_text(json.dumps({**settings, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    written.replace(RESULTS)


if __name__ == "__main__":
    sys.exit(main())
