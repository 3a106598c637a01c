"""Chunks of an epoch as one XLA program under JAX.

Keras' own stateless ``train_step``, traced once, is the body of one loop on the device. Its bounds are arguments, so a
single compilation serves every chunk; the data are arguments too, because XLA would fold captured arrays into the
program as constants. The state is donated: the update happens in place.

XLA's loops on the CPU run convolutions without its fast kernels, ten times slower than outside. A step with them
is a program of its own there, called from Python; beside what it computes, the call costs nothing.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax

from mnistkit.training import keras_hooks
from mnistkit.training.jax.hooks import jaxpr_as_fun
from mnistkit.training.jax.recurrent import loop
from mnistkit.training.own_steps import checked, optimizers_of, returns_logs
from mnistkit.training.pytree import tree_map
from mnistkit.training.recurrent import own_derivatives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree

FINALIZES_AFTER_ERRORS = True
FIT_BUILDS = True
IN_EVERY_STEP = False
FIXED_LENGTH = True
WORTH_STEPS = 0  # Keras' own step is compiled too
_KEPT = 6  # compiled programs and traces of a step


def state_of(model: Any) -> list[Any]:
    """List what a step depends on beside its inputs: what compile() sets, variables."""
    return [*keras_hooks.compiled_parts(model), keras_hooks.variable_lists(model)]


def batch_was_taken() -> None:
    """Do nothing: ``model.fit`` takes a batch without a random number."""


def to_device(tree: PyTree) -> PyTree:
    """Put the arrays on the default device."""
    return tree_map(jax.device_put, tree)


def host_view(tensor: Any) -> npt.NDArray[Any] | None:
    """Return an array on the tensor's memory, None where it is on another device."""
    return np.asarray(tensor) if tensor.device.platform == "cpu" else None


class Program:
    """A model's train or test step, looped over batches of resident data.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
        flags: of no use here: a change of what is trainable makes another program.
    """

    _sharding: Any = None  # of what a program takes and returns
    _put = staticmethod(jax.device_put)
    _part = staticmethod(lambda leaf: leaf)  # of an array of a batch, what is computed here

    def __init__(self, model: Any, *, training: bool, flags: Any) -> None:
        del flags
        self._model = model
        self._training = training
        self._traced: dict[int, Any] = {}  # steps on one batch, by its size
        self._compiled: dict[tuple[int, int], tuple[Future[Any], bool]] = {}
        self._order: tuple[Any, int, Any] | None = None

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Compile for batches of ``size``, so that the first chunk need not and a failure shows before training."""
        self._begin(data, n, size=size)
        self._compiled[size, n][0].result()

    def compile_rest(self, data: PyTree, n: int, *, size: int, epoch: int) -> None:
        """Compile for the last batch of each epoch beside the first of them, which needs less than all cores."""
        del epoch  # JAX has no step of Keras' that runs without being compiled
        self._begin(data, n, size=size)

    def _begin(self, data: PyTree, n: int, *, size: int) -> None:
        """Trace here and now; XLA compiles in a thread of its own."""
        if (size, n) in self._compiled:
            self._compiled[size, n] = self._compiled.pop((size, n))
            return
        state = self._specification(self._state())
        if size not in self._traced:
            self._traced[size] = self._trace(state, data, size=size)
        jaxpr, tree = self._traced[size]
        step, states = jaxpr_as_fun(jaxpr), len(jax.tree.leaves(state))
        empty = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in jaxpr.out_avals[states:]]

        def one(state: Any, data: PyTree, order: Any, start: Any) -> Any:
            rows = lax.dynamic_slice_in_dim(order, start, size)
            batch = tree_map(lambda leaf: self._part(leaf.at[rows].get(mode="promise_in_bounds")), data)
            return jax.tree.unflatten(tree, step(*jax.tree.leaves((state, batch))))

        def many(state: Any, data: PyTree, order: Any, start: Any, steps: Any) -> Any:
            def after(i: Any, carried: Any) -> Any:
                return one(carried[0], data, order, start + i * size)

            logs = [jax.numpy.zeros(value.shape, value.dtype) for value in empty]
            begin = jax.tree.unflatten(tree, [*jax.tree.leaves(state), *logs])
            return lax.fori_loop(0, steps, after, begin)

        order_like = jax.ShapeDtypeStruct((n,), np.int32, sharding=self._sharding)
        inputs = (state, self._specification(data), order_like, 0)
        loops = not _is_slow_in_loops(jaxpr)
        function, numbers = (many, (0,)) if loops else (one, ())
        lowered = jax.jit(function, donate_argnums=0, out_shardings=self._sharding).lower(*inputs, *numbers)
        self._compiled[size, n] = _in_thread(lowered.compile), loops
        for old in [*self._compiled][:-_KEPT]:
            del self._compiled[old]
        for old_size in [*self._traced][1:-_KEPT]:
            del self._traced[old_size]

    def _trace(self, state: Any, data: PyTree, *, size: int) -> Any:
        """Return the step's program, and the structure of what it returns: the new state, and logs."""
        spec = functools.partial(jax.tree.map, lambda a: jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype))
        layers = own_derivatives(loop, on_cpu=jax.default_backend() == "cpu")
        with keras_hooks.noted_reads() as read, _kept_values(self._model), layers:
            traced = jax.jit(self._step).trace(state, spec(data))
        _refuse_other_variables(traced.jaxpr.consts, read.values())
        return traced.jaxpr, jax.tree.structure(traced.out_info)

    def run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> Any:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        n = jax.tree.leaves(data)[0].shape[0]
        future, loops = self._compiled[size, n]
        program = future.result()
        order32 = self._order_on_device(order, n)
        state, logs = self._state(), None
        if loops:
            state, logs = program(state, data, order32, start, steps)
        else:
            for i in range(steps):
                state, logs = program(state, data, order32, start + i * size)
        jax.block_until_ready(self._set_state(state))
        return logs

    def _order_on_device(self, order: npt.NDArray[np.int64] | None, n: int) -> Any:
        """Return an order as the programs take it; the last one is kept, since an epoch has one for all its chunks."""
        if self._order is None or self._order[0] is not order or self._order[1] != n:
            rows = np.arange(n, dtype=np.int32) if order is None else order.astype(np.int32)
            self._order = order, n, self._put(np.pad(rows, (0, n - len(rows))))
        return self._order[2]

    def loops(self, size: int) -> bool:
        """Tell whether the steps on batches of ``size`` are one program, or one each."""
        return next(loops for (one, _), (_, loops) in self._compiled.items() if one == size)

    def _state(self) -> tuple[list[Any], ...]:
        return state_of_variables(keras_variables(self._model, training=self._training))

    def _set_state(self, state: Any) -> Any:
        for variables, values in zip(keras_variables(self._model, training=self._training), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return state

    def _specification(self, tree: PyTree) -> Any:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype, sharding=self._sharding), tree)

    def _step(self, state: Any, batch: PyTree) -> Any:
        step = self._model.train_step if self._training else self._model.test_step
        logs, new = step(state, batch)
        if returns_logs(self._model, training=self._training):
            # Keras compiles the step too, so that numbers become arrays
            logs = jax.tree.map(
                lambda value: lax.convert_element_type(value, jax.numpy.result_type(value)), checked(logs)
            )
        else:
            logs = None
        # a loop carries one type: bring back what a step returns with another (weakly typed, or a tuple for a list)
        state = jax.tree.map(
            lambda old, new: new.astype(old.dtype),
            state,
            jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(new)),
        )
        return state, logs


def keras_variables(model: Any, *, training: bool) -> list[list[Any]]:
    """Return a model's variables in the order in which a step takes them."""
    trainable, other, of_metrics, of_optimizer = keras_hooks.variable_lists(model)
    return [trainable, other, of_optimizer, of_metrics] if training else [trainable, other, of_metrics]


def state_of_variables(groups: list[list[Any]]) -> tuple[list[Any], ...]:
    """Return the values of variables, each in a buffer of its own; a model may list a metric twice."""
    seen: set[int] = set()

    def value(variable: Any) -> Any:
        known = id(variable) in seen
        seen.add(id(variable))
        return jax.numpy.copy(variable.value) if known else variable.value

    return tuple([value(variable) for variable in group] for group in groups)


@contextlib.contextmanager
def _kept_values(model: Any) -> Iterator[None]:
    """Refuse a step that sets variables itself: what tracing leaves in them is no value."""
    groups = [*keras_variables(model, training=True), *(one.variables for one in optimizers_of(model))]
    variables = [variable for group in groups for variable in group]
    before = [one.value for one in variables]
    changed: list[Any] = []
    try:
        yield
    finally:
        for variable, old in zip(variables, before, strict=True):
            if variable.value is not old:
                changed.append(variable)
                variable.assign(old)
    if changed:
        raise ValueError(f"a step sets the variable {changed[0].path} instead of returning its value")


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


def _refuse_other_variables(constants: Sequence[Any], read: Iterable[Any]) -> None:
    """Refuse Keras variables outside the model's lists, of those that a step read.

    ``model.fit`` takes them for constants too, but of another moment, and without compilation it reads them in every
    step. So a loss weight that a callback changes means what it means there.
    """
    for variable in read:
        if any(variable.value is constant for constant in constants):
            raise ValueError(f"a step reads the variable {variable.path}, which is not the model's own")


def _is_slow_in_loops(jaxpr: Any) -> bool:
    """Tell whether a step is one that XLA should not put into a loop here."""
    return jax.default_backend() == "cpu" and "conv_general_dilated" in str(jaxpr)
