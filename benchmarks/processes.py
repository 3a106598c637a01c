"""An epoch in one process and in several on this machine, with what they send each other.

    python benchmarks/processes.py [--processes 1 2] [--backend jax] [--write]

Each contender is a run of its own with the same seed and batch; the median of the epochs after the first counts. Each
process has one thread and one processor, so that two processes have twice the processors of one; ``--threads 0`` leaves
it to the frameworks, which take all processors already in one process. Run it on a machine that does nothing else.
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
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402  # after this checkout is put on the path

from mnistkit.training.distributed.launch import _free_ports  # noqa: E402  # the ports of `--processes`
from mnistkit.training.distributed.variables import variables_for  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "processes.json"
BACKENDS = ("jax", "tensorflow", "torch")
MODELS: dict[str, tuple[tuple[int, ...], int]] = {
    "tutorial": ((32,), 32),
    "wide": ((1024, 1024), 512),
    "wide, long steps": ((1024, 1024), 4096),
}
"""Widths of the hidden layers, and images in a batch of all processes."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backend", choices=BACKENDS, nargs="+", default=list(BACKENDS))
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        if options.threads:
            processors = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {processors[options.rank % len(processors)]})
        return worker(options.worker, images=options.images, epochs=options.epochs, threads=options.threads)
    rows = [
        run(backend, model, count, options)
        for backend in options.backend
        for model in MODELS
        for count in options.processes
    ]
    if options.write:
        about = {"images": options.images, "processors": len(os.sched_getaffinity(0)), "threads": options.threads}
        RESULTS.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def run(backend: str, model: str, count: int, options: argparse.Namespace) -> dict[str, Any]:
    words = [sys.executable, __file__, "--worker", model]
    words += ["--images", str(options.images), "--epochs", str(options.epochs), "--threads", str(options.threads)]
    ports = _free_ports(count)
    threads = str(options.threads)
    one_thread = {"OMP_NUM_THREADS": threads, "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    shared = {**os.environ, "KERAS_BACKEND": backend, **(one_thread if options.threads else {})}
    processes = [
        subprocess.Popen(
            [*words, "--rank", str(rank)], stdout=subprocess.PIPE, text=True,
            env={**shared, **(variables_for(backend, rank=rank, ports=ports) if count > 1 else {})},
        )
        for rank in range(count)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{backend}, {model}, {count} processes: failed")
    row = {"backend": backend, "model": model, "processes": count, **json.loads(said[0].splitlines()[-1])}
    row["load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(row), flush=True)
    return row


def worker(model: str, *, images: int, epochs: int, threads: int) -> int:
    import math

    from mnistkit.core.keras_backend import quiet_startup_logs
    from mnistkit.training import connect, fit

    quiet_startup_logs()
    if threads and os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf  # its threads have no variable

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(2)
    group = connect()
    import keras

    from mnistkit import load_data
    from mnistkit.digits.model import build_model

    widths, batch = MODELS[model]
    data = load_data()
    x = data.x_train[:images].reshape(images, -1).astype("float32") / 255
    y = np.eye(10, dtype="float32")[data.y_train[:images]]
    net = build_model("mlp", hidden=widths, seed=0)
    net.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])

    class Clock(keras.callbacks.Callback):  # type: ignore[name-defined]  # known only once Keras is loaded
        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []
            self.processor: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            del epoch, logs
            self.began = time.perf_counter(), time.process_time()

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            del epoch, logs
            self.seconds.append(time.perf_counter() - self.began[0])
            self.processor.append(time.process_time() - self.began[1])

    clock = Clock()
    fit(net, x, y, batch_size=batch, epochs=epochs, seed=0, verbose=0, callbacks=[clock])
    size = sum(4 * math.prod(one.shape) for one in net.trainable_variables)
    if group is None or group.is_first:
        print(json.dumps({
            "batch_size": batch,
            "seconds": round(statistics.median(clock.seconds[1:]), 4),
            "processor_seconds": round(statistics.median(clock.processor[1:]), 4),
            "steps": -(-images // batch),
            "gradient_bytes_per_step": size,
        }))  # fmt: skip
    if group is not None:
        group.exchange("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
