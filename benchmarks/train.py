"""Time the ways to train the same model on the same data, side by side: one child process per contender.

python benchmarks/train.py [--model mlp|cnn] [--backend jax ...] [--epochs 4] [--write]

--write keeps the figures in benchmarks/results/train.json and renders docs/training.md and docs/training.svg from it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "train.json"
BACKENDS = ("jax", "tensorflow", "torch")
KERAS_WAYS = ("plain fit", "best fit", "mnistkit.fit", "hand-written")
OTHER_WAYS = ("NumPy by hand", "scikit-learn")


def main() -> int:
    """Measure, print, and with --write keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("mlp", "cnn"), default="mlp")
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--epochs", type=int, default=4, help="at least 2; steady state is the median after the first")
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--render", action="store_true", help="render the docs from the kept figures; measure nothing")
    parser.add_argument("--child", nargs=2, metavar=("BACKEND", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(*args.child, args=args)))
        return 0
    if not args.render:
        rows = [
            run(backend, way, args) for backend in args.backend for way in KERAS_WAYS if fits(backend, way, args.model)
        ]
        if args.model == "mlp":
            rows += [run("none", way, args) for way in OTHER_WAYS]
            rows += [whole_process(backend) for backend in args.backend]
        print("\n".join(table(rows)))
        if args.write:
            keep(rows, args)
    if args.write or args.render:
        sys.path.insert(0, str(ROOT / "benchmarks"))
        import train_docs

        train_docs.render(json.loads(RESULTS.read_text(encoding="utf-8")))
    return 0


def fits(backend: str, way: str, model: str) -> bool:
    if way == "hand-written":
        return model == "mlp"  # the CNN's would be Keras' layers once more
    return way != "best fit" or backend != "torch"  # Keras offers nothing there that pays within these epochs


def run(backend: str, way: str, args: argparse.Namespace) -> dict:
    """Measure one contender in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--model",
        args.model,
        "--epochs",
        str(args.epochs),
        "--samples",
        str(args.samples),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    if backend != "none":
        environment["KERAS_BACKEND"] = backend
    done = subprocess.run(
        [*command, "--child", backend, way], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def whole_process(backend: str) -> dict:
    """Time `python -m mnistkit.train` from start to exit."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend}
        command = [sys.executable, "-m", "mnistkit.train", "--epochs", "2", "--out", f"{folder}/mnist.keras"]
        begun = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
    return {"model": "mlp", "backend": backend, "way": "python -m mnistkit.train", "whole": seconds}


def measure(backend: str, way: str, *, args: argparse.Namespace) -> dict:
    """Train and report the seconds of each epoch, and what the process needed."""
    import resource

    from mnistkit.data import load_data

    data = load_data()
    shape = (-1, 784)
    x = data.x_train.reshape(shape)[: args.samples].astype("float32") / 255
    labels = data.y_train[: args.samples]
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import train_ways

    seconds, loss = train_ways.WAYS[way](x, labels, model=args.model, epochs=args.epochs)
    return {
        "model": args.model,
        "backend": backend,
        "way": way,
        "first": seconds[0],
        "steady": statistics.median(seconds[1:]),
        "loss": loss,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(rows: list[dict]) -> list[str]:
    """Markdown lines; ratios are to plain fit on the same backend."""
    lines = [
        "| backend | way | first epoch, s | each further epoch, s | speed, plain fit = 1 | peak memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    plain = {row["backend"]: row["steady"] for row in rows if row["way"] == "plain fit"}
    for row in rows:
        if "whole" in row:
            lines.append(f"| {row['backend']} | `{row['way']}`, whole process, 2 epochs | {row['whole']:.2f} | | | |")
            continue
        ratio = f"{plain[row['backend']] / row['steady']:.1f}" if row["backend"] in plain else ""
        backend = "" if row["backend"] == "none" else row["backend"]
        lines.append(
            f"| {backend} | {row['way']} | {row['first']:.2f} | {row['steady']:.3f} | {ratio} | {row['peak_mib']:.0f} |"
        )
    return lines


def keep(rows: list[dict], args: argparse.Namespace) -> None:
    """Replace this model's rows in the kept figures."""
    old = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    kept = [row for row in old if row["model"] != args.model] + rows
    RESULTS.parent.mkdir(exist_ok=True)
    cores = len(os.sched_getaffinity(0))
    RESULTS.write_text(
        json.dumps({"cores": cores, "epochs": args.epochs, "samples": args.samples, "rows": kept}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
