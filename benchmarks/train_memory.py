"""Measure the memory of `fit` and of `mnistkit.fit`: the peak of a run, and what many calls leave behind.

KERAS_BACKEND=torch python benchmarks/train_memory.py [--calls 100] [--samples 60000]

Peak: the tutorial's model for two epochs, on arrays and on a generator of batches, each in a process of its own.
"before" is the process with Keras, the model and the data, before the first step.
Growth: many calls on a small model in one process, after 20 calls that fill what is kept; each call the same number of
samples, or another one. All figures are resident memory of the process, in MiB.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
FITTED = ("fit", "mnistkit.fit")
DATA = ("arrays", "generator")
CALLS = ("same n", "other n")
WARM_UP = 20
BATCH = 32


def main() -> int:
    """Measure in processes of their own, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100, help=f"of the growth, after {WARM_UP} others")
    parser.add_argument("--samples", type=int, default=60_000, help="of the peak")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, fitted, kind = args.child
        found = peak(fitted, kind, args.samples) if what == "peak" else growth(fitted, kind, args.calls)
        print(json.dumps(found))
        return 0
    backend = os.environ.get("KERAS_BACKEND", "")
    print("| backend | data | before | peak, fit | peak, mnistkit.fit | fit = 1 |\n|---|---|---|---|---|---|")
    for kind in DATA:
        fit, ours = (child("peak", fitted, kind, args) for fitted in FITTED)
        sizes = (fit["before"], fit["peak"], ours["peak"])
        cells = " | ".join(f"{size:.0f}" for size in sizes)
        print(f"| {backend} | {kind} | {cells} | {sizes[2] / sizes[1]:.2f} |", flush=True)
    print(f"\n| backend | {args.calls} calls with | after {WARM_UP} | growth, fit | growth, mnistkit.fit |")
    print("|---|---|---|---|---|")
    for kind in CALLS:
        fit, ours = (child("growth", fitted, kind, args) for fitted in FITTED)
        print(f"| {backend} | {kind} | {ours['after']:.0f} | {fit['growth']:.1f} | {ours['growth']:.1f} |", flush=True)
    return 0


def child(what: str, fitted: str, kind: str, args: argparse.Namespace) -> dict[str, float]:
    """Measure in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    options = ["--calls", str(args.calls), "--samples", str(args.samples), "--child", what, fitted, kind]
    command = [sys.executable, __file__, *options]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def resident() -> float:
    """Return the resident memory of this process now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def fitted_by(name: str) -> Any:
    """Return what trains: a function of model, data and options."""
    from mnistkit.training import fit

    return fit if name == "mnistkit.fit" else lambda model, *data, **options: model.fit(*data, **options)


def peak(fitted: str, kind: str, samples: int) -> dict[str, float]:
    """Train the tutorial's model for two epochs."""
    import train_ways

    random = np.random.default_rng(0)
    x = random.random((samples, 784), "float32")
    y = train_ways.one_hot(random.integers(0, 10, samples))
    model = train_ways.keras_model("mlp")
    steps = samples // BATCH

    def forever() -> Any:
        while True:
            for i in range(0, steps * BATCH, BATCH):
                yield x[i : i + BATCH], y[i : i + BATCH]

    train, before = fitted_by(fitted), resident()
    if kind == "arrays":
        train(model, x, y, batch_size=BATCH, epochs=2, verbose=0)
    else:
        train(model, forever(), steps_per_epoch=steps, epochs=2, verbose=0)
    return {"before": before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def growth(fitted: str, kind: str, calls: int) -> dict[str, float]:
    """Train a small model again and again."""
    import keras

    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    random = np.random.default_rng(0)
    x, y = random.random((4096, 20), "float32"), random.random((4096, 1), "float32")
    train, after = fitted_by(fitted), 0.0
    for call in range(WARM_UP + calls):
        if call == WARM_UP:
            after = resident()
        n = 1000 if kind == "same n" else 200 + (call * 617) % 3800
        train(model, x[:n], y[:n], batch_size=BATCH, epochs=1, verbose=0)
    return {"after": after, "growth": resident() - after}


if __name__ == "__main__":
    sys.exit(main())
