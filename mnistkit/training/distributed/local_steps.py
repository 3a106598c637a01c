"""What a program needs that does a step on its own share of a batch, as those of PyTorch and TensorFlow do.

The loss of a share is a mean over its samples. Weighted by the part of the batch that the share is, the gradients of
all shares add up to those of the batch, also where the last batch of an epoch falls into unequal shares.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.training import keras_hooks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from mnistkit.training.distributed.group import Group

_SEED_STEP = 0x1E3779B1  # so that the seeds of two processes differ in many bits


class Shares:
    """This process' samples of each batch.

    Args:
        group: the processes.
        model: the model.
    """

    def __init__(self, group: Group, model: Any) -> None:
        self._group, self._model = group, model

    def size(self, size: int) -> int:
        """Return how many samples of a batch are computed here: one also where none is this process' own."""
        return max(1, self._own(size))

    def weight(self, size: int) -> float:
        """Return the part of a batch that is this process' own."""
        return self._own(size) / size

    def rows(self, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> npt.NDArray[np.int64]:
        """Return the samples of this process of some steps, ``size(size)`` for each, one step after the other."""
        stop = start + steps * size
        batches = (np.arange(start, stop) if order is None else order[start:stop]).reshape(steps, size)
        own = self._group.share(size)
        return batches[:, own if own.stop > own.start else slice(0, 1)].reshape(-1)

    @contextlib.contextmanager
    def stepping(self, size: int) -> Iterator[None]:
        """Around steps: errors of the connection, seeds of this process, no metrics of samples of others'."""
        import keras

        metrics = [] if self._own(size) else self._model.metrics_variables
        counted = [(one, np.array(keras.ops.convert_to_numpy(one.value))) for one in metrics]
        with self._group.talking(), self._own_seeds():
            yield
        for variable, value in counted:
            variable.assign(value)

    @contextlib.contextmanager
    def _own_seeds(self) -> Iterator[None]:
        """Let random layers draw other numbers in each process; outside the block all have the seeds of process 0."""
        if not self._group.rank:
            yield
            return
        self._mix_seeds()
        try:
            yield
        finally:
            self._mix_seeds()

    def _mix_seeds(self) -> None:
        import keras

        for variable in keras_hooks.seed_states(self._model):
            value = np.array(keras.ops.convert_to_numpy(variable.value))
            value[0] ^= (self._group.rank * _SEED_STEP) & 0x7FFFFFFF  # its own inverse, within 32 bits with a sign
            variable.assign(value)

    def _own(self, size: int) -> int:
        share = self._group.share(size)
        return int(share.stop - share.start)
