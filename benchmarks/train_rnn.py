"""An LSTM that reads the rows of a picture one after the other, and its training, written by hand in each framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import train_loops
from train_loops import SEED

UNITS, ROWS, COLUMNS = 64, 28, 28


def keras_model() -> Any:
    import keras

    keras.utils.set_random_seed(SEED)
    picture = keras.Input((ROWS * COLUMNS,))
    rows = keras.layers.Reshape((ROWS, COLUMNS))(picture)
    return keras.Model(picture, keras.layers.Dense(10, "softmax")(keras.layers.LSTM(UNITS)(rows)))


def initial() -> list[np.ndarray]:
    """Return the kernels of input and state and the bias, gates as in Keras, then the dense layer."""
    generator = np.random.default_rng(SEED)

    def kernel(rows: int, columns: int) -> np.ndarray:
        limit = np.sqrt(6 / (rows + columns))
        return generator.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    gates = [kernel(COLUMNS, 4 * UNITS), kernel(UNITS, 4 * UNITS), np.zeros(4 * UNITS, np.float32)]
    return [*gates, kernel(UNITS, 10), np.zeros(10, np.float32)]


def jax_epoch(x: np.ndarray, labels: np.ndarray) -> Any:
    import jax
    import jax.numpy as jnp
    from jax import lax

    def loss_of(weights: Any, x: Any, labels: Any) -> Any:
        kernel, recurrent, bias, dense, dense_bias = weights

        def step(state: Any, now: Any) -> Any:
            h, c = state
            # not unrolled, and no product over all times before: both are slower under XLA on a CPU
            i, f, g, o = jnp.split(now @ kernel + h @ recurrent + bias, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        zeros = jnp.zeros((len(x), UNITS))
        (h, _), _ = lax.scan(step, (zeros, zeros), x.reshape(-1, ROWS, COLUMNS).swapaxes(0, 1))
        logits = h @ dense + dense_bias
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()
        return loss, (logits.argmax(1) == labels).mean()

    return train_loops.jax_epoch(loss_of, initial(), x, labels)


def tensorflow_epoch(x: np.ndarray, labels: np.ndarray) -> Any:
    import tensorflow as tf

    weights = [tf.Variable(w) for w in initial()]

    def logits_of(x: Any) -> Any:
        kernel, recurrent, bias, dense, dense_bias = weights
        projected = tf.transpose(tf.reshape(x, (-1, ROWS, COLUMNS)), (1, 0, 2)) @ kernel + bias

        def step(state: Any, now: Any) -> Any:
            h, c = state
            i, f, g, o = tf.split(now + h @ recurrent, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            return tf.sigmoid(o) * tf.tanh(c), c

        zeros = tf.zeros((train_loops.BATCH, UNITS))
        return tf.scan(step, projected, (zeros, zeros))[0][-1] @ dense + dense_bias

    return train_loops.tensorflow_epoch(logits_of, weights, x, labels, xla=True)


def torch_epoch(x: np.ndarray, labels: np.ndarray) -> Any:
    import torch

    torch.set_num_threads(1)
    kernel, recurrent, bias, dense, dense_bias = initial()
    of_lstm = [kernel.T.copy(), recurrent.T.copy(), bias, np.zeros_like(bias)]
    lstm = torch.nn.LSTM(COLUMNS, UNITS, batch_first=True)
    with torch.no_grad():
        for parameter, value in zip(lstm.parameters(), of_lstm, strict=True):
            parameter.copy_(torch.as_tensor(value))
    lstm.bias_hh_l0.requires_grad_(False)
    weights = [torch.tensor(w, requires_grad=True) for w in (dense, dense_bias)]

    def logits_of(x: Any) -> Any:
        outputs, _ = lstm(x.reshape(-1, ROWS, COLUMNS))
        return torch.addmm(weights[1], outputs[:, -1], weights[0])

    trained = [*(p for p in lstm.parameters() if p.requires_grad), *weights]
    return train_loops.torch_epoch(logits_of, trained, x, labels)
