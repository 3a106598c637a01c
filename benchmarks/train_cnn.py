"""The convolutional net of ``mnistkit.digits.model`` and its training, written by hand in each framework.

What somebody would write who wants speed and no Keras: each framework's own kernels, cross-entropy on logits, RMSprop,
moving averages of the batch normalization, dropout; loss and accuracy are reported at the end of an epoch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import train_loops
from train_loops import EPSILON, RATE, RHO, SEED

KEEP, MOMENTUM, BN_EPSILON = 0.7, 0.9, 1e-3
LAYERS = ((1, 32, 5, 2), (32, 32, 3, 1), (32, 64, 3, 2), (64, 64, 3, 1), (64, 96, 3, 1))
"""Of each convolution: channels in, channels out, size, stride. A pooling stands before the last."""


def initial() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return what is trained (kernel, scale, shift of each layer, then the dense layer) and the moving averages."""
    generator = np.random.default_rng(SEED)

    def kernel(*shape: int) -> np.ndarray:
        limit = math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
        return generator.uniform(-limit, limit, shape).astype(np.float32)

    weights, averages = [], []
    for channels, filters, size, _ in LAYERS:
        weights += [kernel(size, size, channels, filters), np.ones(filters, np.float32), np.zeros(filters, np.float32)]
        averages += [np.zeros(filters, np.float32), np.ones(filters, np.float32)]
    return [*weights, kernel(864, 10), np.zeros(10, np.float32)], averages


def jax_epoch(x: np.ndarray, labels: np.ndarray) -> Any:
    import jax
    import jax.numpy as jnp
    from jax import lax

    def loss_of(weights: Any, averages: Any, x: Any, labels: Any, key: Any) -> Any:
        x, moved = x.reshape(-1, 28, 28, 1), []
        for i, (*_sizes, stride) in enumerate(LAYERS):
            if i == len(LAYERS) - 1:
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            kernel, scale, shift = weights[3 * i : 3 * i + 3]
            x = lax.conv_general_dilated(
                x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            for old, new in zip(averages[2 * i : 2 * i + 2], (mean, variance), strict=True):
                moved.append(MOMENTUM * old + (1 - MOMENTUM) * new)
            x = jax.nn.relu((x - mean) * (scale * lax.rsqrt(variance + BN_EPSILON)) + shift)
        x = x.reshape(len(x), -1)
        x = jnp.where(jax.random.bernoulli(key, KEEP, x.shape), x / KEEP, 0)
        logits = x @ weights[-2] + weights[-1]
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()
        return loss, (moved, (logits.argmax(1) == labels).mean())

    def step(state: Any, x: Any, labels: Any, rows: Any) -> Any:
        weights, squares, averages, key, total, right = state
        key, now = jax.random.split(key)
        graded = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (averages, hits)), grads = graded(weights, averages, x[rows], labels[rows], now)
        squares = [RHO * s + (1 - RHO) * g * g for s, g in zip(squares, grads, strict=True)]
        weights = [w - RATE * g / jnp.sqrt(s + EPSILON) for w, g, s in zip(weights, grads, squares, strict=True)]
        return weights, squares, averages, key, total + loss, right + hits

    # a step is the program: in a loop of XLA's, the CPU's convolutions are ten times slower
    compiled = jax.jit(step, donate_argnums=0)
    weights, averages = ([jnp.array(part) for part in parts] for parts in initial())
    state: Any = (weights, [jnp.zeros_like(w) for w in weights], averages, jax.random.key(SEED))
    x, labels = jax.device_put(x), jax.device_put(labels.astype(np.int32))

    def epoch(order: np.ndarray) -> tuple[float, float]:
        nonlocal state
        now = (*state, jnp.zeros(()), jnp.zeros(()))
        for rows in jax.device_put(order.astype(np.int32)):
            now = compiled(now, x, labels, rows)
        *state, total, right = now
        return float(total) / len(order), float(right) / len(order)

    return epoch


def tensorflow_epoch(x: np.ndarray, labels: np.ndarray) -> Any:
    import tensorflow as tf

    weights, averages = ([tf.Variable(part) for part in parts] for parts in initial())

    def logits_of(x: Any) -> Any:
        x = tf.reshape(x, (-1, 28, 28, 1))
        for i, (*_sizes, stride) in enumerate(LAYERS):
            if i == len(LAYERS) - 1:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            kernel, scale, shift = weights[3 * i : 3 * i + 3]
            x = tf.nn.conv2d(x, kernel, stride, "SAME")
            x, mean, variance, *_unused = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=scale, offset=shift, mean=[], variance=[], epsilon=BN_EPSILON, is_training=True
            )
            for old, new in zip(averages[2 * i : 2 * i + 2], (mean, variance), strict=True):
                old.assign(MOMENTUM * old + (1 - MOMENTUM) * new)
            x = tf.nn.relu(x)
        return tf.nn.dropout(tf.reshape(x, (-1, 864)), 1 - KEEP) @ weights[-2] + weights[-1]

    # XLA's loops run the CPU's convolutions ten times slower
    return train_loops.tensorflow_epoch(logits_of, weights, x, labels, xla=False)


def torch_epoch(x: np.ndarray, labels: np.ndarray) -> Any:
    import torch
    from torch.nn import functional

    parts, averages = initial()
    # kernels as PyTorch has them: channels out, channels in, height, width
    weights = [torch.tensor(p.transpose(3, 2, 0, 1).copy() if p.ndim == 4 else p) for p in parts]
    weights = [w.requires_grad_() for w in weights]
    averages = [torch.tensor(part) for part in averages]

    def logits_of(x: Any) -> Any:
        x = x.reshape(-1, 1, 28, 28)
        for i, (*_channels, size, stride) in enumerate(LAYERS):
            if i == len(LAYERS) - 1:
                x = functional.max_pool2d(x, 2)
            kernel, scale, shift = weights[3 * i : 3 * i + 3]
            x = functional.conv2d(x, kernel, stride=stride, padding=size // 2)
            mean, variance = averages[2 * i : 2 * i + 2]
            x = functional.batch_norm(x, mean, variance, scale, shift, True, 1 - MOMENTUM, BN_EPSILON)
            x = torch.relu_(x)
        return torch.addmm(weights[-1], functional.dropout(x.flatten(1), 1 - KEEP), weights[-2])

    return train_loops.torch_epoch(logits_of, weights, x, labels)
