"""The recipe of `accuracy_recipe` without Keras, as somebody would write it in PyTorch or in JAX who wants speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from accuracy_recipe import (
    BETAS,
    BN_EPSILON,
    EPSILON,
    LAYERS,
    MOMENTUM,
    PEAK,
    TEST_BATCH,
    initial,
    orders,
    rate_at,
)

if TYPE_CHECKING:
    from accuracy_recipe import Pair
    from numpy.typing import NDArray


def torch_by_hand(train: Pair, test: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
    """Train in PyTorch alone: channels last, fused updates of all weights; return the logits of the test images."""
    import torch
    from torch.nn import functional

    # kernels as PyTorch has them: channels out, channels in, height, width
    weights = [
        torch.tensor(w.transpose(3, 2, 0, 1).copy()).contiguous(memory_format=torch.channels_last)
        if w.ndim == 4
        else torch.tensor(w)
        for w in initial(seed)
    ]
    weights = [w.requires_grad_() for w in weights]
    averages = [torch.full((layer[1],), value) for layer in LAYERS for value in (0.0, 1.0)]

    def logits_of(x: Any, *, training: bool) -> Any:
        for i, (*_, stride) in enumerate(LAYERS):
            kernel, scale, shift = weights[3 * i : 3 * i + 3]
            x = functional.conv2d(x, kernel, stride=stride)
            mean, variance = averages[2 * i : 2 * i + 2]
            x = functional.batch_norm(x, mean, variance, scale, shift, training, 1 - MOMENTUM, BN_EPSILON)
            x = torch.relu_(x)
        return torch.addmm(weights[-1], x.permute(0, 2, 3, 1).reshape(len(x), -1), weights[-2])

    # one channel: [n, 28, 28, 1] and [n, 1, 28, 28] are the same memory
    x, labels = torch.as_tensor(train[0]).reshape(-1, 28, 28), torch.as_tensor(train[1]).long()
    optimizer = torch.optim.Adam(weights, PEAK, betas=BETAS, eps=EPSILON, foreach=True)
    steps = orders(len(x), seed)
    for number, rows in enumerate(torch.as_tensor(np.stack(steps))):
        optimizer.param_groups[0]["lr"] = rate_at(number, len(steps))
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(logits_of(x[rows][:, None], training=True), labels[rows]).backward()
        optimizer.step()
    with torch.inference_mode():
        parts = torch.as_tensor(test).reshape(-1, 1, 28, 28).split(TEST_BATCH)
        return torch.cat([logits_of(part, training=False) for part in parts]).numpy()


def jax_by_hand(train: Pair, test: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
    """Train in JAX alone, one program per step; return the logits of the test images."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    def logits_of(weights: Any, averages: Any, x: Any, *, training: bool) -> Any:
        moved = []
        for i, (*_, stride) in enumerate(LAYERS):
            kernel, scale, shift = weights[3 * i : 3 * i + 3]
            x = lax.conv_general_dilated(
                x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            mean, variance = averages[2 * i : 2 * i + 2]
            if training:
                now = x.mean((0, 1, 2)), x.var((0, 1, 2))
                moved += [MOMENTUM * old + (1 - MOMENTUM) * new for old, new in zip((mean, variance), now, strict=True)]
                mean, variance = now
            x = jax.nn.relu((x - mean) * (scale * lax.rsqrt(variance + BN_EPSILON)) + shift)
        return x.reshape(len(x), -1) @ weights[-2] + weights[-1], moved

    def loss_of(weights: Any, averages: Any, x: Any, labels: Any) -> Any:
        logits, moved = logits_of(weights, averages, x, training=True)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean(), moved

    def step(state: Any, x: Any, labels: Any, rows: Any, rate: Any) -> Any:
        weights, first, second, averages, number = state
        grads, averages = jax.grad(loss_of, has_aux=True)(weights, averages, x[rows], labels[rows])
        number += 1
        first = [BETAS[0] * m + (1 - BETAS[0]) * g for m, g in zip(first, grads, strict=True)]
        second = [BETAS[1] * v + (1 - BETAS[1]) * g * g for v, g in zip(second, grads, strict=True)]
        scales = 1 - BETAS[0] ** number, 1 - BETAS[1] ** number
        weights = [
            w - rate * (m / scales[0]) / (jnp.sqrt(v / scales[1]) + EPSILON)
            for w, m, v in zip(weights, first, second, strict=True)
        ]
        return weights, first, second, averages, number

    # a step is the program: in a loop of XLA's, the CPU's convolutions are ten times slower
    compiled = jax.jit(step, donate_argnums=0)
    weights = [jnp.array(w) for w in initial(seed)]
    averages = [jnp.full(layer[1], value) for layer in LAYERS for value in (0.0, 1.0)]
    state: Any = (weights, *([jnp.zeros_like(w) for w in weights] for _ in range(2)), averages, jnp.zeros(()))
    x, labels = (jax.device_put(part) for part in train)
    steps = orders(len(x), seed)
    for number, rows in enumerate(steps):
        state = compiled(state, x, labels, rows.astype(np.int32), np.float32(rate_at(number, len(steps))))
    weights, _, _, averages, _ = state
    answer = jax.jit(lambda x: logits_of(weights, averages, x, training=False)[0])
    parts = [test[i : i + TEST_BATCH] for i in range(0, len(test), TEST_BATCH)]
    return np.concatenate([answer(part) for part in parts])
