"""How fast written files run in onnxruntime, beside stock-exported files of the same model, as they are and optimized.

    python benchmarks/export_speed.py [MODEL ...]

Each model gets random weights, is written by mnistkit and exported by Keras under TensorFlow (tf2onnx) and under
PyTorch, each in a process of its own. onnxslim and onnxsim optimize every file once more where they are installed, and
onnxruntime's transformer fusions those of transformers. All files of one model are timed in turn, in one process, with
one thread and one row; the fastest of the rounds counts. ``results/export_speed.json`` keeps the figures and the ratio
to the fastest file of another exporter: below 1 is faster. ``python tools/docs_tables.py`` makes docs/exporting.md's
table. The BERT backbone needs keras-hub.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZE = 128  # pixels
APPLICATIONS = (
    "MobileNetV2",
    "MobileNetV3Small",
    "ResNet50",
    "ResNet50V2",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "DenseNet121",
    "Xception",
    "InceptionV3",
    "InceptionResNetV2",
    "NASNetMobile",
    "ConvNeXtTiny",
    "VGG16",
)
TRANSFORMERS = ("BertBackbone",)
HEADS, WIDTH, WORDS, LENGTH = 4, 256, 3000, 64
MODELS = (*APPLICATIONS, *TRANSFORMERS, "LSTM")
ROUNDS = 40


def make(name: str) -> tuple[Any, dict[str, Any] | Any]:
    """A model with random weights, and what to call it with."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    words = rng.integers(1, WORDS, (1, LENGTH)).astype("int32")
    if name == "LSTM":
        layers = [keras.Input((LENGTH,)), keras.layers.Embedding(WORDS, 64), keras.layers.LSTM(128)]
        return keras.Sequential([*layers, keras.layers.Dense(10)]), words.astype("float32")
    if name in TRANSFORMERS:
        import keras_hub

        sizes = {"vocabulary_size": WORDS, "num_layers": 4, "num_heads": HEADS, "hidden_dim": WIDTH}
        model = getattr(keras_hub.models, name)(**sizes, intermediate_dim=4 * WIDTH, max_sequence_length=128)
        return model, {"token_ids": words, "segment_ids": words * 0, "padding_mask": words * 0 + 1}
    model = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3))
    model.set_weights([(w + rng.normal(0, 0.02, w.shape) ** 2).astype(w.dtype) for w in model.get_weights()])
    return model, rng.normal(0, 1, (1, SIZE, SIZE, 3)).astype("float32")


def build(name: str, folder: str) -> None:
    """Child process: export a model by this backend's stock exporter, and under TensorFlow by mnistkit too."""
    import keras
    import numpy as np

    model, given = make(name)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from mnistkit.export.native import convert

        start = time.perf_counter()
        proto = convert(model).proto
        seconds = time.perf_counter() - start
        (Path(folder) / "native.onnx").write_bytes(proto.SerializeToString())
        (Path(folder) / "native.json").write_text(json.dumps(seconds))
        np.savez(Path(folder) / "inputs.npz", **(given if isinstance(given, dict) else {"": given}))
    model(given)
    model.export(str(Path(folder) / f"{backend}.onnx"), format="onnx", verbose=False)


def optimize(folder: str, name: str) -> None:
    """Child process: every file once more, by each optimizer that is installed."""
    import onnx

    for path in sorted(Path(folder).glob("*.onnx")):
        ways = {"onnxslim": _slim, "onnxsim": _simplify} | ({"fused": _fuse} if name in TRANSFORMERS else {})
        for way, function in ways.items():
            try:
                onnx.save(function(str(path)), str(path.with_name(f"{path.stem}, {way}.onnx")))
            except Exception as error:  # noqa: BLE001  # an optimizer that fails takes no part
                print(f"{path.stem}, {way}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)


def _slim(path: str) -> Any:
    import onnxslim

    return onnxslim.slim(path)


def _simplify(path: str) -> Any:
    import onnx
    import onnxsim

    return onnxsim.simplify(onnx.load(path))[0]


def _fuse(path: str) -> Any:
    from onnxruntime.transformers import optimizer

    return optimizer.optimize_model(path, model_type="bert", num_heads=HEADS, hidden_size=WIDTH, opt_level=0).model


def feed(session: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs under the names and in the types of a file, whatever its exporter made of both."""
    types = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool"}
    wanted = session.get_inputs()
    if len(inputs) == 1:
        return {wanted[0].name: next(iter(inputs.values())).astype(types[wanted[0].type])}
    found = {}
    for tensor in wanted:
        (array,) = (array for key, array in inputs.items() if key in tensor.name)
        found[tensor.name] = array.astype(types[tensor.type])
    return found


def measure(folder: str) -> tuple[dict[str, float], dict[str, str]]:
    """Time all files of a model in turn: the best milliseconds of each, and why a file could not run."""
    import numpy as np
    import onnxruntime as ort

    runs, reasons = {}, {}
    with np.load(Path(folder) / "inputs.npz") as archive:
        inputs = dict(archive)
    for path in sorted(Path(folder).glob("*.onnx")):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            given = feed(session, inputs)
            session.run(None, given)
        except Exception as error:
            if path.stem == "native":
                raise
            reasons[path.stem] = str(error).splitlines()[0][:200]
            continue
        runs[path.stem] = (session, given)
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, (session, given) in runs.items():
            start = time.perf_counter()
            session.run(None, given)
            best[name] = min(best[name], (time.perf_counter() - start) * 1e3)
    return best, reasons


def compare(name: str) -> dict[str, Any]:
    """Build and measure one model."""
    with tempfile.TemporaryDirectory() as folder:
        reasons = {}
        for backend in ("tensorflow", "torch"):
            environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
            command = [sys.executable, __file__, "--build", name, folder]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                reasons[backend] = (done.stderr.strip().splitlines() or ["?"])[-1][:200]
                with contextlib.suppress(FileNotFoundError):
                    (Path(folder) / f"{backend}.onnx").unlink()
        command = [sys.executable, __file__, "--optimize", folder, name]
        subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "torch"}, stdout=subprocess.DEVNULL, check=True)
        times, unfit = measure(folder)
        seconds = json.loads((Path(folder) / "native.json").read_text())
    others = {key: value for key, value in times.items() if not key.startswith("native")}
    ratio = times["native"] / min(others.values()) if others else None
    return {"model": name, "milliseconds": times, "ratio": ratio, "write_seconds": seconds, "failed": reasons | unfit}


def main() -> None:
    """Parse the arguments, run, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--build", nargs=2, metavar=("MODEL", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--optimize", nargs=2, metavar=("FOLDER", "MODEL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        return build(*arguments.build)
    if arguments.optimize:
        return optimize(*arguments.optimize)
    result = Path(__file__).parent / "results" / "export_speed.json"
    rows = {row["model"]: row for row in json.loads(result.read_text())} if result.exists() else {}
    for name in arguments.models or MODELS:
        row = compare(name)
        rows[name] = row
        times = ", ".join(f"{key} {value:.2f}" for key, value in row["milliseconds"].items())
        print(f"{name}: {times}; ratio {row['ratio'] or 0:.2f}", flush=True)
        kept = [rows[key] for key in MODELS if key in rows]
        result.write_text(json.dumps(kept, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
