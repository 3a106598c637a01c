"""What the loops written by hand share: the tutorial's settings, and an epoch of steps in each framework."""

from __future__ import annotations

from typing import Any

import numpy as np

BATCH = 32
RATE, RHO, EPSILON = 0.001, 0.9, 1e-8
SEED = 1337


def jax_epoch(loss_of: Any, weights: list[np.ndarray], x: np.ndarray, labels: np.ndarray) -> Any:
    """As `tensorflow_epoch`, as one scan under ``jax.jit``; ``loss_of`` gives the loss and the share of hits."""
    import jax
    import jax.numpy as jnp

    def run(state: Any, x: Any, labels: Any, order: Any) -> Any:
        def step(state: Any, rows: Any) -> Any:
            weights, squares = state
            reports, grads = jax.value_and_grad(loss_of, has_aux=True)(weights, x[rows], labels[rows])
            squares = [RHO * s + (1 - RHO) * g * g for s, g in zip(squares, grads, strict=True)]
            weights = [w - RATE * g / jnp.sqrt(s + EPSILON) for w, g, s in zip(weights, grads, squares, strict=True)]
            return (weights, squares), reports

        state, (losses, hits) = jax.lax.scan(step, state, order)
        return state, losses.mean(), hits.mean()

    compiled = jax.jit(run, donate_argnums=0)
    first = [jnp.array(w) for w in weights]
    state = (first, [jnp.zeros_like(w) for w in first])
    x, labels = jax.device_put(x), jax.device_put(labels.astype(np.int32))

    def epoch(order: np.ndarray) -> tuple[float, float]:
        nonlocal state
        state, loss, accuracy = compiled(state, x, labels, order.astype(np.int32))
        return float(loss), float(accuracy)

    return epoch


def tensorflow_epoch(logits_of: Any, weights: list[Any], x: np.ndarray, labels: np.ndarray, *, xla: bool) -> Any:
    """Return an epoch as one ``tf.function``: called with the order of the samples, it reports loss and accuracy."""
    import tensorflow as tf

    squares = [tf.Variable(tf.zeros_like(w)) for w in weights]
    total, right = tf.Variable(0.0), tf.Variable(0.0)
    x, labels = tf.constant(x), tf.constant(labels.astype(np.int32))

    @tf.function(jit_compile=xla or None, autograph=False)
    def run(x: Any, labels: Any, order: Any) -> Any:
        total.assign(0.0)
        right.assign(0.0)

        def step(i: Any) -> Any:
            rows = tf.gather(order, i)
            with tf.GradientTape() as tape:
                logits = logits_of(tf.gather(x, rows))
                wanted = tf.gather(labels, rows)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits))
            for w, s, g in zip(weights, squares, tape.gradient(loss, weights), strict=True):
                s.assign(RHO * s + (1 - RHO) * g * g)
                w.assign_sub(RATE * g / tf.sqrt(s + EPSILON))
            total.assign_add(loss)
            hits = tf.argmax(logits, 1, output_type=tf.int32) == wanted
            right.assign_add(tf.reduce_mean(tf.cast(hits, tf.float32)))
            return [i + 1]

        tf.while_loop(lambda i: i < order.shape[0], step, [tf.constant(0)], parallel_iterations=1)
        return total / order.shape[0], right / order.shape[0]

    return lambda order: [float(value) for value in run(x, labels, tf.constant(order.astype(np.int32)))]


def torch_epoch(logits_of: Any, weights: list[Any], x: np.ndarray, labels: np.ndarray) -> Any:
    """Return an epoch: called with the order of the samples, it reports loss and accuracy."""
    import torch

    squares = [torch.zeros_like(w) for w in weights]
    x, labels = torch.as_tensor(x), torch.as_tensor(labels.astype(np.int64))
    cross_entropy = torch.nn.functional.cross_entropy

    def epoch(order: np.ndarray) -> tuple[float, float]:
        rows = torch.as_tensor(order.reshape(-1))
        total, right = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for images, targets in zip(x[rows].split(BATCH), labels[rows].split(BATCH), strict=True):
            logits = logits_of(images)
            loss = cross_entropy(logits, targets)
            grads = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                torch._foreach_mul_(squares, RHO)
                torch._foreach_addcmul_(squares, grads, grads, 1 - RHO)
                below = torch._foreach_add(squares, EPSILON)  # noqa: SLF001
                torch._foreach_sqrt_(below)
                torch._foreach_addcdiv_(weights, grads, below, -RATE)
                total += loss.detach()
                right += (logits.argmax(1) == targets).sum()
        return float(total) / len(order), float(right) / order.size

    return epoch
