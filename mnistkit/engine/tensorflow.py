"""Whole stretches of an epoch as one XLA program under TensorFlow.

Keras' own ``train_step`` is the body of one ``tf.while_loop`` inside one ``tf.function``, which updates the model's
variables in place. The bounds of the loop are arguments, so a single compilation serves every stretch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mnistkit.engine.arrays import map_nest

if TYPE_CHECKING:
    import numpy.typing as npt

    from mnistkit.engine.arrays import Nest


def place(nest: Nest) -> Nest:
    """Put the arrays on the default device."""
    return map_nest(tf.convert_to_tensor, nest)


class Program:
    """A model's train or test step, looped over batches of resident data.

    Args:
        model: a compiled and built Keras model.
        training: whether to train or to evaluate.
    """

    def __init__(self, model: Any, *, training: bool) -> None:
        step = model.train_step if training else model.test_step
        xla = all(layer.supports_jit for layer in model._flatten_layers())  # noqa: SLF001 - Keras decides by the same list

        def steps(data: Nest, order: Any, start: Any, steps: Any, size: int) -> None:
            def body(i: Any) -> Any:
                # gather, not slice: XLA takes the beginning of a slice for a constant and compiles anew for each
                rows = tf.gather(order, start + i * size + tf.range(size))
                step(map_nest(lambda leaf: tf.gather(leaf, rows), data))
                return [i + 1]

            tf.while_loop(lambda i: i < steps, body, [tf.constant(0)], parallel_iterations=1)

        self._steps = tf.function(steps, jit_compile=xla, autograph=False)

    def compile(self, data: Nest, n: int, *, size: int) -> None:
        """Compile for batches of ``size``, so that the first stretch need not and a failure shows before training."""
        self.run(data, np.zeros(n, np.int64), start=0, steps=0, size=size)

    def run(self, data: Nest, order: npt.NDArray[np.int64], *, start: int, steps: int, size: int) -> None:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model."""
        order32 = tf.constant(order.astype(np.int32))
        self._steps(data, order32, tf.constant(start), tf.constant(steps), size)
