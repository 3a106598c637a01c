"""A train step of Keras in several processes under TensorFlow: each on its share of a batch, gradients added up.

The sum is an operation of the traced step, through the ``run`` of a ``MultiWorkerMirroredStrategy``. XLA has no such
operation on the CPU, so training runs by TensorFlow's own kernels; evaluation is as without other processes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mnistkit.training import keras_hooks
from mnistkit.training.distributed.connection import connect
from mnistkit.training.distributed.local_steps import Shares
from mnistkit.training.pytree import tree_leaves
from mnistkit.training.tensorflow import program
from mnistkit.training.tensorflow.program import (
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

    def __init__(self, model: Any, *, training: bool, flags: keras_hooks.TrainableFlags) -> None:
        super().__init__(model, training=training, flags=flags)
        group = connect()
        assert group is not None
        self._group, self._shares = group, Shares(group, model)
        self._optimizer = model.optimizer if training else None
        self._asked_for_xla = False

    def run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> None:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        known, flat = self._sizes[size], tree_leaves(data)
        rows = self._shares.rows(order, start=start, steps=steps, size=size).astype(np.int32)
        with self._shares.stepping(size):
            if known.last == "kernels, each":
                known.traced(*(tf.gather(leaf, rows) for leaf in flat))
                return
            loop = known.by_xla if known.last == "xla" else known.by_kernels
            padded = np.pad(rows, (0, max(0, flat[0].shape[0] - len(rows))))
            loop(flat, tf.constant(padded), tf.constant(0), tf.constant(steps))

    def _rest_size(self, data: PyTree, *, size: int) -> int | None:
        del data
        return size  # gradients are weighted by the share of a batch

    def _way(self, steps: Any, data: PyTree) -> str:
        return super()._way(steps, data) if self._optimizer is None else "kernels"

    def _trace(self, data: PyTree, *, size: int | None, fused: bool) -> Any:
        assert size is not None
        with self._added_up(size):
            return super()._trace(data, size=self._shares.size(size), fused=fused)

    def _loop(self, traced: Any, data: PyTree, *, size: int, jit_compile: bool) -> Any:
        return super()._loop(traced, data, size=self._shares.size(size), jit_compile=jit_compile)

    def _added_up(self, size: int) -> contextlib.AbstractContextManager[None]:
        """Within the block the optimizer applies the gradients of the whole batch."""
        if self._optimizer is None:
            return contextlib.nullcontext()
        weight = self._shares.weight(size)
        return keras_hooks.changed_gradients(self._optimizer, lambda gradients: self._sums(gradients, weight))

    def _sums(self, gradients: list[Any], weight: float) -> list[Any]:
        """Add up weighted gradients over all processes, those of one type at once; None where there is none stays."""
        sums: list[Any] = [None if one is None else tf.convert_to_tensor(one) for one in gradients]
        for dtype in dict.fromkeys(one.dtype for one in sums if one is not None):
            places = [i for i, one in enumerate(sums) if one is not None and one.dtype == dtype]
            shapes = [sums[i].shape for i in places]
            flat = tf.concat([tf.reshape(sums[i], [-1]) for i in places], axis=0) * tf.cast(weight, dtype)
            parts = tf.split(self._group.wire.add_up(flat), [shape.num_elements() for shape in shapes])
            for i, part, shape in zip(places, parts, shapes, strict=True):
                sums[i] = tf.reshape(part, shape)
        return sums
