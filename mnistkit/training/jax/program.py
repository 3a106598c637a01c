"""Chunks of an epoch as one XLA program under JAX.

Keras' own stateless ``train_step``, traced once, is the body of one loop on the device. Its bounds are arguments, so a
single compilation serves every chunk; the data are arguments too, because XLA would fold captured arrays into the
program as constants. The state is donated: the update happens in place.

XLA's loops on the CPU run convolutions without its fast kernels, ten times slower than outside. A step with them
is a program of its own there, called from Python; beside what it computes, the call costs nothing.
"""

from __future__ import annotations

import functools
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax

from mnistkit.training.jax.hooks import jaxpr_as_fun
from mnistkit.training.keras_hooks import live_variables
from mnistkit.training.pytree import tree_map

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree


def to_device(tree: PyTree) -> PyTree:
    """Put the arrays on the default device."""
    return tree_map(jax.device_put, tree)


class Program:
    """A model's train or test step, looped over batches of resident data.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
    """

    def __init__(self, model: Any, *, training: bool) -> None:
        self._model = model
        self._training = training
        self._compiled: dict[int, tuple[Future[Any], bool]] = {}

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Compile for batches of ``size``, so that the first chunk need not and a failure shows before training."""
        self._begin(data, n, size=size)
        self._compiled[size][0].result()

    def compile_rest(self, data: PyTree, n: int, *, size: int, epoch: int) -> None:
        """Compile for the last batch of each epoch beside the first of them, which needs less than all cores."""
        del epoch  # JAX has no step of Keras' that runs without being compiled
        if size not in self._compiled:
            self._begin(data, n, size=size)

    def _begin(self, data: PyTree, n: int, *, size: int) -> None:
        """Trace here and now; XLA compiles in a thread of its own."""
        spec = functools.partial(jax.tree.map, lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype))
        inputs = (spec(self._state()), spec(data), jax.ShapeDtypeStruct((n,), np.int32), 0)
        traced = jax.jit(functools.partial(self._step, size=size), donate_argnums=0).trace(*inputs)
        if not self._model.jit_compile:
            _refuse_other_variables(traced.jaxpr.consts)
        if _is_slow_in_loops(traced.jaxpr):
            self._compiled[size] = _in_thread(traced.lower().compile), False
            return
        step, tree = jaxpr_as_fun(traced.jaxpr), jax.tree.structure(inputs[0])

        def steps(state: Any, data: PyTree, order: Any, start: Any, steps: Any) -> Any:
            def body(i: Any, state: Any) -> Any:
                return jax.tree.unflatten(tree, step(*jax.tree.leaves((state, data, order, start + i * size))))

            return lax.fori_loop(0, steps, body, state)

        self._compiled[size] = _in_thread(jax.jit(steps, donate_argnums=0).lower(*inputs, 0).compile), True

    def run(self, data: PyTree, order: npt.NDArray[np.int64], *, start: int, steps: int, size: int) -> None:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        future, loops = self._compiled[size]
        program = future.result()
        state, order32 = self._state(), jax.device_put(order.astype(np.int32))
        if loops:
            state = program(state, data, order32, start, steps)
        else:
            for i in range(steps):
                state = program(state, data, order32, start + i * size)
        for variables, values in zip(self._variables(), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        jax.block_until_ready(state)

    def loops(self, size: int) -> bool:
        """Tell whether the steps on batches of ``size`` are one program, or one each."""
        return self._compiled[size][1]

    def _variables(self) -> list[list[Any]]:
        model = self._model
        groups = [model.trainable_variables, model.non_trainable_variables]
        if self._training:
            groups.append(model.optimizer.variables)
        return [*groups, model.metrics_variables]

    def _state(self) -> tuple[list[Any], ...]:
        """Return the values, each in a buffer of its own; a model may list a metric twice."""
        seen: set[int] = set()

        def value(variable: Any) -> Any:
            known = id(variable) in seen
            seen.add(id(variable))
            return jax.numpy.copy(variable.value) if known else variable.value

        return tuple([value(variable) for variable in group] for group in self._variables())

    def _step(self, state: Any, data: PyTree, order: Any, start: Any, *, size: int) -> Any:
        step = self._model.train_step if self._training else self._model.test_step
        rows = lax.dynamic_slice_in_dim(order, start, size)
        _, new = step(state, tree_map(lambda leaf: leaf.at[rows].get(mode="promise_in_bounds"), data))
        # a loop carries one type: bring back what a step returns with another (weakly typed, or a tuple for a list)
        return jax.tree.map(
            lambda old, new: new.astype(old.dtype),
            state,
            jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(new)),
        )


def _in_thread(compile_: Callable[[], Any]) -> Future[Any]:
    """Run a compilation beside Python, in a thread that the end of the process waits for."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(compile_())
        except Exception as error:  # noqa: BLE001 - raised where the program is asked for
            future.set_exception(error)

    threading.Thread(target=work).start()
    return future


def _refuse_other_variables(constants: Sequence[Any]) -> None:
    """Refuse Keras variables outside the model's lists: without compilation, ``model.fit`` reads them in every step."""
    for variable, value in live_variables():
        if any(value is constant for constant in constants):
            raise ValueError(f"a step reads the variable {variable.path}, which is not the model's own")


def _is_slow_in_loops(jaxpr: Any) -> bool:
    """Tell whether a step is one that XLA should not put into a loop here."""
    return jax.default_backend() == "cpu" and "conv_general_dilated" in str(jaxpr)
