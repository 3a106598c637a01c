"""The export profile `digits`: names, labels, preprocessing and test images of a digit classifier."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.digits.contract import CLASSES, INPUT_NAME, NAME, OUTPUT_NAME, SIDE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mnistkit.core.runtime import TensorInfo
    from mnistkit.digits.data import Dataset
    from mnistkit.export.profile import Names, ProfileSample
    from mnistkit.export.signature import Signature

HINT = "this looks like a digit classifier; --profile digits adds labels, preprocessing and the accuracy on MNIST"
"""For a model that `fits` and that nothing says to be one."""

PREPROCESSING = "grey levels divided by 255: 0 is background, 1 is full ink; 28x28 pixels, row by row"
PREPROCESSING_PARAMETERS: dict[str, Any] = {"scale": 1 / 255, "offset": 0.0, "side": SIDE, "ink": "bright"}

_BATCH_SIZES = (1, 2, 3, 64)
_NOISE_ROWS = max(_BATCH_SIZES)


@dataclass(frozen=True)
class DigitClassifier:
    """Export profile of a classifier of 28x28 images into ten classes (`mnistkit.export.profile.Profile`).

    Args:
        data: Test images for the verification and the accuracy; the embedded MNIST by default.
        labels: The ten class names; those of the data by default.
        temperature: By what the training divided the logits to calibrate them; it is in the weights already.

    Raises:
        InputError: There are not ten different labels.
    """

    data: Dataset | None = None
    labels: Sequence[str] | None = None
    temperature: float | None = None

    name = NAME

    def __post_init__(self) -> None:
        if self.labels is not None and not len(self.labels) == len(set(self.labels)) == CLASSES:
            raise InputError(f"labels: expected {CLASSES} different names, got {', '.join(self.labels)}")

    def check(self, signature: Signature) -> None:
        """Accept one float input of 784 numbers, in any shape, and one output of ten scores.

        Raises:
            InputError: The model has others.
        """
        if not fits(signature.inputs, signature.outputs):
            raise InputError(
                f"profile {NAME}: expected one float input of {SIDE}x{SIDE} numbers and one output of {CLASSES} "
                f"scores, the model has {'; '.join(map(str, (*signature.inputs, *signature.outputs)))}"
            )

    def samples(self, signature: Signature) -> Sequence[ProfileSample]:
        """All test images, noise in [0, 1], and the values where rounding and overflow begin."""
        from mnistkit.export.profile import ProfileSample

        tensor = signature.inputs[0]
        shape = [size for size in tensor.shape[1:] if isinstance(size, int)]
        images = (self._dataset.x_test.astype(np.float32) / 255).reshape(-1, *shape)
        noise = np.random.default_rng(0).random((_NOISE_ROWS, *shape))
        parts: dict[str, NDArray[Any]] = {"test images": images, "noise": noise, "edges": _edges(shape)}
        return [
            ProfileSample(name, {tensor.name: part.astype(tensor.dtype)}, tuple(sorted({*_BATCH_SIZES, len(part)})))
            for name, part in parts.items()
        ]

    def names(self, signature: Signature, outputs: Sequence[NDArray[Any]]) -> Names:  # noqa: ARG002  # of the protocol
        """The contract's names for probabilities; logits keep the names that the model has."""
        scores = outputs[0].astype(np.float64)
        sums_to_one = (np.abs(scores.sum(axis=1) - 1) < 1e-2).all()  # noqa: PLR2004  # float16 sums
        return ([INPUT_NAME], [OUTPUT_NAME]) if (scores >= 0).all() and sums_to_one else (None, None)

    def metadata(self, signature: Signature) -> Mapping[str, str]:  # noqa: ARG002  # of the protocol
        """Labels, preprocessing and temperature."""
        entries = {
            "labels": json.dumps(list(self._dataset.labels), ensure_ascii=False),
            "preprocessing": PREPROCESSING,
            "preprocessing_parameters": json.dumps(PREPROCESSING_PARAMETERS, sort_keys=True),
        }
        if self.temperature is not None:
            entries["temperature"] = f"{self.temperature:.4f}"
        return entries

    def accuracy(self, outputs: Sequence[NDArray[Any]]) -> float:
        """Share of test images that are read rightly."""
        scores = outputs[0]
        return float(np.mean(scores.argmax(axis=1) == self._dataset.y_test[: len(scores)]))

    @cached_property
    def _dataset(self) -> Dataset:
        from dataclasses import replace

        from mnistkit.digits.data import load_data

        if self.data is None:
            return load_data(labels=self.labels)
        return self.data if self.labels is None else replace(self.data, labels=tuple(self.labels))


def digit_classifier(
    *, training: Mapping[str, Any], data: Dataset | None = None, labels: Sequence[str] | None = None
) -> DigitClassifier:
    """Make the profile from what is known (`mnistkit.export.profile.ProfileFactory`).

    Args:
        training: The provenance written by `mnistkit.digits.train`, or empty.
        data: Test images; the embedded MNIST by default.
        labels: The ten class names; by default those of ``data``, else those of the training.
    """
    if labels is None and data is None:
        labels = training.get("data", {}).get("labels")
    return DigitClassifier(data, labels, training.get("temperature"))


def fits(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> bool:
    """Whether inputs and outputs have the shapes of a digit classifier; this alone does not make a model one."""
    if len(inputs) != 1 or len(outputs) != 1 or not inputs[0].dtype.startswith("float"):
        return False
    sizes = [size for size in inputs[0].shape[1:] if isinstance(size, int)]
    is_image = len(sizes) == len(inputs[0].shape) - 1 and math.prod(sizes) == SIDE * SIDE
    return is_image and tuple(outputs[0].shape[1:]) == (CLASSES,)


def _edges(shape: Sequence[int]) -> NDArray[np.float32]:
    """Zeros, ones, the smallest normal number and 1/255, with whole rows of the first three."""
    tiny = float(np.finfo(np.float32).tiny)
    values = np.random.default_rng(0).choice([0.0, 1.0, tiny, 1 / 255], size=(_NOISE_ROWS, *shape))
    for row, value in enumerate((0.0, 1.0, tiny)):
        values[row] = value
    return values.astype(np.float32)
