"""What two processes do in test_processes.py, and one for comparison: ``python together.py FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

SEED = 7
BATCH = 16


def cases():
    """Runs that several processes must end as one does, by name: how to make the model, the data, the arguments."""
    import keras
    from training_models import cnn, mlp, pictures, two_input_data, two_inputs

    weight = np.linspace(0.1, 2, BATCH * 6 + 5, dtype="float32")
    found = {
        # the last batch has 5 samples: shares of 2 and 3
        "a partial last batch": (mlp, pictures(BATCH * 6 + 5), {"validation_data": pictures(21), "epochs": 3}),
        # and here 1, so that one process has none
        "one sample left": (lambda: mlp("adamw"), pictures(BATCH * 5 + 1), {}),
        "weights of samples": (lambda: mlp("sgd"), pictures(BATCH * 6 + 5), {"sample_weight": weight}),
        "two inputs and outputs": (two_inputs, two_input_data(BATCH * 6 + 4), {"validation_split": 0.2}),
        "an odd batch": (lambda: mlp("schedule"), pictures(60), {"batch_size": 15, "shuffle": False}),
    }
    if keras.backend.backend() == "jax":
        found["batch normalization and dropout"] = (cnn, pictures(BATCH * 4 + 5, channels=True), {})
    return found


def train(make, data, options):
    from training_models import state

    from mnistkit.training import fit

    model = make()
    options = {"epochs": 2, "batch_size": BATCH, "seed": SEED, "verbose": 0, **options}
    history = fit(model, *data, **options).history
    return state(model), history


def refused(rank, folder):
    """Runs that are refused, by name: what to call."""
    import keras
    from training_models import cnn, mlp, pictures

    from mnistkit.training import fit

    def run(model=None, data=None, **options):
        return fit(
            model or mlp(),
            *(data or pictures(BATCH * 4)),
            **{"batch_size": BATCH, "seed": SEED, "verbose": 0, **options},
        )

    def compiled(**options):
        model = mlp()
        model.compile(**{"optimizer": "sgd", "loss": "categorical_crossentropy", **options})
        return model

    def moved():
        model = mlp()
        kernel = model.trainable_variables[0]
        kernel.assign(keras.ops.convert_to_numpy(kernel.value) + rank)
        return model

    class Changes(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002 - the hook's signature
            kernel = self.model.trainable_variables[0]
            kernel.assign(keras.ops.convert_to_numpy(kernel.value) + rank)

    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002 - the hook's signature
            self.model.stop_training = bool(rank)

    def masked():
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Embedding(5, 3, mask_zero=True),
                keras.layers.Dense(2, "softmax"),
            ]
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    x, y = pictures(BATCH * 4)
    ids = np.arange(256).reshape(64, 4) % 5
    found = {
        "batches": lambda: run(data=(iter([(x[:4], y[:4])]), None)),
        "stored": lambda: run(data=(np.lib.format.open_memmap(folder / f"{rank}.npy", "w+", "float32", x.shape), y)),
        "small batch": lambda: run(batch_size=1),
        "few samples": lambda: run(data=pictures(BATCH - 1)),
        "eager": lambda: run(compiled(run_eagerly=True)),
        "restoring": lambda: run(callbacks=[keras.callbacks.BackupAndRestore(folder)]),
        "seed": lambda: run(seed=rank),
        "model": lambda: run(mlp(activation="tanh" if rank else "relu")),
        "rate": lambda: run(compiled(optimizer=keras.optimizers.SGD(0.1 + rank))),
        "weights": lambda: run(moved()),
        "data": lambda: run(data=(x + rank, y)),
        "batch size": lambda: run(batch_size=BATCH + rank),
        "changes": lambda: run(callbacks=[Changes()]),
        "stops": lambda: run(callbacks=[Stops()], epochs=2),
    }
    if keras.backend.backend() != "jax":
        found |= {
            "normalization": lambda: run(cnn(), pictures(BATCH * 4, channels=True)),
            "sums": lambda: run(compiled(loss=keras.losses.CategoricalCrossentropy(reduction="sum"))),
            "masks": lambda: run(masked(), (ids, ids % 2)),
        }
    return found


def told(call):
    """What a call is refused with."""
    from mnistkit.core.errors import MnistkitError

    try:
        call()
    except MnistkitError as error:
        return f"{type(error).__name__}: {error}"
    return "trained"


def main(folder):
    from mnistkit.training import connect

    group = connect(timeout=300)
    import keras
    from training_models import mlp, pictures

    results = {}
    for name, (make, data, options) in cases().items():
        values, history = train(make, data, options)
        np.savez(folder / f"{name}.{group.rank}.npz", *values)
        results[name] = history
    dropout = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(10)])
    dropout.compile("sgd", "mse", metrics=["mae"])
    values, history = train(lambda: dropout, pictures(BATCH * 4), {})
    np.savez(folder / f"dropout.{group.rank}.npz", *values)
    checkpoint = keras.callbacks.ModelCheckpoint(folder / f"best.{group.rank}.keras")
    train(mlp, pictures(BATCH * 2), {"callbacks": [checkpoint], "epochs": 1})
    for name, call in refused(group.rank, folder).items():
        results[f"refused: {name}"] = told(call)
    (folder / f"{group.rank}.json").write_text(json.dumps(results))
    group.exchange("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
