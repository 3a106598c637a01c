"""The models of train_models.py and their training, written by hand in PyTorch.

Each function takes the weights in the order of Keras' ``trainable_weights``, in PyTorch's layout, and a batch; it gives
the logits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import train_models
from torch.nn import functional
from train_hand_settings import BETA_1, BETA_2, EPSILON, RATE


def epoch(name: str, weights: list[np.ndarray], x: Any, y: np.ndarray, *, dropout: float) -> Any:
    """Return an epoch: called with the order of the samples, it reports loss and accuracy."""
    apply, loss_of = _APPLY[name], _LOSSES[train_models.ROWS[name].loss]
    parts = _LAYOUTS.get(name, lambda parts: parts)(weights)
    parameters = [torch.tensor(np.ascontiguousarray(part), requires_grad=True) for part in parts]
    optimizer = torch.optim.Adam(parameters, RATE, (BETA_1, BETA_2), EPSILON, fused=True)
    leaves = [torch.as_tensor(leaf) for leaf in (x if isinstance(x, list) else [x])]
    if name == "depthwise":
        leaves = [leaves[0].permute(0, 3, 1, 2)]
    targets = torch.as_tensor(y if y.dtype == np.float32 else y.astype(np.int64))

    count = 0

    def run(order: np.ndarray) -> tuple[float, float]:
        nonlocal count
        rows = torch.as_tensor(order.reshape(-1))
        total, right = torch.zeros(()), torch.zeros(())
        batches = zip(*(leaf[rows].split(order.shape[1]) for leaf in (*leaves, targets)), strict=True)
        for *batch, wanted in batches:
            loss, hits = loss_of(apply(parameters, batch if len(batch) > 1 else batch[0], dropout), wanted)
            optimizer.zero_grad()
            loss.backward()
            count += 1  # Keras adds epsilon before it corrects the bias
            optimizer.param_groups[0]["eps"] = EPSILON / math.sqrt(1 - BETA_2**count)
            optimizer.step()
            total += loss.detach()
            right += hits.float().mean()
        return float(total) / len(order), float(right) / len(order)

    run.weights = lambda: parameters  # type: ignore[attr-defined]
    return run


def _binary(logits: Any, y: Any) -> Any:
    return functional.binary_cross_entropy_with_logits(logits, y), (logits > 0) == (y > 0)


def _categories(logits: Any, y: Any) -> Any:
    return functional.cross_entropy(logits, y), logits.argmax(1) == y


def _text(weights: Any, x: Any, rate: float) -> Any:
    del rate
    words, w1, b1, w2, b2 = weights
    pooled = functional.embedding_bag(x, words, mode="mean")
    return torch.addmm(b2, torch.relu(torch.addmm(b1, pooled, w1)), w2)


def _wide(weights: Any, x: Any, rate: float) -> Any:
    del rate
    *tables, w1, b1, w2, b2, w3, b3 = weights
    *columns, numbers = x
    found = [functional.embedding(column, table) for table, column in zip(tables, columns, strict=True)]
    deep = torch.relu(torch.addmm(b1, torch.cat([*found, numbers], 1), w1))
    deep = torch.relu(torch.addmm(b2, deep, w2))
    return torch.addmm(b3, torch.cat([deep, numbers], 1), w3)


def _autoencoder(weights: Any, x: Any, rate: float) -> Any:
    del rate
    for i in range(0, 8, 2):
        x = torch.addmm(weights[i + 1], torch.relu(x) if i else x, weights[i])
    return x


def _conv1d(weights: Any, x: Any, rate: float) -> Any:
    del rate
    k1, b1, k2, b2, dense, bias = weights
    x = torch.relu(functional.conv1d(x.transpose(1, 2), k1, b1))
    x = torch.relu(functional.conv1d(functional.max_pool1d(x, 2), k2, b2))
    return torch.addmm(bias, x.amax(2), dense)


def _depthwise(weights: Any, x: Any, rate: float) -> Any:
    del rate
    # "same" with a stride pads more at the end
    x = torch.relu(functional.conv2d(functional.pad(x, (0, 1, 0, 1)), weights[0], weights[1], 2))
    for i, stride in ((2, 1), (6, 2)):
        deep, deep_bias, point, point_bias = weights[i : i + 4]
        padded = functional.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
        x = torch.relu(functional.conv2d(padded, deep, deep_bias, stride, groups=len(deep)))
        x = torch.relu(functional.conv2d(x, point, point_bias))
    return torch.addmm(weights[11], x.mean((2, 3)), weights[10])


def _transformer(weights: Any, x: Any, rate: float) -> Any:
    words, positions, *rest = weights
    x = functional.embedding(x, words) + positions
    heads, size = train_models.HEADS, train_models.WIDTH // train_models.HEADS
    for block in range(2):
        w_in, b_in, wo, bo, s1, t1, w1, b1, w2, b2, s2, t2 = rest[12 * block : 12 * block + 12]
        together = functional.linear(x, w_in, b_in).view(len(x), -1, 3, heads, size)
        q, k, v = together.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + functional.dropout(functional.linear(attended, wo, bo), rate)
        x = functional.layer_norm(x, x.shape[-1:], s1, t1, train_models.NORM_EPSILON)
        hidden = functional.linear(torch.relu(functional.linear(x, w1, b1)), w2, b2)
        x = functional.layer_norm(x + functional.dropout(hidden, rate), x.shape[-1:], s2, t2, train_models.NORM_EPSILON)
    w1, b1, w2, b2 = rest[-4:]
    return torch.addmm(b2, torch.relu(torch.addmm(b1, x.mean(1), w1)), w2)


def _convolution_layout(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Channels out, channels in, then the places."""
    return [w.transpose(2, 1, 0) if w.ndim == 3 else w for w in weights]


def _depthwise_layout(weights: list[np.ndarray]) -> list[np.ndarray]:
    def kernel(w: np.ndarray, i: int) -> np.ndarray:
        if w.ndim != 4:
            return w
        return w.transpose(2, 3, 0, 1) if i in (2, 6) else w.transpose(3, 2, 0, 1)

    return [kernel(w, i) for i, w in enumerate(weights)]


def _transformer_layout(weights: list[np.ndarray]) -> list[np.ndarray]:
    """One projection for queries, keys and values; kernels as ``linear`` takes them."""
    words, positions, *rest = weights
    made = [words, positions]
    for block in range(2):
        wq, bq, wk, bk, wv, bv, wo, bo, s1, t1, w1, b1, w2, b2, s2, t2 = rest[16 * block : 16 * block + 16]
        w_in = np.concatenate([w.reshape(len(w), -1).T for w in (wq, wk, wv)])
        b_in = np.concatenate([b.reshape(-1) for b in (bq, bk, bv)])
        made += [w_in, b_in, wo.reshape(-1, wo.shape[-1]).T, bo, s1, t1, w1.T, b1, w2.T, b2, s2, t2]
    return [*made, *rest[-4:]]


_LAYOUTS = {"conv1d": _convolution_layout, "depthwise": _depthwise_layout, "transformer": _transformer_layout}
_LOSSES = {"binary_crossentropy": _binary, "sparse_categorical_crossentropy": _categories}
_APPLY = {
    "text": _text,
    "wide": _wide,
    "autoencoder": _autoencoder,
    "conv1d": _conv1d,
    "depthwise": _depthwise,
    "transformer": _transformer,
}
