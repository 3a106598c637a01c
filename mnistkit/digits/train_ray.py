"""Train on a Ray cluster with Ray Train: ``mnistkit train --ray``.

This process starts `mnistkit.digits.train_ray_driver`, which uses the cluster. Each worker calls
`mnistkit.digits.train.train`, as several processes that a launcher started do. Ray gets its checkpoints, and in the end
the files of the model, in a folder beside the model, which all machines of the cluster reach.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import keras_backend as backends
from mnistkit.core import ray_cluster, ray_process
from mnistkit.core.errors import InputError
from mnistkit.core.files import check_writable, replacing, write_json, writing
from mnistkit.digits.data import load_data

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mnistkit.digits.settings import Settings

MODEL, REPORT, RESUME = "model.keras", "model.train.json", "model.resume.keras"
"""Names in a checkpoint of Ray's: the result, or how far the workers are."""
RUN = "run"
_KEPT = "--resume goes on after the last epoch that was finished"


def train_on_ray(
    settings: Settings,
    *,
    out: str | os.PathLike[str],
    workers: int,
    data: str | None = None,
    labels: Sequence[str] | None = None,
    backend: str | None = None,
    resume: bool = False,
    address: str | None = None,
    use_gpu: bool = False,
) -> dict[str, Any]:
    """Train a model, test it, and write ``OUT.keras`` and ``OUT.train.json``.

    Ray's checkpoints are in a folder beside them, which goes when all is written.

    Args:
        settings: What to train; ``batch_size`` counts the images of all workers.
        out: Where the model goes.
        workers: Processes that train, each on one processor or GPU.
        data: Path of a data set that all machines reach; the embedded MNIST by default.
        labels: Its class names.
        backend: Keras backend; see `mnistkit.core.keras_backend`.
        resume: Go on after the last epoch that an interrupted run with the same settings finished.
        address: Of the cluster; see `mnistkit.core.ray_cluster.connect`.
        use_gpu: Give each worker one GPU.

    Returns:
        What was written to the JSON.

    Raises:
        InputError: A setting is out of range.
        ClusterError: The cluster cannot be reached, goes away, or its workers fail too often.
        MissingExtraError: Ray is not installed.
        OutputError: The files cannot be written.
    """
    path = Path(out).absolute()
    if path.suffix != ".keras":
        raise InputError(f"{out}: Keras' own format needs a name that ends in .keras")
    if not 1 <= workers <= settings.batch_size:
        raise InputError(
            f"--workers {workers}: give a number from 1 to the batch size ({settings.batch_size}), which they share"
        )
    ray_cluster.check_installed()
    backends.check_keras()
    load_data(data, labels=None if labels is None else tuple(labels))  # what is wrong with it is told at once
    check_writable(path)
    storage = path.with_suffix(".ray")
    with writing(storage):
        if not resume:
            shutil.rmtree(storage / RUN, ignore_errors=True)
        storage.mkdir(exist_ok=True)
    name = backends.select_backend(backend)
    order = {
        "settings": settings.as_json(),
        "backend": name,
        "data": None if data is None else str(Path(data).absolute()),
        "labels": None if labels is None else list(labels),
        "workers": workers,
        "use_gpu": use_gpu,
        "address": address,
        "storage": str(storage),
    }
    found = None
    driver = "mnistkit.digits.train_ray_driver"
    for message in ray_process.ask(driver, order, kept=_KEPT, variables={"KERAS_BACKEND": name}):
        found = Path(message["checkpoint"])
    assert found is not None
    provenance: dict[str, Any] = json.loads((found / REPORT).read_text(encoding="utf-8"))
    with replacing(path) as temporary:
        shutil.copyfile(found / MODEL, temporary)
    write_json(path.with_suffix(".train.json"), provenance)
    shutil.rmtree(storage / RUN, ignore_errors=True)
    with contextlib.suppress(OSError):  # whatever else is in a folder of this name is not ours
        storage.rmdir()
    return provenance
