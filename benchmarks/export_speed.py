"""How fast written files run in onnxruntime, beside stock-exported files of the same model.

    python benchmarks/export_speed.py [MODEL ...]

Each model of ``keras.applications`` gets random weights, is written by mnistkit and exported by Keras under TensorFlow
(tf2onnx) and under PyTorch, each in a process of its own. All files of one model are timed in turn, in one process,
with one thread and one image; the fastest of the rounds counts. ``results/export_speed.json`` keeps the figures and the
ratio to the fastest stock file: below 1 is faster. ``python tools/docs_tables.py`` makes docs/exporting.md's table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = {
    "MobileNetV2": 128,
    "MobileNetV3Small": 128,
    "ResNet50": 128,
    "ResNet50V2": 128,
    "EfficientNetB0": 128,
    "EfficientNetV2B0": 128,
    "DenseNet121": 128,
    "Xception": 128,
    "InceptionV3": 128,
    "InceptionResNetV2": 128,
    "NASNetMobile": 128,
    "ConvNeXtTiny": 128,
    "VGG16": 128,
}
ROUNDS = 25


def build(name: str, folder: str) -> None:
    """Child process: export a model by this backend's stock exporter, and under TensorFlow by the native one too."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    size = MODELS[name]
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    rng = np.random.default_rng(0)
    model.set_weights([(w + rng.normal(0, 0.02, w.shape) ** 2).astype(w.dtype) for w in model.get_weights()])
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from mnistkit.export.native import convert

        start = time.perf_counter()
        proto = convert(model).proto
        seconds = time.perf_counter() - start
        (Path(folder) / "native.onnx").write_bytes(proto.SerializeToString())
        (Path(folder) / "native.json").write_text(json.dumps(seconds))
    model.predict(np.zeros((2, size, size, 3), "float32"), verbose=0)
    model.export(str(Path(folder) / f"{backend}.onnx"), format="onnx", verbose=False)


def measure(folder: str, size: int) -> tuple[dict[str, float], dict[str, str]]:
    """Time all files of a model in turn: the best milliseconds of each, and why a file could not run."""
    import numpy as np
    import onnxruntime as ort

    sessions, reasons = {}, {}
    image = np.random.default_rng(0).normal(0, 1, (1, size, size, 3)).astype("float32")
    for path in sorted(Path(folder).glob("*.onnx")):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            session.run(None, {session.get_inputs()[0].name: image})
        except Exception as error:
            if path.stem == "native":
                raise
            reasons[path.stem] = str(error).splitlines()[0][:200]
            continue
        sessions[path.stem] = session
    best = dict.fromkeys(sessions, float("inf"))
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: image})
            best[name] = min(best[name], (time.perf_counter() - start) * 1e3)
    return best, reasons


def compare(name: str) -> dict[str, object]:
    """Build and measure one model."""
    with tempfile.TemporaryDirectory() as folder:
        reasons = {}
        for backend in ("tensorflow", "torch"):
            environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
            command = [sys.executable, __file__, "--build", name, folder]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                reasons[backend] = (done.stderr.strip().splitlines() or ["?"])[-1][:200]
        times, unfit = measure(folder, MODELS[name])
        seconds = json.loads((Path(folder) / "native.json").read_text())
    stock = {key: value for key, value in times.items() if key != "native"}
    ratio = times["native"] / min(stock.values()) if stock else None
    return {"model": name, "milliseconds": times, "ratio": ratio, "write_seconds": seconds, "failed": reasons | unfit}


def main() -> None:
    """Parse the arguments, run, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--build", nargs=2, metavar=("MODEL", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.build:
        build(*arguments.build)
        return
    result = Path(__file__).parent / "results" / "export_speed.json"
    rows = {row["model"]: row for row in json.loads(result.read_text())} if result.exists() else {}
    print(f"{'model':20} {'native ms':>10} {'tf2onnx ms':>11} {'torch ms':>9} {'ratio':>6}")
    for name in arguments.models or MODELS:
        row = compare(name)
        rows[name] = row
        times = row["milliseconds"]
        cells = [f"{times[key]:.2f}" if key in times else "-" for key in ("native", "tensorflow", "torch")]
        print(f"{name:20} {cells[0]:>10} {cells[1]:>11} {cells[2]:>9} {row['ratio'] or 0:6.2f}", flush=True)
        kept = [rows[key] for key in MODELS if key in rows]
        result.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
