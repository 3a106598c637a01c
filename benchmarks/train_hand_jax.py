"""The models of train_models.py and their training, written by hand in JAX.

Each ``loss_of`` takes the weights in the order of Keras' ``trainable_weights``, a batch and a key for dropout; it gives
the loss and the share of hits.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import train_models
from jax import lax
from train_hand_settings import BETA_1, BETA_2, EPSILON, RATE

_LOOPED = {"text", "wide", "autoencoder", "transformer"}
"""Faster on the CPU as one scan; the others, which have convolutions, as one program a step."""


def epoch(name: str, weights: list[np.ndarray], x: Any, y: np.ndarray, *, dropout: float) -> Any:
    """Return an epoch: called with the order of the samples, it reports loss and accuracy."""
    apply, loss = _APPLY[name], _LOSSES[train_models.ROWS[name].loss]

    def loss_of(weights: Any, x: Any, y: Any, key: Any) -> Any:
        return loss(apply(weights, x, key, dropout), y)

    def step(state: Any, rows: Any, x: Any, y: Any) -> Any:
        weights, means, squares, count, key, *reports = state
        key, now = jax.random.split(key)
        batch = jax.tree.map(lambda leaf: leaf[rows], (x, y))
        reported, grads = jax.value_and_grad(loss_of, has_aux=True)(weights, *batch, now)
        count += 1
        rate = RATE * jnp.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)
        means = [m + (1 - BETA_1) * (g - m) for m, g in zip(means, grads, strict=True)]
        squares = [s + (1 - BETA_2) * (g * g - s) for s, g in zip(squares, grads, strict=True)]
        weights = [w - rate * m / (jnp.sqrt(s) + EPSILON) for w, m, s in zip(weights, means, squares, strict=True)]
        return weights, means, squares, count, key, *(a + b for a, b in zip(reports, reported, strict=True))

    def scan(state: Any, order: Any, x: Any, y: Any) -> Any:
        return lax.scan(lambda state, rows: (step(state, rows, x, y), None), state, order)[0]

    compiled = jax.jit(scan if name in _LOOPED else step, donate_argnums=0)
    first = [jnp.array(w) for w in weights]
    zeros = [[jnp.zeros_like(w) for w in first] for _ in range(2)]
    state: Any = (first, *zeros, jnp.zeros(()), jax.random.key(train_models.SEED))
    x, y = jax.device_put((x, y))

    def run(order: np.ndarray) -> tuple[float, float]:
        nonlocal state
        now, rows = (*state, jnp.zeros(()), jnp.zeros(())), jax.device_put(order.astype(np.int32))
        if name in _LOOPED:
            now = compiled(now, rows, x, y)
        else:
            for one in rows:
                now = compiled(now, one, x, y)
        *state, total, right = now
        return float(total) / len(order), float(right) / len(order)

    run.weights = lambda: state[0]  # type: ignore[attr-defined]
    return run


def _binary(logits: Any, y: Any) -> Any:
    loss = jnp.maximum(logits, 0) - logits * y + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return loss.mean(), ((logits > 0) == (y > 0)).mean()


def _categories(logits: Any, y: Any) -> Any:
    loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()
    return loss, (logits.argmax(1) == y).mean()


def _text(weights: Any, x: Any, key: Any, rate: float) -> Any:
    del key, rate
    words, w1, b1, w2, b2 = weights
    return jax.nn.relu(words[x].mean(1) @ w1 + b1) @ w2 + b2


def _wide(weights: Any, x: Any, key: Any, rate: float) -> Any:
    del key, rate
    *tables, w1, b1, w2, b2, w3, b3 = weights
    *columns, numbers = x
    deep = jnp.concatenate([*(table[column] for table, column in zip(tables, columns, strict=True)), numbers], 1)
    deep = jax.nn.relu(jax.nn.relu(deep @ w1 + b1) @ w2 + b2)
    return jnp.concatenate([deep, numbers], 1) @ w3 + b3


def _autoencoder(weights: Any, x: Any, key: Any, rate: float) -> Any:
    del key, rate
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    code = jax.nn.relu(jax.nn.relu(x @ w1 + b1) @ w2 + b2)
    return jax.nn.relu(code @ w3 + b3) @ w4 + b4


def _conv1d(weights: Any, x: Any, key: Any, rate: float) -> Any:
    del key, rate
    k1, b1, k2, b2, dense, bias = weights

    def convolved(x: Any, kernel: Any, bias: Any) -> Any:
        return jax.nn.relu(lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=_NWC) + bias)

    x = lax.reduce_window(convolved(x, k1, b1), -jnp.inf, lax.max, (1, 2, 1), (1, 2, 1), "VALID")
    return convolved(x, k2, b2).max(1) @ dense + bias


def _depthwise(weights: Any, x: Any, key: Any, rate: float) -> Any:
    del key, rate

    def convolved(x: Any, kernel: Any, bias: Any, stride: int = 1, groups: int = 1) -> Any:
        made = lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=_NHWC, feature_group_count=groups
        )
        return jax.nn.relu(made + bias)

    x = convolved(x, weights[0], weights[1], 2)
    for i, stride in ((2, 1), (6, 2)):
        deep, deep_bias, point, point_bias = weights[i : i + 4]
        groups = deep.shape[2]
        x = convolved(x, deep.reshape(3, 3, 1, groups), deep_bias, stride, groups)
        x = jax.nn.relu(x @ point[0, 0] + point_bias)
    return x.mean((1, 2)) @ weights[10] + weights[11]


def _transformer(weights: Any, x: Any, key: Any, rate: float) -> Any:
    words, positions, *rest = weights
    x = words[x] + positions

    def dropped(x: Any, i: int) -> Any:
        if not rate:
            return x
        return jnp.where(jax.random.bernoulli(jax.random.fold_in(key, i), 1 - rate, x.shape), x / (1 - rate), 0)

    def normed(x: Any, scale: Any, shift: Any) -> Any:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * (lax.rsqrt(variance + train_models.NORM_EPSILON) * scale) + shift

    size = train_models.WIDTH // train_models.HEADS
    for block in range(2):
        wq, bq, wk, bk, wv, bv, wo, bo, s1, t1, w1, b1, w2, b2, s2, t2 = rest[16 * block : 16 * block + 16]
        q, k, v = (jnp.einsum("btd,dhe->bhte", x, w) + b[:, None, :] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
        scores = jax.nn.softmax(jnp.einsum("bhte,bhse->bhts", q / math.sqrt(size), k))
        attended = jnp.einsum("bhte,hed->btd", jnp.einsum("bhts,bhse->bhte", scores, v), wo) + bo
        x = normed(x + dropped(attended, 2 * block), s1, t1)
        x = normed(x + dropped(jax.nn.relu(x @ w1 + b1) @ w2 + b2, 2 * block + 1), s2, t2)
    w1, b1, w2, b2 = rest[-4:]
    return jax.nn.relu(x.mean(1) @ w1 + b1) @ w2 + b2


_NWC, _NHWC = ("NWC", "WIO", "NWC"), ("NHWC", "HWIO", "NHWC")
_LOSSES = {"binary_crossentropy": _binary, "sparse_categorical_crossentropy": _categories}
_APPLY = {
    "text": _text,
    "wide": _wide,
    "autoencoder": _autoencoder,
    "conv1d": _conv1d,
    "depthwise": _depthwise,
    "transformer": _transformer,
}
