"""The process that trains on a Ray cluster; `mnistkit.digits.train_ray` starts it, and hears where the model is."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import ray_cluster, ray_process
from mnistkit.core.errors import ClusterError, InputError, one_line
from mnistkit.digits.train_ray import MODEL, REPORT, RESUME, RUN
from mnistkit.training.on_ray import make_trainer, report

if TYPE_CHECKING:
    from collections.abc import Callable

_FAILURES = 3  # after which Ray starts the workers no more


def main() -> int:
    """Train what the first line of the input says."""
    return ray_process.answer(_run)


def _run(order: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    ray = ray_cluster.connect(order["address"], workers=order["workers"] + 1)  # Ray's controller needs one too
    try:
        trainer = make_trainer(
            train_in_worker,
            order,
            workers=order["workers"],
            use_gpu=order["use_gpu"],
            storage=order["storage"],
            name=RUN,
            max_failures=_FAILURES,
        )
        try:
            result = trainer.fit()
        except Exception as error:  # Ray Train has an error for each stage
            raise _told(error) from error
        with result.checkpoint.as_directory() as folder:
            send({"checkpoint": str(folder)})
    finally:
        ray.shutdown()


def _told(error: Exception) -> ClusterError | InputError:
    """What the workers fail of, on one line; an error of the user's is told as such."""
    failures = list(getattr(error, "worker_failures", {}).values()) or [error]
    lines = [line.strip() for line in str(failures[0]).splitlines() if line.strip()]
    last = lines[-1] if lines else one_line(error, limit=200)
    if last.startswith("mnistkit.core.errors."):
        return InputError(last.partition(": ")[2])
    return ClusterError(
        f"the workers of Ray Train fail ({last[-300:]}); --resume goes on after the last epoch that was finished"
    )


def train_in_worker(order: dict[str, Any]) -> None:
    """What each worker does: it trains with the others, from Ray's last checkpoint on."""
    from ray import train as ray_train

    from mnistkit.digits.data import load_data
    from mnistkit.digits.settings import Settings
    from mnistkit.digits.train import train

    hidden = order["settings"]["hidden"]
    settings = Settings(**{**order["settings"], "hidden": tuple(hidden) if isinstance(hidden, list) else hidden})
    labels = None if order["labels"] is None else tuple(order["labels"])
    data = load_data(order["data"], labels=labels)
    with tempfile.TemporaryDirectory(prefix="mnistkit.") as name:
        out = Path(name) / MODEL
        checkpoint = ray_train.get_checkpoint()
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                if not (Path(folder) / RESUME).exists():
                    return  # the run was whole already
                shutil.copyfile(Path(folder) / RESUME, out.with_suffix(".resume.keras"))

        def give(done: Path | None) -> None:
            report({}, lambda folder: _copy([(done, RESUME)], folder))

        train(settings, out=out, data=data, backend=order["backend"], resume=True, on_checkpoint=give)

        report({}, lambda folder: _copy([(out, MODEL), (out.with_suffix(".train.json"), REPORT)], folder))


def _copy(files: list[tuple[Path | None, str]], folder: Path) -> None:
    for file, name in files:
        assert file is not None  # in the process that writes
        shutil.copyfile(file, folder / name)


if __name__ == "__main__":
    sys.exit(main())
