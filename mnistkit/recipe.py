"""How the convolutional net is trained: augmented images, one learning-rate cycle, calibrated confidence.

The tutorial's recipe stays in `mnistkit.train`; this one is for reading what people really draw.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mnistkit.augment import augment
from mnistkit.backend import convolution_jit, load_keras
from mnistkit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EPOCHS: Final = 16
BATCH_SIZE: Final = 128
HELD_OUT: Final = 5000
"""The last training images are kept aside for the temperature."""

_PEAK_RATE: Final = 3e-3
_PLAIN: Final = 0.2  # share of a batch that stays as MNIST has it, so that MNIST itself is not forgotten


def fit_augmented(
    model: Any,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    seed: int = 1337,
    initial_epoch: int = 0,
    callbacks: Sequence[Any] = (),
    verbose: int | str = 0,
) -> float:
    """Train on varied images, then calibrate: the model's last layer is divided by the temperature.

    Batch order and variations come from NumPy generators keyed by ``(seed, epoch, batch)``: the same on every
    backend, and a run that goes on at ``initial_epoch`` sees what it would have seen.

    Args:
        model: An uncompiled model from ``[n, 784]`` to probabilities whose last layer is a softmax ``Dense``; or, when
            going on, the compiled one.
        images: uint8 ``[n, 28, 28]``; the last `HELD_OUT` are used for the temperature only.
        labels: Digits ``[n]``.
        epochs: Where the learning-rate cycle ends.
        batch_size: Images a step.
        seed: Of order and variations.
        initial_epoch: The first epoch to run.
        callbacks: Keras callbacks; they see every epoch once.
        verbose: As Keras' ``fit``.

    Returns:
        The temperature. It is in the weights already; files record it.

    Raises:
        InputError: Too few images to hold some out.
    """
    if len(images) <= HELD_OUT:
        raise InputError(f"the cnn holds out {HELD_OUT} images and needs more than that, got {len(images)}")
    keras = load_keras()
    if not getattr(model, "compiled", False):
        optimizer = keras.optimizers.AdamW(_PEAK_RATE, weight_decay=0.02)
        loss = "categorical_crossentropy"
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], jit_compile=convolution_jit())
    dataset, cycle = _dataset(images[:-HELD_OUT], labels[:-HELD_OUT], epochs=epochs, batch_size=batch_size, seed=seed)
    model.fit(
        dataset,
        initial_epoch=initial_epoch,
        epochs=epochs,
        shuffle=False,
        verbose=verbose,
        callbacks=[cycle, *callbacks],
    )
    return calibrate(model, images[-HELD_OUT:], labels[-HELD_OUT:], seed=seed)


def _dataset(
    images: NDArray[np.uint8], labels: NDArray[np.integer], *, epochs: int, batch_size: int, seed: int
) -> tuple[Any, Any]:
    """The varied images, and the callback that keeps their epoch and the learning rate."""
    keras = load_keras()

    class Varied(keras.utils.PyDataset):  # type: ignore[name-defined]  # known only once Keras is loaded
        """Whole batches; no workers, so the order of events is the order of the code."""

        def __init__(self) -> None:
            super().__init__(workers=0, use_multiprocessing=False)
            self.start(0)

        def start(self, epoch: int) -> None:
            self._epoch = epoch
            self._order = np.random.default_rng([seed, epoch]).permutation(len(images))

        def __len__(self) -> int:
            return len(images) // batch_size

        def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            chosen = self._order[index * batch_size : (index + 1) * batch_size]
            generator = np.random.default_rng([seed, self._epoch, index])
            batch, digits = _scaled(images[chosen]), labels[chosen]
            plain = int(len(batch) * _PLAIN)
            batch[plain:] = augment(batch[plain:], digits[plain:], generator=generator)
            return batch.reshape(len(batch), -1), np.asarray(np.eye(10)[digits], np.float32)

    class Cycle(keras.callbacks.Callback):  # type: ignore[name-defined]  # as above
        """The rate is set here and not where batches are made: batches are made ahead, by a thread on some backends."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            del logs
            self._done = epoch * len(dataset)
            dataset.start(epoch)

        def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            del logs
            self.model.optimizer.learning_rate = _rate((self._done + batch) / (epochs * len(dataset)))

    dataset = Varied()
    return dataset, Cycle()


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(images / np.float32(255), dtype=np.float32)


def _rate(done: float) -> float:
    """One cycle: a tenth of the way up, then down along a cosine."""
    rise = 0.1
    if done < rise:
        return _PEAK_RATE * (0.1 + 0.9 * done / rise)
    return _PEAK_RATE * max(0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise))), 1e-3)


def calibrate(model: Any, images: NDArray[np.uint8], labels: NDArray[np.integer], *, seed: int = 1337) -> float:
    """Divide the last layer by the temperature that makes its confidence honest on held-out, varied images.

    Source: Guo et al. 2017, temperature scaling: one number, fitted to the held-out log-likelihood. Written into the
    weights, it reaches every file and every runtime.
    """
    varied = augment(_scaled(images), labels, generator=np.random.default_rng([seed, 2**31]))
    probabilities = np.asarray(model.predict(varied.reshape(len(varied), -1), batch_size=500, verbose=0), np.float64)
    logits = np.log(probabilities.clip(1e-30))

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        top = scaled.max(1, keepdims=True)
        normal = scaled - top - np.log(np.exp(scaled - top).sum(1, keepdims=True))
        return float(-normal[np.arange(len(labels)), labels].mean())

    candidates = np.exp(np.linspace(math.log(0.5), math.log(3), 181))
    temperature = float(min(candidates, key=loss))
    last = model.layers[-1]
    last.set_weights([weight / np.float32(temperature) for weight in last.get_weights()])
    return temperature
