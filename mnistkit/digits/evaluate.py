"""Test a trained model on a data set: ``python -m mnistkit.evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import ModelFileError
from mnistkit.digits.classifier import Classifier, softmax_where_needed
from mnistkit.digits.contract import CLASSES, SIDE
from mnistkit.digits.data import Dataset, load_data
from mnistkit.digits.scaling import measure

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

_SMALLEST = 1e-7  # as Keras clips probabilities before the logarithm of its cross-entropy
_STEP = 1000  # images at a time


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How a model does on the test images of a data set.

    Attributes:
        file: The model file, as it was named.
        runs_on: ``"onnxruntime"`` with its provider, or ``"Keras"`` with its backend.
        data: Name of the data set.
        images: Number of test images.
        loss: Mean categorical cross-entropy.
        accuracy: Share of images read right, in [0, 1].
        labels: Names of the ten classes.
        confusion: int64 ``[10, 10]``; row: the true class, column: what it was read as.
    """

    file: str
    runs_on: str
    data: str
    images: int
    loss: float
    accuracy: float
    labels: tuple[str, ...]
    confusion: NDArray[np.int64]

    @property
    def class_accuracy(self) -> tuple[float | None, ...]:
        """Share of each class' images that was read right; ``None`` for a class without images."""
        totals = self.confusion.sum(axis=1)
        return tuple(
            float(right / total) if total else None
            for right, total in zip(self.confusion.diagonal(), totals, strict=True)
        )

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, for ``--json``."""
        return {
            "file": self.file,
            "runs_on": self.runs_on,
            "data": self.data,
            "images": self.images,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "class_accuracy": dict(zip(self.labels, self.class_accuracy, strict=True)),
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        """The figures and the confusion matrix as text."""
        label = max(5, *(len(name) for name in self.labels))
        cell = max(6, len(str(self.confusion.max())) + 2)
        names = [name if len(name) < cell else f"{name[: cell - 3]}.." for name in self.labels]
        lines = [
            f"{self.file} on {self.runs_on}, {self.images} test images of {self.data}",
            f"loss {self.loss:.4f}, accuracy {self.accuracy:.4f}",
            "",
            f"{'class':<{label}}{'accuracy':>10}  read as" + "".join(f"{name:>{cell}}" for name in names),
        ]
        for name, share, row in zip(self.labels, self.class_accuracy, self.confusion, strict=True):
            told = "-" if share is None else f"{share:.4f}"
            lines.append(f"{name:<{label}}{told:>10}{'':>9}" + "".join(f"{count:>{cell}}" for count in row))
        return "\n".join(lines)


def evaluate(
    file: str | os.PathLike[str],
    *,
    data: Dataset | None = None,
    device: str = "auto",
    provider_options: Mapping[str, Any] | None = None,
    backend: str | None = None,
) -> Evaluation:
    """Test a ``.keras`` or an ``.onnx`` file on the test images of a data set.

    Args:
        file: The model. A name that ends in ``.keras`` is run by Keras, any other by onnxruntime.
        data: The images; the embedded MNIST by default.
        device: Where onnxruntime runs; see `mnistkit.Classifier`.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.
        backend: Where Keras runs; see `mnistkit.core.keras_backend`.

    Raises:
        ModelFileError: The file cannot be read, or is no classifier of 28x28 images into ten classes.
        DeviceError: The device cannot be had.
        BackendError: The Keras backend cannot be used.
    """
    if Path(file).suffix == ".keras":
        data, scores, runs_on = _with_keras(Path(file), data, backend=backend)
        labels = data.labels
    else:
        classifier = Classifier(file, device=device, provider_options=provider_options)
        data = data or load_data(labels=classifier.labels)
        scores, runs_on, labels = classifier.probabilities(data.x_test), classifier.providers[0], classifier.labels
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(confusion, (data.y_test, scores.argmax(axis=1)), 1)
    accuracy = float(confusion.trace() / len(scores))
    loss = cross_entropy(scores, data.y_test)
    return Evaluation(str(file), runs_on, data.name, len(scores), loss, accuracy, labels, confusion)


def cross_entropy(probabilities: NDArray[Any], true: NDArray[np.integer]) -> float:
    """Mean categorical cross-entropy, clipped as Keras clips it.

    Args:
        probabilities: ``[n, classes]``.
        true: Class numbers ``[n]``.
    """
    right = probabilities[np.arange(len(probabilities)), true].astype(np.float64)
    return float(-np.log(np.clip(right, _SMALLEST, 1 - _SMALLEST)).mean())


def _with_keras(path: Path, data: Dataset | None, *, backend: str | None) -> tuple[Dataset, NDArray[np.float32], str]:
    from mnistkit.core import keras_backend as backends
    from mnistkit.core.keras_files import load_model

    keras = backends.load_keras(backend)
    model = load_model(path)
    shape = getattr(model, "input_shape", None)
    fits = isinstance(shape, tuple) and np.prod([size or 0 for size in shape[1:]]) == SIDE * SIDE
    if not fits or getattr(model, "output_shape", (None,))[-1] != CLASSES:
        raise ModelFileError(f"{path}: not a classifier of 28x28 images into {CLASSES} classes")
    data = data or load_data()
    sizes = (shape or ())[1:]

    def read(images: NDArray[np.float32]) -> NDArray[np.float32]:
        x = images.reshape(-1, *sizes)
        parts = range(0, len(x), _STEP)
        return np.concatenate(
            [keras.ops.convert_to_numpy(model(x[start : start + _STEP], training=False)) for start in parts]
        )

    scaling, _ = measure(read, data.x_test, data.y_test)  # a model may have its own scaling as its first layer
    scores = read(scaling.of_unit(data.x_test.astype(np.float32) / np.float32(255)))
    return data, softmax_where_needed(scores, str(path)), f"Keras ({keras.backend.backend()})"
