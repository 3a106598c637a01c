"""What ``mnistkit export --shrink`` makes of five kinds of model: size, loss, time beside float32.

    python benchmarks/shrink.py [MODEL ...]           print the table
    python benchmarks/shrink.py --write               and keep sizes, losses and times in results/shrink.json
    python benchmarks/shrink.py --write --no-times    keep sizes and losses alone, on a machine that is busy

| model | what it is | labels |
|---|---|---|
| mlp | exports/mnist-jax.onnx | MNIST's test images |
| cnn | the model inside the package | MNIST's test images |
| MobileNetV2 | of keras.applications, random weights, pictures of drawn squares | none |
| BERT | KerasHub's backbone, 2 layers of 128, random weights | none |
| LSTM | two layers, random features of drawn sentences on two topics | the topic of most words |

A random model answers almost the same to everything, so that a loss would mean nothing. MobileNetV2 therefore gets the
statistics of its batch normalizations from pictures, and the last layer of LSTM is solved by least squares, after which
it classifies. KerasHub is needed for BERT alone. ``python tools/docs_tables.py`` makes the table in docs/shrinking.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "shrink.json"


def mlp(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The tutorial's model."""
    del folder
    return ROOT / "exports" / "mnist-jax.onnx", {}


def cnn(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The model inside the package."""
    del folder
    return ROOT / "exports" / "mnist-cnn.onnx", {}


def mobilenet(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Pictures of 8 x 8 squares with noise, ``[n, 64, 64, 3]`` in [-1, 1]."""
    import keras

    from mnistkit import export_onnx

    rng = np.random.default_rng(0)

    def draw(count: int) -> Any:
        squares = rng.normal(0, 0.4, (count, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
        return np.clip(squares + rng.normal(0, 0.2, squares.shape), -1, 1).astype(np.float32)

    model = keras.applications.MobileNetV2(
        weights=None, input_shape=(64, 64, 3), classes=100, classifier_activation=None
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            (kernel,) = layer.get_weights()
            kernel[1, 1] += 1  # it passes on most of what it takes
            layer.set_weights([kernel])
    model(draw(64), training=True)
    report = export_onnx(model, folder / "mobilenet.onnx")
    return report.path, {"samples": {report.inputs[0].name: draw(256)}}


def solve_last_layer(model: Any, inputs: Any, classes: Any) -> None:
    """Least squares from what the last layer is given to the classes."""
    import keras

    last = model.layers[-1]
    features = keras.Model(model.inputs, last.input).predict(inputs, batch_size=64, verbose=0).astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = (features - mean) / deviation
    wanted = 8 * np.eye(last.units)[classes]
    ridge = 0.01 * len(scaled) * np.eye(scaled.shape[1])
    kernel = np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ (wanted - wanted.mean(axis=0)))
    kernel /= deviation[:, None]
    last.set_weights([kernel, wanted.mean(axis=0) - mean @ kernel])


def bert(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Token numbers of sentences of 16 words."""
    import keras_hub

    from mnistkit import export_onnx

    model = keras_hub.models.BertBackbone(
        vocabulary_size=5000, num_layers=2, num_heads=2, hidden_dim=128, intermediate_dim=512, max_sequence_length=64
    )
    report = export_onnx(model, folder / "bert.onnx")
    rng = np.random.default_rng(0)
    made = {"token_ids": lambda: rng.integers(0, 5000, (256, 16)), "padding_mask": lambda: np.ones((256, 16))}
    samples = {
        tensor.name: made.get(tensor.name, lambda: np.zeros((256, 16)))().astype(tensor.dtype)
        for tensor in report.inputs
    }
    return report.path, {"samples": samples}


def lstm(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Sentences of 20 of 2000 words, ``[n, 20]``; words of a topic lie near each other, as trained embeddings do."""
    import keras

    from mnistkit import export_onnx

    rng = np.random.default_rng(0)
    words = rng.integers(0, 2000, (6000, 20)).astype("int32")
    topic = (np.count_nonzero(words < 1000, axis=1) > 10).astype("int64")
    model = keras.Sequential(
        [
            keras.Input((20,), dtype="int32", name="words"),
            keras.layers.Embedding(2000, 64, name="embedding"),
            keras.layers.LSTM(128, return_sequences=True),
            keras.layers.LSTM(64),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    side = np.where(np.arange(2000) < 1000, 1, -1)[:, None] * rng.normal(0, 1, 64)
    model.get_layer("embedding").set_weights([0.3 * (side + rng.normal(0, 1, (2000, 64)))])
    solve_last_layer(model, words[:3000], topic[:3000])
    report = export_onnx(model, folder / "lstm.onnx")
    return report.path, {"samples": {report.inputs[0].name: words[3000:]}, "targets": topic[3000:]}


MODELS = {"mlp": mlp, "cnn": cnn, "MobileNetV2": mobilenet, "BERT": bert, "LSTM": lstm}


def measure(name: str, *, times: bool) -> dict[str, Any]:
    """Make a model and everything smaller that can be made of it."""
    import onnxruntime

    from mnistkit import shrink

    with tempfile.TemporaryDirectory() as folder:
        file, options = MODELS[name](Path(folder))
        found = shrink(file, Path(folder) / "smaller.onnx", kind="auto", progress=print, **options)
        print(found, flush=True)
    row = found.as_json()
    return {
        "model": name,
        "onnxruntime": onnxruntime.__version__,
        "processor": processor(),
        "size": row["size"],
        "accuracy": row["accuracy"],
        "max_loss": row["max_loss"],
        "picked": found.picked.name if found.picked and times else (None if not times else "float32"),
        "candidates": [
            {key: one[key] for key in ("name", "size", "size_ratio", "accuracy", "change", "loss", "refused")}
            | {"times": one["times"] if times else None}
            for one in row["candidates"]
        ],
    }


def processor() -> str:
    """Its name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def main() -> None:
    """Parse the arguments, measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results/shrink.json")
    parser.add_argument("--no-times", action="store_true", help="keep no times")
    options = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from mnistkit.core.keras_backend import load_keras

    load_keras().utils.set_random_seed(0)
    rows = {row["model"]: row for row in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    for name in options.models or MODELS:
        if name not in MODELS:
            sys.exit(f"no model {name!r}; there are {', '.join(MODELS)}")
        print(f"--- {name}", flush=True)
        rows[name] = measure(name, times=not options.no_times)
        if options.write:
            kept = [rows[key] for key in MODELS if key in rows]
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
