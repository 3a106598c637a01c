"""Loops of a traced step over batches of resident data, as one ``tf.function`` with or without XLA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mnistkit.training.pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnistkit.training.pytree import PyTree


def loop(traced: Any, data: PyTree, *, size: int, jit_compile: bool) -> Any:
    """Return a function of arrays, order, first index and number of steps, which does the steps.

    Args:
        traced: a step on one batch, a concrete function of its arrays.
        data: on the device.
        size: samples in a batch.
        jit_compile: whether XLA compiles the loop.
    """

    def many(flat: list[Any], order: Any, start: Any, steps: Any) -> Any:
        def body(i: Any, _: Any) -> Any:
            return [i + 1, _gathered(traced, flat, order, start + i * size, size)]

        logs = tf.nest.map_structure(lambda one: tf.zeros(one.shape, one.dtype), traced.structured_outputs)
        begin = [tf.constant(0), logs]
        return tf.while_loop(lambda i, _: i < steps, body, begin, parallel_iterations=1)[1]

    return _function(many, data, numbers=2, jit_compile=jit_compile)


def single(traced: Any, data: PyTree, *, size: int) -> Any:
    """Return a function of arrays, order and first index, which does one step and is compiled by XLA."""

    def one(flat: list[Any], order: Any, start: Any) -> Any:
        return _gathered(traced, flat, order, start, size)

    return _function(one, data, numbers=1, jit_compile=True)


def _gathered(traced: Any, flat: list[Any], order: Any, start: Any, size: int) -> Any:
    # gather, not slice: XLA takes the beginning of a slice for a constant and compiles anew for each
    rows = tf.gather(order, start + tf.range(size))
    return traced(*(tf.gather(leaf, rows) for leaf in flat))


def _function(function: Callable[..., Any], data: PyTree, *, numbers: int, jit_compile: bool) -> Any:
    """Make a function of any number of samples: one trace, and one program of XLA for each number."""
    arrays = [tf.TensorSpec((None, *leaf.shape[1:]), leaf.dtype) for leaf in tree_leaves(data)]
    signature = [arrays, tf.TensorSpec((None,), tf.int32), *[tf.TensorSpec((), tf.int32)] * numbers]
    made = tf.function(function, input_signature=signature, jit_compile=jit_compile, autograph=False)
    made.get_concrete_function()  # a call would count as one more trace of this code, of which TensorFlow warns
    return made
