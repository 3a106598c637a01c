"""A training in several processes: who writes, what must be equal, and how a checkpoint reaches all of them."""

from __future__ import annotations

import contextlib
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.files import check_writable
from mnistkit.training.distributed import connect
from mnistkit.training.keras_hooks import without_own_distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.digits.data import Dataset
    from mnistkit.digits.settings import Settings
    from mnistkit.training.distributed import Group


def meet(path: Path) -> tuple[Group | None, bool]:
    """Meet the other processes that a launcher started; nothing may have been computed before.

    Args:
        path: Where the model goes.

    Returns:
        The processes, None for one alone; and whether this one prints and writes.

    Raises:
        DistributedError: They cannot be reached.
        OutputError: This one writes, and cannot.
    """
    group = connect()
    if group is not None and group.is_first:
        check_writable(path)
    return group, group is None or group.is_first


def agree(group: Group, settings: Settings, *, data: Dataset, resume: bool) -> None:
    """Check that all processes were started to do the same.

    Raises:
        DistributedError: Two differ; the message says in what.
    """
    names = {name.replace("_", " "): value for name, value in settings.as_json().items()}
    group.agree({**names, "data": data.sha256, "flag --resume": resume})


@contextlib.contextmanager
def checkpoint_of_first(path: Path, group: Group | None) -> Iterator[Path | None]:
    """Yield where this process can read the checkpoint that process 0 has, maybe on another machine; None for none."""
    if group is None:
        yield path if path.exists() else None
        return
    content = group.from_first(path.read_bytes() if group.is_first and path.exists() else None)
    if group.is_first or content is None:
        yield None if content is None else path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        yield copy


@contextlib.contextmanager
def ending_together(group: Group | None) -> Iterator[None]:
    """Let no process leave before the block is over in all: the others of it may still need it."""
    yield
    if group is not None:
        group.exchange("done")


def communication(model: Any, group: Group) -> dict[str, Any]:
    """What the processes send each other in a step, for the provenance.

    A ring all-reduce, the usual one, sends of N processes from each 2 (N - 1) / N times the bytes of the gradients.
    """
    size = sum(math.prod(one.shape) * np.dtype(one.dtype).itemsize for one in model.trainable_variables)
    return {
        "count": group.count,
        "gradient_bytes_per_step": size,
        "sent_bytes_per_step_and_process": round(2 * size * (group.count - 1) / group.count),
    }


def test(model: Any, x: Any, y: Any, *, batch_size: int) -> tuple[float, float]:
    """Return loss and accuracy, as ``model.evaluate`` does, of this process' own.

    Without a data set of TensorFlow's: connected to others, it complains of operations that it does not know.
    """
    totals = np.zeros(2)
    with without_own_distribution(model):
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            logs = model.test_on_batch(x[rows], y[rows], return_dict=True)  # of this batch alone: it resets the metrics
            totals += len(x[rows]) * np.array([float(logs["loss"]), float(logs["accuracy"])])
    loss, accuracy = (totals / len(x)).tolist()
    return loss, accuracy
