"""Train with Ray Train: Ray starts the processes, keeps the checkpoints, and starts anew after a failure.

Each of Ray's workers runs `mnistkit.fit`, which synchronizes inside the framework's own group of processes. After each
epoch the first one gives Ray a checkpoint; a group of workers that starts anew goes on from the last one.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import keras_backend as backends
from mnistkit.core import ray_cluster
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MODEL = "model.keras"
"""The file with the model and its optimizer in each of Ray's checkpoints."""
_PROGRESS = "progress.json"
_TRAINERS = {  # by backend: module and class
    "jax": ("ray.train.v2.jax", "JaxTrainer"),
    "tensorflow": ("ray.train.tensorflow", "TensorflowTrainer"),
    "torch": ("ray.train.torch", "TorchTrainer"),
}


def ray_trainer(
    build_model: Callable[[], Any],
    load_data: Callable[[], tuple[Any, Any]],
    *,
    epochs: int = 1,
    batch_size: int = 32,
    validation_split: float = 0.0,
    seed: int | None = None,
    workers: int = 2,
    use_gpu: bool = False,
    storage: str | os.PathLike[str] | None = None,
    name: str | None = None,
    max_failures: int = 3,
) -> Any:
    """Return Ray Train's trainer for a Keras model, on the active Keras backend; its ``fit()`` trains.

    All workers train one model together: ``batch_size`` counts the samples of all of them, and the result is that of
    one process within float noise. After each epoch Ray gets the metrics and a checkpoint with `MODEL`. When a worker
    or a machine fails, Ray starts the workers anew, and they go on after the last epoch that was finished.

    Args:
        build_model: Returns the compiled model; every worker calls it.
        load_data: Returns ``(x, y)``, the same in every worker: arrays as `fit` takes them.
        epochs: As for `fit`.
        batch_size: As for `fit`; samples of all workers together.
        validation_split: As for `fit`.
        seed: As for `fit`, and of the initial weights: ``keras.utils.set_random_seed`` gets it before ``build_model``.
        workers: Processes that train, each on one processor or GPU.
        use_gpu: Give each worker one GPU.
        storage: Folder or URL for the checkpoints, which all machines of the cluster reach; Ray's default is
            ``~/ray_results``.
        name: Of the run. A second run of the same name and storage goes on from the last checkpoint.
        max_failures: How often Ray starts the workers anew; -1 for ever.

    Returns:
        A ``TorchTrainer``, ``JaxTrainer`` or ``TensorflowTrainer`` of Ray. Its ``fit()`` returns Ray's ``Result``, with
        ``checkpoint`` and ``metrics``.

    Raises:
        InputError: An argument that cannot be right.
        BackendError: No Keras backend can be used.
        MissingExtraError: Ray Train is not installed, or too old.
    """
    for what, value, least in (("epochs", epochs, 1), ("workers", workers, 1), ("batch_size", batch_size, workers)):
        if value < least:
            raise InputError(f"{what} must be at least {least}, got {value}")
    config = {
        "build_model": build_model,
        "load_data": load_data,
        "seed": seed,
        "fit": {"epochs": epochs, "batch_size": batch_size, "validation_split": validation_split, "seed": seed},
    }
    return make_trainer(
        _train, config, workers=workers, use_gpu=use_gpu, storage=storage, name=name, max_failures=max_failures
    )


def make_trainer(
    loop: Callable[[dict[str, Any]], None],
    config: Mapping[str, Any],
    *,
    workers: int,
    use_gpu: bool = False,
    storage: str | os.PathLike[str] | None = None,
    name: str | None = None,
    max_failures: int = 0,
) -> Any:
    """Return Ray's trainer of the active Keras backend for a function that each worker calls.

    Args:
        loop: What each worker does; it gets ``config`` and the name of the ``backend``.
        config: Whatever Ray can send to the workers.
        workers: As for `ray_trainer`; and all others too.
        use_gpu: See there.
        storage: See there.
        name: See there.
        max_failures: See there.

    Raises:
        BackendError: No Keras backend can be used.
        MissingExtraError: Ray Train is not installed, or too old.
    """
    ray_cluster.check_installed()
    backend = backends.select_backend(None)
    train = importlib.import_module("ray.train")
    module, kind = _TRAINERS[backend]
    variables = {"KERAS_BACKEND": backend}
    if backend == "jax" and not use_gpu:
        variables["JAX_PLATFORMS"] = "cpu"  # without it Ray does not let the workers meet
    return getattr(importlib.import_module(module), kind)(
        loop,
        train_loop_config={**config, "backend": backend},
        scaling_config=train.ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        run_config=train.RunConfig(
            name=name,
            storage_path=None if storage is None else os.fspath(storage),
            failure_config=train.FailureConfig(max_failures=max_failures),
            checkpoint_config=train.CheckpointConfig(num_to_keep=2),
            worker_runtime_env={"env_vars": variables},
        ),
    )


def _train(config: dict[str, Any]) -> None:
    """What each worker does."""
    keras = backends.load_keras(config["backend"])
    from ray import train

    from mnistkit.training import connect, fit

    connect()
    if config["seed"] is not None:
        keras.utils.set_random_seed(config["seed"])
    model = config["build_model"]()
    if not getattr(model, "compiled", False):
        raise InputError("build_model returned no compiled model; call model.compile(...) in it")
    x, y = config["load_data"]()
    done = 0
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            done = _restore(model, Path(folder))
    options = config["fit"]
    if done < options["epochs"]:
        report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: _report(model, epoch, logs))
        fit(model, x, y, initial_epoch=done, callbacks=[report], verbose=0, **options)


def _restore(model: Any, folder: Path) -> int:
    """Give the model the weights and the optimizer of a checkpoint; return how many epochs it has behind it."""
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / MODEL)
    done: int = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))["epochs"]
    return done


def _report(model: Any, epoch: int, logs: Mapping[str, Any] | None) -> None:
    metrics = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}

    def save(folder: Path) -> None:
        model.save(folder / MODEL)
        (folder / _PROGRESS).write_text(json.dumps({"epochs": epoch + 1}), encoding="utf-8")

    report(metrics, save)


def report(metrics: Mapping[str, float], save: Callable[[Path], None]) -> None:
    """Give Ray the metrics of every worker and the files that the first one saves into a folder."""
    from ray import train

    if train.get_context().get_world_rank():
        train.report(dict(metrics))
        return
    with tempfile.TemporaryDirectory(prefix="mnistkit.") as folder:
        save(Path(folder))
        train.report(dict(metrics), checkpoint=train.Checkpoint.from_directory(folder))
