"""The export profile `digits`: names, labels, preprocessing and test images of a digit classifier."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError, ParityError
from mnistkit.digits.contract import CLASSES, INPUT_NAME, NAME, OUTPUT_NAME, SIDE
from mnistkit.digits.scaling import IMAGES, UNIT, Scaling, measure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.digits.data import Dataset
    from mnistkit.export.profile import Names, ProfileSample
    from mnistkit.export.signature import Signature

HINT = "this looks like a digit classifier; --profile digits adds labels, preprocessing and the accuracy on MNIST"
"""For a model that `fits` and that nothing says to be one."""

PREPROCESSING = "grey levels divided by 255: 0 is background, 1 is full ink; 28x28 pixels, row by row"
PREPROCESSING_PARAMETERS: dict[str, Any] = {"scale": 1 / 255, "offset": 0.0, "side": SIDE, "ink": "bright"}

_BATCH_SIZES = (1, 2, 3, 64)
_SAME = 0.99  # of the images
_NEAR = 0.01  # of a probability
_NOISE_ROWS = max(_BATCH_SIZES)


@dataclass(frozen=True)
class DigitClassifier:
    """Export profile of a classifier of 28x28 images into ten classes (`mnistkit.export.profile.Profile`).

    Args:
        data: Test images for the verification and the accuracy; the embedded MNIST by default.
        labels: The ten class names; those of the data by default.
        temperature: By what the training divided the logits to calibrate them; it is in the weights already.
        scaling: In which numbers the model takes its images; measured on the test images by default (`fitted`).

    Raises:
        InputError: There are not ten different labels.
    """

    data: Dataset | None = None
    labels: Sequence[str] | None = None
    temperature: float | None = None
    scaling: Scaling | None = None

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

    def fitted(self, signature: Signature, call: Callable[[Mapping[str, NDArray[Any]]], Any]) -> DigitClassifier:
        """The profile with the scaling that the model reads the test images best with, unless it has one.

        A model may have its own scaling as its first layer, and then takes grey levels as they are.

        Args:
            signature: Inputs and outputs under Keras' names.
            call: Keras' answers by output name, for arrays by input name.
        """
        if self.scaling is not None:
            return self

        def read(images: NDArray[np.float32]) -> NDArray[Any]:
            scores: NDArray[Any] = next(iter(call({tensor.name: _laid_out(images, tensor)}).values()))
            return scores

        tensor = signature.inputs[0]
        if signature.batch:  # a fixed batch cannot take all images at once
            whole = read
            size = signature.batch

            def read(images: NDArray[np.float32]) -> NDArray[Any]:
                rows = len(images)
                filled = np.concatenate([images, np.repeat(images[-1:], -rows % size, axis=0)])
                parts = [whole(filled[start : start + size]) for start in range(0, len(filled), size)]
                return np.concatenate(parts)[:rows]

        found, _ = measure(read, self._dataset.x_test, self._dataset.y_test)
        return replace(self, scaling=found)

    def samples(self, signature: Signature) -> Sequence[ProfileSample]:
        """All test images, noise over their range, and the values where rounding and overflow begin."""
        from mnistkit.export.profile import ProfileSample

        tensor, scaling = signature.inputs[0], self.scaling or UNIT
        shape = [size for size in tensor.shape[1:] if isinstance(size, int)]
        images = (self._dataset.x_test.astype(np.float32) / 255).reshape(-1, *shape)
        noise = np.random.default_rng(0).random((_NOISE_ROWS, *shape))
        parts: dict[str, NDArray[Any]] = {"test images": images, "noise": noise, "edges": _edges(shape)}
        scaled = {name: part if scaling == UNIT else scaling.of_unit(part) for name, part in parts.items()}
        return [
            ProfileSample(name, {tensor.name: part.astype(tensor.dtype)}, tuple(sorted({*_BATCH_SIZES, len(part)})))
            for name, part in scaled.items()
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
        if self.scaling not in (None, UNIT):
            words = f"grey levels brought to {self.scaling}: {self.scaling.offset:g} is background"
            entries["preprocessing"] = f"{words}; 28x28 pixels, row by row"
            parameters = PREPROCESSING_PARAMETERS | {"scale": self.scaling.scale, "offset": self.scaling.offset}
            entries["preprocessing_parameters"] = json.dumps(parameters, sort_keys=True)
        if self.temperature is not None:
            entries["temperature"] = f"{self.temperature:.4f}"
        return entries

    def accuracy(self, outputs: Sequence[NDArray[Any]]) -> float:
        """Share of test images that are read rightly."""
        scores = outputs[0]
        return float(np.mean(scores.argmax(axis=1) == self._dataset.y_test[: len(scores)]))

    def check_file(self, path: str | os.PathLike[str], outputs: Sequence[NDArray[Any]]) -> None:
        """Require that `mnistkit.Classifier` reads the test images with the file as Keras does with the model.

        Args:
            path: The file.
            outputs: Keras' answers to the test images.

        Raises:
            ParityError: It reads them otherwise.
        """
        from mnistkit.digits.classifier import Classifier, softmax_where_needed

        expected = softmax_where_needed(np.asarray(outputs[0])[:IMAGES], str(path))
        read = Classifier(path, device="cpu", exact=True).probabilities(self._dataset.x_test[: len(expected)])
        same = float(np.mean(np.abs(read - expected).max(axis=1) <= _NEAR))
        if same < _SAME:
            raise ParityError(
                f"Classifier reads {1 - same:.0%} of the test images otherwise than Keras; the scaling "
                f"{self.scaling or UNIT} of the profile is not the model's"
            )

    @cached_property
    def _dataset(self) -> Dataset:
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
    return DigitClassifier(data, labels, training.get("temperature"), UNIT if training else None)


def fits(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> bool:
    """Whether inputs and outputs have the shapes of a digit classifier; this alone does not make a model one."""
    if len(inputs) != 1 or len(outputs) != 1 or not inputs[0].dtype.startswith("float"):
        return False
    sizes = [size for size in inputs[0].shape[1:] if isinstance(size, int)]
    is_image = len(sizes) == len(inputs[0].shape) - 1 and math.prod(sizes) == SIDE * SIDE
    return is_image and tuple(outputs[0].shape[1:]) == (CLASSES,)


def _laid_out(images: NDArray[np.float32], tensor: TensorInfo) -> NDArray[Any]:
    shape = [size for size in tensor.shape[1:] if isinstance(size, int)]
    return images.reshape(len(images), *shape).astype(tensor.dtype)


def _edges(shape: Sequence[int]) -> NDArray[np.float32]:
    """Zeros, ones, the smallest normal number and 1/255, with whole rows of the first three."""
    tiny = float(np.finfo(np.float32).tiny)
    values = np.random.default_rng(0).choice([0.0, 1.0, tiny, 1 / 255], size=(_NOISE_ROWS, *shape))
    for row, value in enumerate((0.0, 1.0, tiny)):
        values[row] = value
    return values.astype(np.float32)
