"""The models of train_models.py and their training, written by hand in TensorFlow.

Each function takes the weights in the order of Keras' ``trainable_weights`` and a batch, and gives the logits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
import train_models
from train_hand_settings import BETA_1, BETA_2, EPSILON, RATE

_BY_XLA = {"text", "wide", "autoencoder", "transformer"}
"""Faster when XLA compiles them; the others have convolutions, which XLA's loops on the CPU run slowly."""


def epoch(name: str, weights: list[np.ndarray], x: Any, y: np.ndarray, *, dropout: float) -> Any:
    """Return an epoch as one ``tf.function``: called with the order of the samples, it reports loss and accuracy."""
    apply, loss_of = _APPLY[name], _LOSSES[train_models.ROWS[name].loss]
    variables = [tf.Variable(w) for w in weights]
    means, squares = ([tf.Variable(tf.zeros_like(w)) for w in weights] for _ in range(2))
    count, total, right = tf.Variable(0.0), tf.Variable(0.0), tf.Variable(0.0)
    data, y = tf.nest.map_structure(tf.constant, x), tf.constant(y)

    @tf.function(jit_compile=name in _BY_XLA or None, autograph=False)
    def run(data: Any, y: Any, order: Any) -> Any:
        total.assign(0.0)
        right.assign(0.0)

        def step(i: Any) -> Any:
            rows = tf.gather(order, i)
            batch = tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), data)
            with tf.GradientTape() as tape:
                loss, hits = loss_of(apply(variables, batch, dropout), tf.gather(y, rows))
            grads = tape.gradient(loss, variables)
            n = count.assign_add(1.0)
            rate = RATE * tf.sqrt(1 - BETA_2**n) / (1 - BETA_1**n)
            for w, m, s, g in zip(variables, means, squares, grads, strict=True):
                m.assign_add((1 - BETA_1) * (tf.convert_to_tensor(g) - m))
                s.assign_add((1 - BETA_2) * (_squared(g) - s))
                w.assign_sub(rate * m / (tf.sqrt(s) + EPSILON))
            total.assign_add(loss)
            right.assign_add(tf.reduce_mean(tf.cast(hits, tf.float32)))
            return [i + 1]

        tf.while_loop(lambda i: i < order.shape[0], step, [tf.constant(0)], parallel_iterations=1)
        return total / order.shape[0], right / order.shape[0]

    def one_epoch(order: np.ndarray) -> tuple[float, float]:
        loss, accuracy = run(data, y, tf.constant(order.astype(np.int32)))
        return float(loss), float(accuracy)

    one_epoch.weights = lambda: variables  # type: ignore[attr-defined]
    return one_epoch


def _squared(gradient: Any) -> Any:
    """Square as Keras does: of a word that comes twice in a batch, each part of the gradient for itself."""
    if isinstance(gradient, tf.IndexedSlices):
        parts = tf.square(gradient.values)
        return tf.convert_to_tensor(tf.IndexedSlices(parts, gradient.indices, gradient.dense_shape))
    return tf.square(gradient)


def _binary(logits: Any, y: Any) -> Any:
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits))
    return loss, (logits > 0) == (y > 0)


def _categories(logits: Any, y: Any) -> Any:
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
    return loss, tf.argmax(logits, 1, output_type=tf.int32) == y


def _text(weights: Any, x: Any, rate: float) -> Any:
    del rate
    words, w1, b1, w2, b2 = weights
    return tf.nn.relu(tf.reduce_mean(tf.gather(words, x), 1) @ w1 + b1) @ w2 + b2


def _wide(weights: Any, x: Any, rate: float) -> Any:
    del rate
    *tables, w1, b1, w2, b2, w3, b3 = weights
    *columns, numbers = x
    deep = tf.concat([*(tf.gather(table, column) for table, column in zip(tables, columns, strict=True)), numbers], 1)
    deep = tf.nn.relu(tf.nn.relu(deep @ w1 + b1) @ w2 + b2)
    return tf.concat([deep, numbers], 1) @ w3 + b3


def _autoencoder(weights: Any, x: Any, rate: float) -> Any:
    del rate
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    code = tf.nn.relu(tf.nn.relu(x @ w1 + b1) @ w2 + b2)
    return tf.nn.relu(code @ w3 + b3) @ w4 + b4


def _conv1d(weights: Any, x: Any, rate: float) -> Any:
    del rate
    k1, b1, k2, b2, dense, bias = weights
    x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv1d(x, k1, 1, "VALID"), b1))
    x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv1d(tf.nn.max_pool1d(x, 2, 2, "VALID"), k2, 1, "VALID"), b2))
    return tf.reduce_max(x, 1) @ dense + bias


def _depthwise(weights: Any, x: Any, rate: float) -> Any:
    del rate
    x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, weights[0], 2, "SAME"), weights[1]))
    for i, stride in ((2, 1), (6, 2)):
        deep, deep_bias, point, point_bias = weights[i : i + 4]
        x = tf.nn.depthwise_conv2d(x, deep, (1, stride, stride, 1), "SAME")
        x = tf.nn.conv2d(tf.nn.relu(tf.nn.bias_add(x, deep_bias)), point, 1, "VALID")
        x = tf.nn.relu(tf.nn.bias_add(x, point_bias))
    return tf.reduce_mean(x, (1, 2)) @ weights[10] + weights[11]


def _transformer(weights: Any, x: Any, rate: float) -> Any:
    words, positions, *rest = weights
    x = tf.gather(words, x) + positions

    def dropped(x: Any) -> Any:
        return tf.nn.dropout(x, rate) if rate else x

    def normed(x: Any, scale: Any, shift: Any) -> Any:
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        return (x - mean) * (tf.math.rsqrt(variance + train_models.NORM_EPSILON) * scale) + shift

    size = train_models.WIDTH // train_models.HEADS
    for block in range(2):
        wq, bq, wk, bk, wv, bv, wo, bo, s1, t1, w1, b1, w2, b2, s2, t2 = rest[16 * block : 16 * block + 16]
        q, k, v = (tf.einsum("btd,dhe->bhte", x, w) + b[:, None, :] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
        scores = tf.nn.softmax(tf.matmul(q / math.sqrt(size), k, transpose_b=True))
        attended = tf.einsum("bhte,hed->btd", scores @ v, wo) + bo
        x = normed(x + dropped(attended), s1, t1)
        x = normed(x + dropped(tf.nn.relu(x @ w1 + b1) @ w2 + b2), s2, t2)
    w1, b1, w2, b2 = rest[-4:]
    return tf.nn.relu(tf.reduce_mean(x, 1) @ w1 + b1) @ w2 + b2


_LOSSES = {"binary_crossentropy": _binary, "sparse_categorical_crossentropy": _categories}
_APPLY = {
    "text": _text,
    "wide": _wide,
    "autoencoder": _autoencoder,
    "conv1d": _conv1d,
    "depthwise": _depthwise,
    "transformer": _transformer,
}
