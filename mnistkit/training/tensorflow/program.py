"""Chunks of an epoch as one XLA program under TensorFlow.

Keras' own ``train_step``, traced once, is the body of one ``tf.while_loop`` inside one ``tf.function``, which updates
the model's variables in place. The bounds of the loop are arguments, so a single compilation serves every chunk.

XLA's loops on the CPU run convolutions without its fast kernels, ten times slower than outside. A step with them
is a program of its own there, called from Python; where ``model.fit`` would do without XLA, the loop does too. So it
does where a kernel of TensorFlow would raise an error that XLA does not (``kernel_errors``).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mnistkit.training import keras_hooks
from mnistkit.training.making import COMPILE_REST_FROM
from mnistkit.training.own_steps import checked, returns_logs
from mnistkit.training.pytree import tree_leaves, tree_map
from mnistkit.training.recurrent import own_derivatives
from mnistkit.training.tensorflow import loops
from mnistkit.training.tensorflow.fused_batch_norm import fused_normalization
from mnistkit.training.tensorflow.gradients import gradients_of_kernels
from mnistkit.training.tensorflow.kernel_errors import KernelErrors, draws_globally, operations
from mnistkit.training.tensorflow.recurrent import loop
from mnistkit.training.tensorflow.worth import worth_steps

if TYPE_CHECKING:
    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree

IN_EVERY_STEP = False
FIXED_LENGTH = True
WORTH_STEPS = 0  # for fewer than XLA is worth there is another loop
FINALIZES_AFTER_ERRORS = False
FIT_BUILDS = False
_KEPT_RESTS = 3  # sizes of the last batch


def state_of(model: Any) -> list[Any]:
    """List what a step depends on beside its inputs: ``model.fit`` keeps its function until the next ``compile``."""
    return keras_hooks.compiled_parts(model)


def batch_was_taken() -> None:
    """Do nothing: ``model.fit`` takes a batch without a random number."""


def to_device(tree: PyTree) -> PyTree:
    """Put the arrays on the default device."""
    return tree_map(tf.convert_to_tensor, tree)


def host_view(tensor: Any) -> npt.NDArray[Any] | None:
    """Return an array on the tensor's memory, None where it is on another device."""
    return np.asarray(memoryview(tensor)) if tensor.device.endswith("CPU:0") else None


@dataclass(slots=True)
class _Steps:
    """Steps on batches of one size.

    Attributes:
        traced: one step, as a function of the arrays of a batch.
        errors: what TensorFlow's kernels check and XLA does not.
        slow: whether XLA should not put the steps into a loop here.
        worth: how many steps must be asked for until XLA is worth its compilation.
        by_xla: the loop compiled by XLA, or a function for one step each.
        by_kernels: the loop without XLA.
        compiled_for: numbers of samples.
        last: how they run on the present data: "xla", "xla, each", "kernels" or "kernels, each".
    """

    traced: Any
    errors: KernelErrors
    slow: bool
    worth: int
    by_xla: Any = None
    by_kernels: Any = None
    compiled_for: set[int] = field(default_factory=set)
    last: str = ""


class Program:
    """A model's train or test step, looped over batches of resident data.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
        flags: what was trainable at the first step after ``compile``: what ``model.fit`` goes on training.
    """

    asked_steps: int | None = None

    def __init__(self, model: Any, *, training: bool, flags: keras_hooks.TrainableFlags) -> None:
        self._layers = keras_hooks.flatten_layers(model)
        self._flags = flags
        self._step = model.train_step if training else model.test_step
        self._returns_logs = returns_logs(model, training=training)
        # on the CPU, fit leaves XLA out by itself, which cannot be told from jit_compile=False: speed decides
        self._asked_for_xla = bool(model.jit_compile)
        self._xla = all(layer.supports_jit for layer in self._layers)  # as Keras decides
        self._sizes: dict[int | None, _Steps] = {}  # None: of any size
        self._loss = keras_hooks.compiled_parts(model)[1]
        self._needs_size = False
        self._order: tuple[Any, int, Any] | None = None

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Compile for batches of ``size``, so that the first chunk need not and a failure shows before training."""
        steps = self._steps(data, size=size)
        way = self._way(steps, data)
        if n in steps.compiled_for and way == steps.last:
            return
        if way == "xla" and steps.by_xla is None:
            steps.by_xla = self._loop(steps.traced, data, size=size, jit_compile=True)
        if way == "xla, each" and steps.by_xla is None:
            steps.by_xla = loops.single(steps.traced, data, size=size)
        if way == "kernels" and steps.by_kernels is None:
            fused = self._xla and steps.slow
            traced = self._trace(data, size=size, fused=True) if fused else steps.traced
            steps.by_kernels = self._loop(traced, data, size=size, jit_compile=False)
        if way == "xla":  # no step at all, but XLA compiles
            steps.by_xla(tree_leaves(data), tf.zeros(n, tf.int32), tf.constant(0), tf.constant(0))
        steps.compiled_for.add(n)
        steps.last = way

    def compile_rest(self, data: PyTree, n: int, *, size: int, epoch: int) -> None:
        """Trace for the last batch of each epoch; compile once that saves time, or if random numbers must be XLA's."""
        known = size if size in self._sizes else self._rest_size(data, size=size)
        if epoch >= COMPILE_REST_FROM or self._asked_for_xla:
            known = size
            self.compile(data, n, size=size)
        elif not self._steps(data, size=known).last:
            self._sizes[known].last = "kernels, each"
        self._sizes[known] = self._sizes.pop(known)
        for old in [*self._sizes][1:-_KEPT_RESTS]:
            del self._sizes[old]

    def _rest_size(self, data: PyTree, *, size: int) -> int | None:
        """Return for which size of the last batch to trace: None, as ``model.fit``, so that other sizes need no trace.

        Not where a step needs to know the size: Keras weights the loss of each of several outputs by it.
        """
        if not self._needs_size and not (self._loss is not None and self._loss.metrics):
            try:
                self._steps(data, size=None)
            except Exception:  # noqa: BLE001 - whatever a layer raises that cannot do without; tried once
                self._needs_size = True
            else:
                return None
        return size

    def run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> Any:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        logs = self._run(data, order, start=start, steps=steps, size=size)
        return logs if self._returns_logs else None

    def _run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> Any:
        known, flat = self._sizes.get(size) or self._sizes[None], tree_leaves(data)
        if known.last == "kernels, each":
            rows = tf.range(start, start + size) if order is None else tf.constant(order[start : start + size])
            return known.traced(*(tf.gather(leaf, rows) for leaf in flat))
        order32 = self._order_on_device(order, flat[0].shape[0])
        if known.last == "xla, each":
            logs = None
            for i in range(steps):
                logs = known.by_xla(flat, order32, tf.constant(start + i * size))
            return logs
        loop = known.by_xla if known.last == "xla" else known.by_kernels
        return loop(flat, order32, tf.constant(start), tf.constant(steps))

    def _order_on_device(self, order: npt.NDArray[np.int64] | None, n: int) -> Any:
        """Return an order as the loops take it; the last one is kept, since an epoch has one for all its chunks."""
        if self._order is None or self._order[0] is not order or self._order[1] != n:
            rows = np.arange(n, dtype=np.int32) if order is None else order.astype(np.int32)
            self._order = order, n, tf.constant(np.pad(rows, (0, n - len(rows))))
        return self._order[2]

    def loops(self, size: int) -> bool:
        """Tell whether the steps on batches of ``size`` are one program compiled by XLA."""
        return self._sizes[size].last == "xla"

    def _way(self, steps: _Steps, data: PyTree) -> str:
        """Choose how to run the steps on these data."""
        if not self._xla:
            return "kernels"
        if self._asked_for_xla:
            return "xla, each" if steps.slow else "xla"
        if self._is_short(steps) or steps.slow or steps.errors.may_happen(tree_leaves(data)):
            return "kernels"
        return "xla"

    def _is_short(self, steps: _Steps) -> bool:
        return self.asked_steps is not None and self.asked_steps < steps.worth

    def _steps(self, data: PyTree, *, size: int | None) -> _Steps:
        if size not in self._sizes:
            traced = self._trace(data, size=size, fused=False)
            if draws_globally(traced.graph):
                raise ValueError("it draws from TensorFlow's global random generator")
            slow, worth = _is_slow_in_loops(traced.graph), worth_steps(traced.graph)
            self._sizes[size] = _Steps(traced, KernelErrors(traced), slow=slow, worth=worth)
        return self._sizes[size]

    def _trace(self, data: PyTree, *, size: int | None, fused: bool) -> Any:
        """Trace a step on one batch, a function of its arrays."""

        def one(*flat: Any) -> Any:
            remaining = iter(flat)
            with contextlib.ExitStack() as stack:
                if fused:
                    stack.enter_context(fused_normalization(self._layers))
                if self._xla and not self._asked_for_xla:
                    stack.enter_context(gradients_of_kernels())
                stack.enter_context(own_derivatives(loop, on_cpu=not tf.config.list_logical_devices("GPU")))
                logs = self._step(tree_map(lambda _: next(remaining), data))
                return logs if self._returns_logs else {}

        batch = [tf.TensorSpec((size, *leaf.shape[1:]), leaf.dtype) for leaf in tree_leaves(data)]
        with self._flags.applied():
            traced = tf.function(one, autograph=False).get_concrete_function(*batch)
        checked(traced.structured_outputs)  # not while tracing: variables that are made there would stay without values
        return traced

    def _loop(self, traced: Any, data: PyTree, *, size: int, jit_compile: bool) -> Any:
        return loops.loop(traced, data, size=size, jit_compile=jit_compile)


def _is_slow_in_loops(graph: Any) -> bool:
    """Tell whether a step is one that XLA should not put into a loop here."""
    return not tf.config.list_logical_devices("GPU") and any("Conv" in node.op for node in operations(graph))
