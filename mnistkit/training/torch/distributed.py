"""A train step of Keras in several processes under PyTorch: each on its share of a batch, gradients added up.

The sum is an operation of the trace, so the replay does it as everything else: one all-reduce of all gradients in a
step, by whatever ``torch.distributed`` was started with. Nothing here is Keras' own way of doing it, which wraps models
in DistributedDataParallel inside ``model.fit`` from Keras 3.16 on: no gradient is averaged twice.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training import keras_hooks
from mnistkit.training.distributed.connection import connect
from mnistkit.training.distributed.local_steps import Shares
from mnistkit.training.pytree import tree_leaves, tree_map
from mnistkit.training.torch import program, trace
from mnistkit.training.torch.hooks import all_reduce, wait
from mnistkit.training.torch.own_step import keras_step
from mnistkit.training.torch.program import (
    FINALIZES_AFTER_ERRORS,
    FIT_BUILDS,
    FIXED_LENGTH,
    IN_EVERY_STEP,
    batch_was_taken,
    host_view,
    state_of,
    to_device,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree

__all__ = [
    "FINALIZES_AFTER_ERRORS", "FIT_BUILDS", "FIXED_LENGTH", "IN_EVERY_STEP", "METRICS_ARE_LOCAL", "Program",
    "batch_was_taken", "host_view", "state_of", "to_device",
]  # fmt: skip

METRICS_ARE_LOCAL = True


class Program(program.Program):
    """A model's train or test step on this process' share of each batch; sizes are those of whole batches.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
        flags: as without other processes.
    """

    def __init__(self, model: Any, *, training: bool, flags: Any) -> None:
        super().__init__(model, training=training, flags=flags)
        group = connect()
        assert group is not None
        if all_reduce is None or wait is None:
            raise ValueError(f"PyTorch {torch.__version__} has no all-reduce that can be traced")
        self._group, self._shares = group, Shares(group, model)

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Trace for batches of ``size``."""
        del n
        if size in self._replays:
            return
        batch = tree_map(lambda leaf: leaf[: self._shares.size(size)].clone(), data)
        with self._group.talking(), self._added_up(size):
            traced = trace.trace(self._model, batch, training=self._training)
            self._replays[size] = program.Replay(traced, tree_leaves(batch), capture=False)

    def run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> None:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        flat, replay = program.leaves(data), self._replays.get(size)
        local = self._shares.rows(order, start=start, steps=steps, size=size)
        rows = torch.as_tensor(local, device=flat[0].device)
        with self._shares.stepping(size):
            if replay is not None:
                with replay.threads(), torch.no_grad():
                    replay(program.gathered_batches(flat, rows, len(local) // steps))
                return
            with self._added_up(size):
                keras_step(self._model, tree_map(lambda leaf: leaf[rows], data), training=self._training)

    def _added_up(self, size: int) -> contextlib.AbstractContextManager[None]:
        """Within the block the optimizer applies the gradients of the whole batch."""
        if not self._training:
            return contextlib.nullcontext()
        weight = self._shares.weight(size)
        group: str = self._group.wire.name
        return keras_hooks.changed_gradients(
            self._model.optimizer, lambda gradients: _sums(gradients, weight, group=group)
        )


def _sums(gradients: list[Any], weight: float, *, group: str) -> list[Any]:
    """Add up weighted gradients over all processes, those of one type at once; None where there is none stays."""
    sums = list(gradients)
    for dtype in dict.fromkeys(one.dtype for one in gradients if one is not None):
        places = [i for i, one in enumerate(gradients) if one is not None and one.dtype == dtype]
        flat = torch.cat([gradients[i].reshape(-1) for i in places]) * weight
        total = wait(all_reduce(flat, "sum", group))
        parts = total.split([gradients[i].numel() for i in places])
        for i, part in zip(places, parts, strict=True):
            sums[i] = part.reshape(gradients[i].shape)
    return sums
