"""Whole stretches of an epoch as one XLA program under JAX.

Keras' own stateless ``train_step`` is the body of one loop on the device. Its bounds are arguments, so a single
compilation serves every stretch; the data are arguments too, because XLA would fold captured arrays into the program
as constants. The state is donated: the update happens in place.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax

from mnistkit.engine.arrays import map_nest

if TYPE_CHECKING:
    import numpy.typing as npt

    from mnistkit.engine.arrays import Nest


def place(nest: Nest) -> Nest:
    """Put the arrays on the default device."""
    return map_nest(jax.device_put, nest)


class Program:
    """A model's train or test step, looped over batches of resident data.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
    """

    def __init__(self, model: Any, *, training: bool) -> None:
        self._model = model
        self._training = training
        self._loop = jax.jit(self._steps, static_argnames="size", donate_argnames="state")
        self._compiled: dict[int, Any] = {}

    def compile(self, data: Nest, n: int, *, size: int) -> None:
        """Compile for batches of ``size``, so that the first stretch need not and a failure shows before training."""
        spec = functools.partial(jax.tree.map, lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype))
        order = jax.ShapeDtypeStruct((n,), np.int32)
        self._compiled[size] = self._loop.lower(spec(self._state()), spec(data), order, 0, 0, size=size).compile()

    def run(self, data: Nest, order: npt.NDArray[np.int64], *, start: int, steps: int, size: int) -> None:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        state = self._compiled[size](self._state(), data, order.astype(np.int32), start, steps)
        for variables, values in zip(self._variables(), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        jax.block_until_ready(state)

    def _variables(self) -> list[list[Any]]:
        model = self._model
        groups = [model.trainable_variables, model.non_trainable_variables]
        if self._training:
            groups.append(model.optimizer.variables)
        return [*groups, model.metrics_variables]

    def _state(self) -> tuple[list[Any], ...]:
        return tuple([variable.value for variable in group] for group in self._variables())

    def _steps(self, state: Any, data: Nest, order: Any, start: Any, steps: Any, *, size: int) -> Any:
        step = self._model.train_step if self._training else self._model.test_step

        def body(i: Any, state: Any) -> Any:
            rows = lax.dynamic_slice_in_dim(order, start + i * size, size)
            _, new = step(state, map_nest(lambda leaf: leaf.at[rows].get(mode="promise_in_bounds"), data))
            # a loop carries one type: bring back what a step returns with another (weakly typed, or a tuple for a list)
            return jax.tree.map(
                lambda old, new: new.astype(old.dtype),
                state,
                jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(new)),
            )

        return lax.fori_loop(0, steps, body, state)
