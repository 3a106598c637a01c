"""Ray Train with two workers: the model of one process, and what happens when a worker dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ray_processes import LOCAL, ray_of_two

from mnistkit.core.errors import InputError

SAMPLES, BATCH = 6000, 64
pytestmark = [
    pytest.mark.usefixtures("ray"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # Ray meets its own when it is imported
    pytest.mark.filterwarnings(r"ignore::FutureWarning:ray\..*"),
    pytest.mark.filterwarnings(r"ignore::ResourceWarning"),  # Ray leaves its log files and sockets to the collector
]


@pytest.fixture(scope="module")
def ray():
    """This process as a user's program: connected to a cluster on the loopback address."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**LOCAL, "KERAS_BACKEND": "torch", "RAY_TRAIN_ENABLE_STATE_TRACKING": "0"}.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        with ray_of_two() as (_, address):
            from mnistkit.core import ray_cluster

            module = ray_cluster.connect(address)
            yield module
            module.shutdown()


def build_model():
    import keras

    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def load_data():
    import mnistkit

    data = mnistkit.load_data()
    return data.x_train[:SAMPLES].reshape(-1, 784).astype("float32") / 255, data.y_train[:SAMPLES].astype("int64")


def trained(result):
    import keras

    with result.checkpoint.as_directory() as folder:
        return keras.saving.load_model(Path(folder) / "model.keras")


def test_two_workers_train_what_one_process_trains(tmp_path):
    import mnistkit
    from mnistkit.training import ray_trainer

    result = ray_trainer(
        build_model, load_data, epochs=1, batch_size=BATCH, seed=3, workers=2, storage=tmp_path, name="two"
    ).fit()
    x, y = load_data()
    alone = build_model()
    mnistkit.fit(alone, x, y, epochs=1, batch_size=BATCH, seed=3, verbose=0)
    model = trained(result)
    for one, two in zip(alone.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-4)
    data = mnistkit.load_data()
    x_test = data.x_test.reshape(-1, 784).astype("float32") / 255
    accuracies = [float(one.evaluate(x_test, data.y_test, batch_size=500, verbose=0)[1]) for one in (alone, model)]
    assert abs(accuracies[0] - accuracies[1]) < 0.002
    assert accuracies[1] > 0.8
    assert result.metrics["epoch"] == 1


class DyingData:
    """Loads the data; once, in one of the workers, ends the process by a signal some time later."""

    def __init__(self, marker):
        self.marker = marker

    def __call__(self):
        import threading

        from ray import train

        if train.get_context().get_world_rank() == 1 and not self.marker.exists():

            def die():
                import time

                while not list(self.marker.parent.rglob("model.keras")):
                    time.sleep(0.05)
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)

            threading.Thread(target=die, daemon=True).start()
        return load_data()


def test_a_worker_that_is_killed_is_started_anew(tmp_path):
    """From the last checkpoint: the model is that of a run in which nobody dies."""
    import mnistkit
    from mnistkit.training import ray_trainer

    marker = tmp_path / "killed"
    options = {"epochs": 40, "batch_size": BATCH, "seed": 3}
    result = ray_trainer(build_model, DyingData(marker), name="killed", storage=tmp_path, **options).fit()
    assert marker.exists()
    assert result.metrics["epoch"] == 40
    alone = build_model()
    mnistkit.fit(alone, *load_data(), verbose=0, **options)
    for one, two in zip(alone.get_weights(), trained(result).get_weights(), strict=True):
        np.testing.assert_allclose(two, one, atol=2e-3)  # rounding grows over 40 epochs


def test_the_command(tmp_path, mnist, cli):
    """A Ray of its own is not started: RAY_ADDRESS names the one of these tests."""
    import ray

    arrays = {"x_train": mnist.x_train[:SAMPLES], "y_train": mnist.y_train[:SAMPLES]}
    np.savez(tmp_path / "small.npz", **arrays, x_test=mnist.x_test, y_test=mnist.y_test)
    flags = ["--data", tmp_path / "small.npz", "--epochs", "1", "--batch-size", BATCH, "--backend", "torch", "--quiet"]
    alone = subprocess.run(
        [sys.executable, "-m", "mnistkit", "train", *map(str, flags), "--out", str(tmp_path / "alone.keras")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    address = ray.get_runtime_context().gcs_address
    done = cli("train", *flags, "--ray", "--ray-address", address, "--workers", "2", "--out", tmp_path / "ray.keras")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"wrote {tmp_path}/ray.keras, {tmp_path}/ray.train.json\n")
    one, two = (json.loads((tmp_path / f"{name}.train.json").read_text()) for name in ("alone", "ray"))
    assert abs(one["test"]["accuracy"] - two["test"]["accuracy"]) < 0.002
    import keras

    models = [keras.saving.load_model(tmp_path / f"{name}.keras") for name in ("alone", "ray")]
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(second, first, atol=1e-4)
    assert not (tmp_path / "ray.ray").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workers", "2"], "--workers is for --model reader or --ray; leave it out"),
        (["--gpus"], "--gpus goes with --ray"),
        (["--ray", "--workers", "64"], "--workers 64: give a number from 1 to the batch size (32)"),
        (["--ray", "--workers", "0"], "--workers 0: give a number from 1 to the batch size (32)"),
        (["--ray", "--processes", "2"], "--processes does not go with --ray"),
        (["--ray", "--data", "/none.npz"], "/none.npz: "),
        (["--ray", "--ray-address", "127.0.0.1:1"], "127.0.0.1:1: no Ray cluster answers"),
    ],
)
def test_what_the_command_refuses(fails, tmp_path, flags, words):
    assert words in fails("train", "--quiet", "--out", tmp_path / "a.keras", *flags)
    assert not (tmp_path / "a.keras").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"workers": 8, "batch_size": 4}, "batch_size must be at least 8, got 4"),
    ],
)
def test_what_is_refused(options, words):
    from mnistkit.training import ray_trainer

    with pytest.raises(InputError, match=words):
        ray_trainer(build_model, load_data, **options)
