"""The contenders of benchmarks/train.py: each trains the model and returns the seconds of each epoch and a loss."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import train_cnn
import train_loops
import train_rnn
from train_loops import BATCH, EPSILON, RATE, RHO, SEED

Epoch = tuple[float, float]  # seconds on the clock, and seconds of processor time of all threads


def keras_model(name: str, **compile_options: Any) -> Any:
    import keras

    from mnistkit.digits.model import build_model

    model = train_rnn.keras_model() if name == "lstm" else build_model(name, seed=SEED)
    optimizer = keras.optimizers.RMSprop(RATE, rho=RHO, epsilon=EPSILON)
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"], **compile_options)
    return model


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(10, dtype=np.float32)[labels]


def timed_fit(train: Any, *, epochs: int) -> tuple[list[Epoch], float]:
    import keras

    ends = [now()]
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: ends.append(now()))
    history = train(epochs=epochs, callbacks=[watch], batch_size=BATCH, verbose=0).history
    return between(ends), history["loss"][-1]


def now() -> Epoch:
    return time.perf_counter(), time.process_time()


def between(ends: list[Epoch]) -> list[Epoch]:
    return [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(ends)]


def plain_fit(x: np.ndarray, labels: np.ndarray, *, model: str, epochs: int) -> tuple[list[Epoch], float]:
    fit = keras_model(model).fit
    return timed_fit(lambda **options: fit(x, one_hot(labels), **options), epochs=epochs)


def best_fit(x: np.ndarray, labels: np.ndarray, *, model: str, epochs: int) -> tuple[list[Epoch], float]:
    """Keras' own settings for few Python calls; found by trying, per backend."""
    import keras

    steps = 25 if keras.backend.backend() == "jax" else len(x) // BATCH
    fit = keras_model(model, steps_per_execution=steps, jit_compile=True).fit
    return timed_fit(lambda **options: fit(x, one_hot(labels), **options), epochs=epochs)


def ours(x: np.ndarray, labels: np.ndarray, *, model: str, epochs: int) -> tuple[list[Epoch], float]:
    from mnistkit.training import fit

    made = keras_model(model)
    return timed_fit(lambda **options: fit(made, x, one_hot(labels), seed=SEED, **options), epochs=epochs)


def hand_written(x: np.ndarray, labels: np.ndarray, *, model: str, epochs: int) -> tuple[list[Epoch], float]:
    import keras

    ways = {
        "mlp": {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch},
        "cnn": {
            "jax": train_cnn.jax_epoch,
            "tensorflow": train_cnn.tensorflow_epoch,
            "torch": train_cnn.torch_epoch,
        },
        "lstm": {
            "jax": train_rnn.jax_epoch,
            "tensorflow": train_rnn.tensorflow_epoch,
            "torch": train_rnn.torch_epoch,
        },
    }
    epoch = ways[model][keras.backend.backend()](x, labels)
    return timed(epoch, len(x), epochs=epochs)


def timed(epoch: Any, n: int, *, epochs: int) -> tuple[list[Epoch], float]:
    """Time a loop written by hand. An epoch reports loss and accuracy, which Keras reports too."""
    generator = np.random.default_rng(SEED)
    ends, loss = [now()], 0.0
    for _ in range(epochs):
        loss, _accuracy = epoch(generator.permutation(n)[: n // BATCH * BATCH].reshape(-1, BATCH))
        ends.append(now())
    return between(ends), loss


def initial() -> list[np.ndarray]:
    generator = np.random.default_rng(SEED)

    def kernel(rows: int, columns: int) -> np.ndarray:
        limit = np.sqrt(6 / (rows + columns))
        return generator.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    return [kernel(784, 32), np.zeros(32, np.float32), kernel(32, 10), np.zeros(10, np.float32)]


def _jax(x: np.ndarray, labels: np.ndarray) -> Any:
    import jax
    import jax.numpy as jnp

    def loss_of(weights: Any, x: Any, labels: Any) -> Any:
        w1, b1, w2, b2 = weights
        logits = jax.nn.relu(x @ w1 + b1) @ w2 + b2
        hits = (logits.argmax(1) == labels).mean()
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean(), hits

    return train_loops.jax_epoch(loss_of, initial(), x, labels)


def _tensorflow(x: np.ndarray, labels: np.ndarray) -> Any:
    import tensorflow as tf

    weights = [tf.Variable(w) for w in initial()]

    def logits_of(x: Any) -> Any:
        return tf.nn.relu(x @ weights[0] + weights[1]) @ weights[2] + weights[3]

    return train_loops.tensorflow_epoch(logits_of, weights, x, labels, xla=True)


def _torch(x: np.ndarray, labels: np.ndarray) -> Any:
    import torch

    torch.set_num_threads(1)  # faster than two for products this small
    weights = [torch.tensor(w, requires_grad=True) for w in initial()]

    def logits_of(x: Any) -> Any:
        return torch.addmm(weights[3], torch.relu(torch.addmm(weights[1], x, weights[0])), weights[2])

    return train_loops.torch_epoch(logits_of, weights, x, labels)


def numpy_by_hand(x: np.ndarray, labels: np.ndarray, *, model: str, epochs: int) -> tuple[list[Epoch], float]:
    del model
    weights = initial()
    squares = [np.zeros_like(w) for w in weights]
    targets = one_hot(labels)

    def epoch(order: np.ndarray) -> tuple[float, float]:
        total, right = 0.0, 0
        for rows in order:
            w1, b1, w2, b2 = weights
            images, wanted = x[rows], targets[rows]
            hidden = np.maximum(images @ w1 + b1, 0)
            logits = hidden @ w2 + b2
            logits -= logits.max(1, keepdims=True)
            exp = np.exp(logits)
            probabilities = exp / exp.sum(1, keepdims=True)
            total -= float(np.log((probabilities * wanted).sum(1)).mean())
            right += int((logits.argmax(1) == labels[rows]).sum())
            d_logits = (probabilities - wanted) / len(rows)
            d_hidden = (d_logits @ w2.T) * (hidden > 0)
            grads = [images.T @ d_hidden, d_hidden.sum(0), hidden.T @ d_logits, d_logits.sum(0)]
            for w, s, g in zip(weights, squares, grads, strict=True):
                np.multiply(s, RHO, out=s)
                np.add(s, (1 - RHO) * g * g, out=s)
                np.subtract(w, RATE * g / np.sqrt(s + EPSILON), out=w)
        return total / len(order), right / order.size

    return timed(epoch, len(x), epochs=epochs)


def scikit_learn(x: np.ndarray, labels: np.ndarray, *, model: str, epochs: int) -> tuple[list[Epoch], float]:
    """It has no RMSprop; Adam costs about the same."""
    from sklearn.neural_network import MLPClassifier

    del model
    network = MLPClassifier(
        (32,), solver="adam", alpha=0.0, batch_size=BATCH, max_iter=1, warm_start=True, random_state=SEED
    )
    return timed(lambda _order: (network.fit(x, labels).loss_, None), len(x), epochs=epochs)


WAYS = {
    "plain fit": plain_fit,
    "best fit": best_fit,
    "mnistkit.fit": ours,
    "hand-written": hand_written,
    "NumPy by hand": numpy_by_hand,
    "scikit-learn": scikit_learn,
}
