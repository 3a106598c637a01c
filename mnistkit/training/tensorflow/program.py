"""Chunks of an epoch as one XLA program under TensorFlow.

Keras' own ``train_step`` is the body of one ``tf.while_loop`` inside one ``tf.function``, which updates the model's
variables in place. The bounds of the loop are arguments, so a single compilation serves every chunk.

XLA's loops on the CPU run convolutions without its fast kernels, ten times slower than outside. A step with them
is a program of its own there, called from Python; where ``model.fit`` would do without XLA, the loop does too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mnistkit.training import keras_hooks
from mnistkit.training.programs import COMPILE_REST_FROM
from mnistkit.training.pytree import tree_map
from mnistkit.training.tensorflow.fused_batch_norm import fused_normalization

if TYPE_CHECKING:
    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree


def to_device(tree: PyTree) -> PyTree:
    """Put the arrays on the default device."""
    return tree_map(tf.convert_to_tensor, tree)


class Program:
    """A model's train or test step, looped over batches of resident data.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
    """

    def __init__(self, model: Any, *, training: bool) -> None:
        layers = keras_hooks.flatten_layers(model)
        self._step = step = model.train_step if training else model.test_step

        def one(data: PyTree, order: Any, start: Any, size: int) -> None:
            # gather, not slice: XLA takes the beginning of a slice for a constant and compiles anew for each
            rows = tf.gather(order, start + tf.range(size))
            step(tree_map(lambda leaf: tf.gather(leaf, rows), data))

        def many(data: PyTree, order: Any, start: Any, steps: Any, size: int) -> None:
            def body(i: Any) -> Any:
                one(data, order, start + i * size, size)
                return [i + 1]

            tf.while_loop(lambda i: i < steps, body, [tf.constant(0)], parallel_iterations=1)

        def many_fused(data: PyTree, order: Any, start: Any, steps: Any, size: int) -> None:
            with fused_normalization(layers):
                many(data, order, start, steps, size)

        # on the CPU, fit leaves XLA out by itself, which cannot be told from jit_compile=False: speed decides
        self._asked_for_xla = bool(model.jit_compile)
        self._xla = all(layer.supports_jit for layer in layers)  # as Keras decides
        self._one = tf.function(one, jit_compile=self._xla, autograph=False)
        self._many = tf.function(many, jit_compile=self._xla, autograph=False)
        self._many_without_xla = tf.function(many_fused, jit_compile=False, autograph=False)
        self._loop: dict[int, Any] = {}  # None where each step is called by itself

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Compile for batches of ``size``, so that the first chunk need not and a failure shows before training."""
        order, zero = tf.zeros(n, tf.int32), tf.constant(0)
        traced = self._many.get_concrete_function(data, order, zero, zero, size)
        self._loop[size] = self._many
        if self._xla and _is_slow_in_loops(traced.graph):
            self._loop[size] = None if self._asked_for_xla else self._many_without_xla
        if self._loop[size] is not None:
            self._loop[size](data, order, zero, zero, size)  # no step at all, but XLA compiles

    def compile_rest(self, data: PyTree, n: int, *, size: int, epoch: int) -> None:
        """Compile for the last batch of each epoch, once that saves time; or where random numbers must be XLA's."""
        if (epoch >= COMPILE_REST_FROM or self._asked_for_xla) and size not in self._loop:
            self.compile(data, n, size=size)

    def run(self, data: PyTree, order: npt.NDArray[np.int64], *, start: int, steps: int, size: int) -> None:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        if size not in self._loop:
            rows = tf.constant(order[start : start + size])
            self._step(tree_map(lambda leaf: tf.gather(leaf, rows), data))  # as Keras does it, without a program
            return
        order32 = tf.constant(order.astype(np.int32))
        if self._loop[size] is not None:
            self._loop[size](data, order32, tf.constant(start), tf.constant(steps), size)
            return
        for i in range(steps):
            self._one(data, order32, tf.constant(start + i * size), size)

    def loops(self, size: int) -> bool:
        """Tell whether the steps on batches of ``size`` are one program compiled by XLA."""
        return self._loop[size] is self._many and self._xla


def _is_slow_in_loops(graph: Any) -> bool:
    """Tell whether a step is one that XLA should not put into a loop here."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return not tf.config.list_logical_devices("GPU") and any("Conv" in node.op for node in nodes)
