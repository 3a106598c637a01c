"""How the convolutional net is trained: augmented images, one learning-rate cycle, calibrated confidence.

The tutorial's own steps are in `mnistkit.digits.train`. These are for reading what people really draw.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.core.keras_backend import load_keras
from mnistkit.digits.augment import augment
from mnistkit.digits.contract import CLASSES
from mnistkit.digits.reader.strokes import draw_digit
from mnistkit.training import fit
from mnistkit.training.order import epoch_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
    """Images and one-hot labels."""

EPOCHS: Final = 16
BATCH_SIZE: Final = 128
HELD_OUT: Final = 5000
"""The last training images are kept aside for the temperature."""

_PEAK_RATE: Final = 3e-3
_LOWER: Final = 0.3  # of that, for a net that has learned already
_WEIGHT_DECAY: Final = 0.02
_DRAWN: Final = 0.07  # share of the varied images that is drawn from strokes
_DRAWN_MORE: Final = {1: 0.35, 7: 0.2}  # where schools differ most
_PLAIN: Final = 0.2  # share of a batch that stays as MNIST has it, so that MNIST itself is not forgotten

HYPERPARAMETERS: Final = {
    "optimizer": "adamw",
    "peak_learning_rate": _PEAK_RATE,
    "schedule": "a tenth of the steps up, then down along a cosine",
    "weight_decay": _WEIGHT_DECAY,
    "augmented_share": 1 - _PLAIN,
    "drawn_share": {"1": _DRAWN_MORE[1], "7": _DRAWN_MORE[7], "others": _DRAWN},
    "held_out": HELD_OUT,
}
"""What the provenance of a training records beside the settings."""


def fit_augmented(
    model: Any,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    seed: int = 1337,
    initial_epoch: int = 0,
    held_out: int = HELD_OUT,
    has_learned: bool = False,
    callbacks: Sequence[Any] = (),
    verbose: int | str = 0,
) -> float:
    """Train on varied images, then calibrate: the model's last layer is divided by the temperature.

    Batch order and variations come from NumPy generators keyed by ``(seed, epoch, batch)``: the same on every
    backend, and a run that goes on at ``initial_epoch`` sees what it would have seen.

    Args:
        model: An uncompiled model from ``[n, 784]`` to probabilities whose last layer is a softmax ``Dense``; or, when
            going on, the compiled one.
        images: uint8 ``[n, 28, 28]``; the last ``held_out`` are used for the temperature only.
        labels: Digits ``[n]``.
        epochs: Where the learning-rate cycle ends.
        batch_size: Images a step.
        seed: Of order and variations.
        initial_epoch: The first epoch to run.
        held_out: Images at the end that are not trained on.
        has_learned: The model was trained before: the learning rate is lower.
        callbacks: Keras callbacks; they see every epoch once.
        verbose: As Keras' ``fit``.

    Returns:
        The temperature. It is in the weights already; files record it.

    Raises:
        InputError: Too few images to hold some out.
    """
    if not 0 < held_out < len(images):
        raise InputError(f"the cnn holds out {held_out} images and needs more than that, got {len(images)}")
    training, digits = images[:-held_out], labels[:-held_out]
    steps = len(training) // batch_size
    if not getattr(model, "compiled", False):
        _compile(model, steps=epochs * steps, peak=peak_rate(has_learned=has_learned))
    progress = _progress(epochs, verbose)
    with Prefetcher(lambda epoch: _batches(training, digits, batch_size=batch_size, seed=seed, epoch=epoch)) as varied:
        for epoch in range(initial_epoch, epochs):
            x, y = varied.take(epoch, then=epoch + 1 if epoch + 1 < epochs else None)
            fit(
                model,
                x,
                y,
                batch_size=batch_size,
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,
                verbose=0,
                callbacks=[*progress, *callbacks],
            )
    return calibrate(model, images[-held_out:], labels[-held_out:], seed=seed)


def peak_rate(*, has_learned: bool) -> float:
    """The highest learning rate of the cycle."""
    return _PEAK_RATE * _LOWER if has_learned else _PEAK_RATE


def _compile(model: Any, *, steps: int, peak: float) -> None:
    """AdamW through one learning-rate cycle: a tenth of the steps up, then down along a cosine."""
    keras = load_keras()
    rise = max(1, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        peak / 10, max(1, steps - rise), alpha=1e-3, warmup_target=peak, warmup_steps=rise
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=_WEIGHT_DECAY)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])


def _progress(epochs: int, verbose: int | str) -> list[Any]:
    """Keras' own display, which counts all epochs although each is a call of its own."""
    keras = load_keras()

    class Progress(keras.callbacks.ProgbarLogger):  # type: ignore[name-defined]  # known only once Keras is loaded
        def set_params(self, params: dict[str, Any]) -> None:
            super().set_params({**params, "epochs": epochs, "verbose": verbose})

    return [Progress()] if verbose else []


def _batches(
    images: NDArray[np.uint8], labels: NDArray[np.integer], *, batch_size: int, seed: int, epoch: int
) -> Iterator[Arrays]:
    """The varied images ``[batch_size, 784]`` and one-hot labels of each step of an epoch."""
    order = epoch_order(len(images), seed=seed, epoch=epoch)
    for index in range(len(images) // batch_size):
        chosen = order[index * batch_size : (index + 1) * batch_size]
        batch, digits = _scaled(images[chosen]), labels[chosen]
        plain = int(len(batch) * _PLAIN)
        generator = np.random.default_rng([seed, epoch, index])
        _draw_some(batch[plain:], digits[plain:], generator)
        batch[plain:] = augment(batch[plain:], digits[plain:], generator=generator)
        yield batch.reshape(len(batch), -1), np.asarray(np.eye(CLASSES)[digits], np.float32)


def _draw_some(images: NDArray[np.float32], digits: NDArray[np.integer], generator: np.random.Generator) -> None:
    """Replace some images by the same digits drawn in shapes that MNIST lacks; in place."""
    shares = np.full(CLASSES, _DRAWN)
    shares[list(_DRAWN_MORE)] = list(_DRAWN_MORE.values())
    for place in np.flatnonzero(generator.random(len(digits)) < shares[digits]):
        images[place] = draw_digit(int(digits[place]), generator)


class Prefetcher:
    """Makes the images of the next epoch in a thread while this one trains.

    Args:
        batches: From the number of an epoch to the arrays of its steps.
    """

    def __init__(self, batches: Callable[[int], Iterator[Arrays]]) -> None:
        self._batches = batches
        self._pool = ThreadPoolExecutor(1)
        self._made: dict[int, Future[Arrays]] = {}
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def take(self, epoch: int, *, then: int | None) -> Arrays:
        """The arrays of one epoch, in order; ``then`` is the epoch to begin with while this one is in use."""
        made = self._made.pop(epoch, None) or self._pool.submit(self._make, epoch)
        if then is not None:
            self._made[then] = self._pool.submit(self._make, then)
        return made.result()

    def _make(self, epoch: int) -> Arrays:
        batches = []
        for batch in self._batches(epoch):
            if self._stopped.is_set():
                raise CancelledError
            batches.append(batch)
        return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def _scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(images / np.float32(255), dtype=np.float32)


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
