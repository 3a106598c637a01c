"""How long an export takes under each backend, its check included.

    python benchmarks/export_time.py [MODEL ...] [--backends jax torch] [--rounds 3] [--write]

Each backend has a process of its own for each round, in turn. Imports and building the model are not counted; every
model of a process is another kind, so nothing that was compiled for one serves the next. The fastest round counts.
``--write`` keeps the figures in ``results/export_time.json``; ``python tools/docs_tables.py`` makes the table of
docs/exporting.md. The BERT backbone needs keras-hub; without it the row is left out, and the output says so.
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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "export_time.json"
BACKENDS = ("torch", "jax", "tensorflow")
_SIZE = 96  # pixels
_LARGE = 500_000  # weights; random ones in so many layers need a small spread, or the answers overflow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"some of {', '.join(models())} (default: all)")
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.models or list(models())
    if options.child:
        measure(names)
        return 0
    found: dict[str, dict[str, float]] = {}
    weights: dict[str, int] = {}
    for number in range(options.rounds):
        for backend in options.backends:
            print(f"round {number + 1} of {options.rounds}, {backend}", file=sys.stderr, flush=True)
            seen = child(names, backend)
            weights |= seen["weights"]
            for name, seconds in seen["seconds"].items():
                row = found.setdefault(name, {})
                row[backend] = min(seconds, row.get(backend, seconds))
    rows = [{"model": name, "weights": weights[name], "seconds": found[name]} for name in found]
    for name, seconds in found.items():
        times = ", ".join(f"{backend} {value:.2f} s" for backend, value in seconds.items())
        print(f"{name} ({weights[name]:,} weights): {times}")
    if options.write:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def child(names: list[str], backend: str) -> dict[str, Any]:
    """Seconds of each model's export, and its number of weights; in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", __file__, *names, "--child"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(names: list[str]) -> None:
    """Child process: export every model, and print the seconds as JSON."""
    import keras
    import numpy as np

    from mnistkit.export import export_onnx

    found, weights = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            keras.utils.set_random_seed(0)
            try:
                model = models()[name]()
            except ImportError as error:
                print(f"{name}: left out ({error})", file=sys.stderr)
                continue
            if model.count_params() > _LARGE:
                rng = np.random.default_rng(0)
                model.set_weights(
                    [(w + rng.normal(0, 0.02, w.shape) ** 2).astype(w.dtype) for w in model.get_weights()]
                )
            start = time.perf_counter()
            export_onnx(model, Path(folder) / f"{name}.onnx")
            found[name] = round(time.perf_counter() - start, 3)
            weights[name] = model.count_params()
    print(json.dumps({"seconds": found, "weights": weights}))


def models() -> dict[str, Callable[[], Any]]:
    """Ways to build each model, by name."""
    applications = ("MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "Xception")
    built: dict[str, Callable[[], Any]] = {
        "mlp": _mlp,
        "cnn": _cnn,
        "LSTM": _lstm,
        "transformer, 2 blocks": _transformer,
        "U-Net": _unet,
        "BERT backbone, 2 blocks": _bert,
    }
    return built | {name: _application(name) for name in applications}


def _mlp() -> Any:
    from keras import Sequential, layers

    return Sequential(
        [layers.Input((784,)), layers.Dense(32, activation="relu"), layers.Dense(10, activation="softmax")]
    )


def _cnn() -> Any:
    from keras import Sequential, layers

    convolutions = [layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(32, 3)]
    return Sequential([layers.Input((28, 28, 1)), *convolutions, layers.Flatten(), layers.Dense(10)])


def _lstm() -> Any:
    from keras import Sequential, layers

    return Sequential([layers.Input((50,)), layers.Embedding(1000, 16), layers.LSTM(32), layers.Dense(3)])


def _transformer() -> Any:
    from keras import Model, layers

    words = layers.Input((64,))
    x = layers.Embedding(1000, 32)(words)
    for _ in range(2):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 16)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(64, activation="gelu")(x)))
    return Model(words, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def _unet() -> Any:
    from keras import Model, layers

    picture = layers.Input((32, 32, 3))
    wide = layers.Conv2D(8, 3, padding="same", activation="relu")(picture)
    narrow = layers.Conv2D(16, 3, strides=2, padding="same")(wide)
    again = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(narrow)
    return Model(picture, layers.Conv2D(1, 1)(layers.Concatenate()([wide, again])))


def _bert() -> Any:
    import keras_hub

    return keras_hub.models.BertBackbone(
        vocabulary_size=1000, num_layers=2, num_heads=2, hidden_dim=64, intermediate_dim=128, max_sequence_length=128
    )


def _application(name: str) -> Callable[[], Any]:
    def build() -> Any:
        import keras

        return getattr(keras.applications, name)(weights=None, input_shape=(_SIZE, _SIZE, 3))

    return build


if __name__ == "__main__":
    sys.exit(main())
