"""The sections of benchmarks/gpu.py; each yields what it finds, row by row."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
BATCH = 32
PACKAGES = ("keras", "torch", "jax", "tensorflow", "numpy", "onnx", "onnxruntime-gpu", "onnxruntime")
Row = dict[str, Any]


def machine(**_: Any) -> Iterator[Row]:
    """What it all ran on."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        told = ""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    yield {"gpu": told or "none", "processors": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    yield versions
    import onnxruntime as ort

    yield {"onnxruntime": ort.__version__, "offers": ort.get_available_providers()}


# --- training -------------------------------------------------------------------------------------------------------


def check_graphs(*, device: str, data: str | None, **_: Any) -> Iterator[Row]:
    """Whether a replay as CUDA graph computes what the plain replay computes, and that what ``fit`` computes."""
    import torch

    from mnistkit.training.torch import cuda_graph

    refused: list[str] = []
    capture = cuda_graph.CapturedStep

    def noted(*given: Any, **options: Any) -> Any:
        try:
            return capture(*given, **options)
        except RuntimeError as error:
            refused.append(" ".join(str(error).split())[:300])
            raise

    cuda_graph.CapturedStep = noted
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    # The mlp: 1010 samples, so a smaller last batch, and 11 epochs, as it gets a program of its own in the last; then a
    # second call. The cnn: few steps, because what two right computations differ by grows from step to step: after 96
    # steps even `fit` and the plain replay are 0.36 apart, with the same loss but for 3 %.
    runs = [("mlp", 1010 if device == "cuda" else 170, 11), *(("cnn", BATCH * steps, 1) for steps in (1, 2, 5))]
    for name, samples, epochs in runs:
        x, y = images(data, samples)
        ends: dict[str, Any] = {}
        for way in ("fit", "plain replay", "graph"):
            made = model(name)
            train_as(way, made, x, y, epochs=epochs, shuffle=False)
            if name == "mlp":
                made.optimizer.learning_rate = 0.0003  # the second call finds the program of the first
                train_as(way, made, x, y, epochs=1, shuffle=False)
            ends[way] = np.concatenate([np.ravel(value) for value in all_values(made)])
            captured = [replay._captured is not None for replay in replays(made)]  # noqa: SLF001
            if way == "plain replay":
                assert not any(captured), "graphs were to be off"
        steps = -(-samples // BATCH) * (epochs + (name == "mlp"))
        for one, other in (("fit", "plain replay"), ("plain replay", "graph"), ("fit", "graph")):
            apart = float(np.max(np.abs(ends[one] - ends[other])))
            row: Row = {"model": name, "steps": steps, "compared": f"{one} / {other}", "largest difference": apart}
            if (one, other) == ("plain replay", "graph"):
                row |= {"steps recorded": f"{sum(captured)} of {len(captured)}", "refused": refused}
                good = apart <= 1e-5 and all(captured)
                row["result"] = "not run: no CUDA device" if device == "cpu" else "PASS" if good else "FAIL"
            yield row


def train(*, device: str, data: str | None, backend: str, **_: Any) -> Iterator[Row]:
    """Milliseconds of a step, and seconds until the end of the first epoch."""
    if importlib.util.find_spec(backend) is None:
        yield {"backend": backend, "not run": f"{backend} is not installed"}
        return
    for name, samples in (("mlp", 60_000), ("cnn", 30_000)):
        ways = ["fit", "mnistkit.fit"] if backend != "torch" else ["fit", "plain replay", "graph"]
        for way in ways:
            count = samples if way != "fit" or backend == "jax" else samples // 5
            x, y = images(data, count if device == "cuda" else 640)
            made = model(name)
            began = time.perf_counter()
            train_as(way, made, x[:BATCH], y[:BATCH], epochs=1)
            first = time.perf_counter() - began
            ends: list[float] = []
            logs = train_as(way, made, x, y, epochs=3, ends=ends)
            yield {
                "backend": backend,
                "model": name,
                "way": way,
                "first step s": round(first, 3),
                "ms a step": round(1000 * float(np.min(np.diff(ends))) / (len(x) // BATCH), 4),
                "samples": len(x),
                "program": way == "fit" or bool(programs(made)),
                "loss": round(float(logs["loss"][-1]), 4),
            }


def train_as(
    way: str, made: Any, x: Any, y: Any, *, epochs: int, shuffle: bool = True, ends: list[float] | None = None
) -> dict[str, Any]:
    """Train in one of the ways, and return the history."""
    import keras

    from mnistkit.training import fit

    watch = keras.callbacks.Callback()
    watch.on_epoch_end = lambda *_: ends is not None and ends.append(time.perf_counter())
    options = {"epochs": epochs, "batch_size": BATCH, "verbose": 0, "callbacks": [watch], "shuffle": shuffle}
    if way == "fit":
        return made.fit(x, y, **options).history
    os.environ["MNISTKIT_CUDA_GRAPHS"] = "0" if way.startswith("plain") else "1"
    return fit(made, x, y, seed=0, **options).history


def model(name: str) -> Any:
    import keras

    from mnistkit.digits.model import build_model

    made = build_model(name)
    made.compile(keras.optimizers.RMSprop(0.001), "categorical_crossentropy", metrics=["accuracy"])
    return made


def images(path: str | None, count: int) -> tuple[Any, Any]:
    from mnistkit import load_data

    found = load_data(path)
    x = found.x_train[:count].reshape(-1, 784).astype("float32") / 255
    return x, np.eye(10, dtype="float32")[found.y_train[:count]]


def all_values(made: Any) -> list[Any]:
    import keras

    return [keras.ops.convert_to_numpy(one) for one in (*made.variables, *made.optimizer.variables)]


def programs(made: Any) -> list[Any]:
    """The programs of the fast trainer; none where it left the run to ``fit``."""
    store = vars(made).get("_mnistkit_programs")
    return [entry.program for entry in (store.entries.values() if store else ()) if entry.program is not None]


def replays(made: Any) -> list[Any]:
    return [one for program in programs(made) for one in program._replays.values()]  # noqa: SLF001


# --- export and parity ----------------------------------------------------------------------------------------------


def export_and_parity(*, device: str, data: str | None, work: str, backend: str, **_: Any) -> Iterator[Row]:
    """Export on this device, and compare Keras here, onnxruntime on the CPU and onnxruntime here."""
    if importlib.util.find_spec(backend) is None:
        yield {"backend": backend, "not run": f"{backend} is not installed"}
        return
    from mnistkit import load_data
    from mnistkit.export import export_onnx

    rows = load_data(data).x_test[:512].reshape(-1, 784).astype("float32") / 255
    pictures = np.random.default_rng(0).uniform(-1, 1, (8, 224, 224, 3)).astype("float32")
    for name in ("mlp", "cnn", "mobilenet"):
        if name == "mobilenet":
            if backend != "torch":
                continue
            import keras

            made, x = keras.applications.MobileNetV2(weights=None, classifier_activation=None), pictures
            seed_statistics(made)
        else:
            made, x = model(name), rows
            train_as("mnistkit.fit", made, *images(data, 6400 if device == "cuda" else 640), epochs=1)
        path = Path(work) / f"{name}-{backend}.onnx"
        began = time.perf_counter()
        report = export_onnx(made, path, profile="none")
        row: Row = {"backend": backend, "model": name, "export s": round(time.perf_counter() - began, 2)}
        yield row | {"largest difference": float(report.largest), "allowed": float(report.atol)}
        yield {"backend": backend, "model": name, **differences(made, path, x, device)}


def differences(made: Any, path: Path, x: Any, device: str) -> Row:
    """Largest differences between the answers, in full float32 and as each is by default."""
    from mnistkit import Runtime
    from mnistkit.core.keras_backend import full_precision

    with full_precision():
        keras_full = np.asarray(made.predict(x, batch_size=len(x), verbose=0))
    cpu = Runtime(path, device="cpu").run(x)
    here, fast = (Runtime(path, device=device, exact=exact).run(x) for exact in (True, False))
    # a new model: a compiled predict keeps the precision that it was compiled with
    copied = type(made).from_config(made.get_config())
    copied.set_weights(made.get_weights())
    keras_default = np.asarray(copied.predict(x, batch_size=len(x), verbose=0))
    pairs = {
        "onnxruntime, exact / Keras, full": (here, keras_full),
        "onnxruntime, exact / onnxruntime, cpu": (here, cpu),
        "onnxruntime, TF32 / onnxruntime, cpu": (fast, cpu),
        "Keras, default / onnxruntime, cpu": (keras_default, cpu),
        "Keras, full / onnxruntime, cpu": (keras_full, cpu),
    }
    return {key: float(np.max(np.abs(a - b))) for key, (a, b) in pairs.items()} | {
        "largest answer": float(np.abs(cpu).max())
    }


def seed_statistics(made: Any) -> None:
    """Moving averages as after a training, so that random weights give answers that differ from row to row."""
    generator = np.random.default_rng(1)
    for variable in made.non_trainable_variables:
        if variable.path.endswith("moving_variance"):
            variable.assign(generator.uniform(0.05, 0.3, variable.shape))


# --- onnxruntime ----------------------------------------------------------------------------------------------------


def bench_files(*, device: str, work: str, **_: Any) -> Iterator[Row]:
    """``mnistkit bench`` of three models on the CPU and here."""
    from mnistkit.publish.bench import bench

    files = {"mlp": ROOT / "exports/mnist-jax.onnx", "cnn": ROOT / "exports/mnist-cnn.onnx"}
    files["MobileNetV2"] = Path(work) / "mobilenet-torch.onnx"
    for name, file in files.items():
        if not file.exists():
            continue
        sizes = (1, 32, 1024) if device == "cuda" or name != "MobileNetV2" else (1,)
        for where in dict.fromkeys((device, "cpu")):
            found = bench(file, device=where, keras=False, batch_sizes=sizes)
            row: Row = {"model": name, "provider": found.provider, "load ms": round(found.load, 1)}
            row["first ms"] = round(found.first, 2)
            row |= {f"p50 ms at {one.batch_size}": round(one.p50, 3) for one in found.latencies}
            yield row | ({"left out": found.left_out} if found.left_out else {})


def binding(*, device: str, work: str, **_: Any) -> Iterator[Row]:
    """Whether onnxruntime's IOBinding is faster than its ``run``, from arrays and to arrays."""
    import onnxruntime as ort

    from mnistkit import Runtime

    sizes = {ROOT / "exports/mnist-cnn.onnx": (1024, 16384), Path(work) / "mobilenet-torch.onnx": (32, 256)}
    for file, batches in sizes.items():
        if not file.exists():
            continue
        runtime = Runtime(file, device=device)
        for batch in batches if device == "cuda" else (1,):
            x = np.random.default_rng(0).random((batch, *runtime.inputs[0].shape[1:]), dtype="float32")
            expected = runtime.run(x)
            row: Row = {"file": file.stem, "batch": batch, "MB in": round(x.nbytes / 1e6, 1)}
            for way, call in bindings(ort, runtime, x, expected, kind=device).items():
                answers = call()
                same = answers is None or np.allclose(answers, expected, rtol=0, atol=1e-4)
                row[f"{way} ms"] = round(best(call), 3) if same else "WRONG ANSWERS"
            yield row


def bindings(ort: Any, runtime: Any, x: Any, expected: Any, *, kind: str) -> dict[str, Callable[[], Any]]:
    """Ways to run: as it is, with IOBinding, with buffers on the device used again, and without any copies."""
    session = runtime._session  # noqa: SLF001  # the very session
    name, names = runtime.inputs[0].name, [one.name for one in runtime.outputs]

    def run() -> Any:
        return session.run(names, {name: x})[0]

    def new() -> Any:
        made = session.io_binding()
        made.bind_cpu_input(name, x)
        made.bind_output(names[0], kind, 0)
        session.run_with_iobinding(made)
        return made.copy_outputs_to_cpu()[0]

    held_in = ort.OrtValue.ortvalue_from_numpy(x, kind, 0)
    held_out = ort.OrtValue.ortvalue_from_shape_and_type(list(expected.shape), expected.dtype.type, kind, 0)
    kept = session.io_binding()
    kept.bind_ortvalue_input(name, held_in)
    kept.bind_ortvalue_output(names[0], held_out)

    def again() -> Any:
        held_in.update_inplace(x)
        session.run_with_iobinding(kept)
        return held_out.numpy()

    def resident() -> None:
        session.run_with_iobinding(kept)

    return {"run": run, "binding": new, "kept buffers": again, "without copies": resident}


def best(call: Callable[[], Any]) -> float:
    """Milliseconds of the fastest of several calls."""
    times = []
    for _ in range(20):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
        if sum(times) > 2:
            break
    return 1000 * min(times)
