"""Chunks of an epoch as one XLA program of several processes under JAX.

Every process has the whole state and the whole data; each batch is spread over the processes, and XLA adds what has to
cross between them (the sums of gradients, of losses, of batch statistics). So the program computes what one process
computes, for any model. Between two chunks the variables hold arrays of this process alone, as callbacks expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from mnistkit.training.distributed.connection import connect
from mnistkit.training.jax import program, wire
from mnistkit.training.jax.program import (
    FINALIZES_AFTER_ERRORS,
    FIT_BUILDS,
    FIXED_LENGTH,
    IN_EVERY_STEP,
    batch_was_taken,
    state_of,
)
from mnistkit.training.pytree import tree_map

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree

__all__ = [
    "FINALIZES_AFTER_ERRORS", "FIT_BUILDS", "FIXED_LENGTH", "IN_EVERY_STEP", "METRICS_ARE_LOCAL", "Program",
    "batch_was_taken", "host_view", "state_of", "to_device",
]  # fmt: skip

METRICS_ARE_LOCAL = False


def to_device(tree: PyTree) -> PyTree:
    """Put the arrays on the device of every process."""
    return tree_map(wire.everywhere, tree)


def host_view(tensor: Any) -> npt.NDArray[Any] | None:
    """Return an array on the memory of this process' copy, None where it is on another device."""
    return program.host_view(wire.here(tensor))


class Program(program.Program):
    """A model's train or test step, looped over batches that are spread over the processes.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
        flags: of no use here.
    """

    _put = staticmethod(wire.everywhere)

    def __init__(self, model: Any, *, training: bool, flags: Any) -> None:
        super().__init__(model, training=training, flags=flags)
        group = connect()
        assert group is not None
        self._group = group
        self._sharding = wire.replicated()

    def run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> None:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        with self._group.talking():
            super().run(data, order, start=start, steps=steps, size=size)

    @staticmethod
    def _part(leaf: Any) -> Any:
        return jax.lax.with_sharding_constraint(leaf, wire.in_parts())

    def _state(self) -> tuple[list[Any], ...]:
        state: tuple[list[Any], ...] = jax.tree.map(wire.everywhere, super()._state())
        return state

    def _set_state(self, state: Any) -> Any:
        return super()._set_state(jax.tree.map(wire.here, state))
