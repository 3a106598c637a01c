"""The ways to train the models of train_models.py, for benchmarks/train.py: each with the same weights and batches."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import train_models
import train_ways
from train_loops import BATCH, SEED

if TYPE_CHECKING:
    import numpy as np
    from train_ways import Epoch

NIGHTLY = "best fit, keras-nightly"
EPOCHS = 5
_CONVOLUTIONS = ("conv1d", "depthwise")


def ways(backend: str, *, nightly: bool) -> tuple[str, ...]:
    """Return the contenders of a backend; Keras offers no faster settings under torch."""
    of_jax = (NIGHTLY,) if nightly and backend == "jax" else ()
    best = () if backend == "torch" else ("best fit",)
    return ("plain fit", *best, *of_jax, "mnistkit.fit", "hand-written")


def run(way: str, *, model: str) -> tuple[list[Epoch], float]:
    """Train a model in one of the ways; return seconds of each epoch, and a loss."""
    x, y = train_models.ROWS[model].data(train_models.ROWS[model].samples)
    if way == "hand-written":
        return train_ways.timed(hand_written(model, x, y), len(y), epochs=EPOCHS)
    made = train_models.compiled(model, **(best_settings(model, len(y) // BATCH) if way.startswith("best") else {}))
    if way == "mnistkit.fit":
        from mnistkit.training import fit

        return train_ways.timed_fit(lambda **options: fit(made, x, y, seed=SEED, **options), epochs=EPOCHS)
    return train_ways.timed_fit(lambda **options: made.fit(x, y, **options), epochs=EPOCHS)


def hand_written(model: str, x: Any, y: np.ndarray, *, dropout: float = train_models.DROPOUT) -> Any:
    """Return an epoch of the loop in the present backend's framework, from the Keras model's weights."""
    import keras

    loops = importlib.import_module(f"train_hand_{keras.backend.backend()}")
    weights = [
        keras.ops.convert_to_numpy(v).copy() for v in train_models.compiled(model, dropout=dropout).trainable_weights
    ]
    return loops.epoch(model, weights, x, y, dropout=dropout)


def best_settings(model: str, steps: int) -> dict[str, Any]:
    """Return the settings of ``compile`` with which ``fit`` should be fastest; reasoned, not measured yet.

    XLA's loops on the CPU are slow with convolutions. Before Keras 3.16, JAX compiles as many copies of the step as one
    call runs.
    """
    import keras

    convolutions = model in _CONVOLUTIONS
    if keras.backend.backend() == "tensorflow":
        return {"steps_per_execution": steps, "jit_compile": not convolutions}
    if convolutions:
        return {"jit_compile": True}
    loops = tuple(int(part) for part in keras.__version__.split(".")[:2]) >= (3, 16)
    copies = 4 if model in ("transformer", "autoencoder") else 20
    return {"steps_per_execution": steps if loops else copies, "jit_compile": True}
