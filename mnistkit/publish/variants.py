"""Files of the same model in other types, and the one that takes pictures: taken only for what they are."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.core.install import install_hint
from mnistkit.core.onnx_header import read_header
from mnistkit.core.runtime import Runtime, cast
from mnistkit.digits.contract import DIGITS, OUTPUT_NAME, SIDE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mnistkit.publish.model_facts import ModelFacts

_TYPES = {"fp16": ("float16",), "int8": ("int8", "uint8")}
_IN_HUB = {"fp16": "model_fp16.onnx", "int8": "model_quantized.onnx"}
_WORDS = {"fp16": "float16 weights", "int8": "8-bit weights"}
_OTHER_MODEL = 0.5  # of the largest answer; rounding weights to bytes moves answers far less
PICTURE = "model_picture.onnx"


@dataclass(frozen=True, slots=True)
class Variant:
    """Another file of the same model.

    Attributes:
        file: Its name in the folder ``onnx``.
        words: What it is.
        size: In bytes.
        difference: Largest difference of its answers to the golden inputs; ``None`` where it takes others.
        accuracy: Share of MNIST's test images that it reads rightly; ``None`` for other models.
    """

    file: str
    words: str
    size: int
    difference: float | None = None
    accuracy: float | None = None


def add_variants(facts: ModelFacts, folder: Path) -> list[Variant]:
    """Copy ``NAME-fp16.onnx`` and ``NAME-int8.onnx``, where they lie beside the file, under the hub's names.

    Raises:
        ModelFileError: A file has another type than its name says, or belongs to another model.
    """
    found = []
    for ending, file in _IN_HUB.items():
        path = facts.path.with_name(f"{facts.name}-{ending}.onnx")
        if path.is_file():
            check_type(path, ending)
            difference = _compare(facts, path)
            shutil.copyfile(path, folder / file)
            found.append(Variant(file, _WORDS[ending], path.stat().st_size, difference, _accuracy(facts, path)))
    return found


def check_type(path: Path, ending: str) -> None:
    """Require that more than half of a file's weights are of the type that its name says.

    Args:
        path: An ``.onnx`` file.
        ending: ``"fp16"`` or ``"int8"``.

    Raises:
        ModelFileError: They are of another type.
    """
    counts = read_header(path.read_bytes()).weights
    right = sum(counts.get(name, 0) for name in _TYPES[ending])
    total = sum(counts.get(name, 0) for name in ("float32", "float64", "bfloat16", "float16", "int8", "uint8"))
    if 2 * right <= total or not right:
        most = max(counts, key=lambda name: counts[name], default="no weights")
        raise ModelFileError(f"{path}: its name says {ending}, its weights are {most}; convert the model, or rename it")


def add_picture(facts: ModelFacts, folder: Path) -> tuple[Variant | None, str | None]:
    """Copy ``NAME-picture.onnx`` where it lies beside the file; for a reader of digits, make it where it does not.

    Returns:
        The file, and a note where it could be made and was not.

    Raises:
        ModelFileError: The file beside it belongs to other weights.
        ParityError: It answers its golden pairs otherwise than at its export.
    """
    target = folder / PICTURE
    beside = facts.path.with_name(f"{facts.name}-picture.onnx")
    if beside.is_file():
        weights = Runtime(beside, device="cpu").metadata.get("weights_sha256")
        if weights is None or weights != facts.metadata.get("weights_sha256"):
            raise ModelFileError(
                f"{beside}: its weights are not those of {facts.path.name}; export with --picture again"
            )
        verify_file(beside, device="cpu")
        shutil.copyfile(beside, target)
    elif not _reads_digits(facts):
        return None, None
    elif importlib.util.find_spec("onnx") is None:
        return None, f"no {PICTURE}: the package onnx makes it; run {install_hint('export')}"
    else:
        from mnistkit.digits.picture_model import export_picture_model

        try:
            export_picture_model(facts.path, target)
        except ModelFileError as error:
            return None, f"no {PICTURE}: {error}"
    return Variant(
        PICTURE, "takes a decoded picture of any size, and centers the digit itself", target.stat().st_size
    ), None


def _reads_digits(facts: ModelFacts) -> bool:
    image = facts.image
    is_digits = facts.labels == DIGITS and facts.outputs[0].name == OUTPUT_NAME
    return is_digits and image is not None and image.ink is not None and (image.height, image.width) == (SIDE, SIDE)


def _accuracy(facts: ModelFacts, path: Path) -> float | None:
    """On MNIST's test images, where the accuracy of the model is on these as well."""
    if not (facts.is_mnist and facts.is_tested_on_its_data):
        return None
    from mnistkit.digits.evaluate import evaluate

    return evaluate(path, device="cpu").accuracy


def _compare(facts: ModelFacts, path: Path) -> float:
    """Largest difference from the file's golden answers."""
    runtime = Runtime(path, device="cpu", exact=True)
    names = {"inputs": {one.name for one in facts.inputs}, "outputs": {one.name for one in facts.outputs}}
    if names != {"inputs": {x.name for x in runtime.inputs}, "outputs": {x.name for x in runtime.outputs}}:
        raise ModelFileError(f"{path}: its inputs or outputs are not those of {facts.path.name}; convert it again")
    weights = runtime.metadata.get("weights_sha256")
    if weights is not None and weights != facts.metadata.get("weights_sha256"):
        raise ModelFileError(f"{path}: it was made from other weights than {facts.path.name}; convert it again")
    declared = {tensor.name: tensor for tensor in runtime.inputs}
    largest = 0.0
    for pair in facts.golden:
        try:
            answers = runtime.run({key: cast(array, declared[key]) for key, array in pair.inputs.items()})
        except InputError as error:
            raise ModelFileError(f"{path}: it does not take the inputs of {facts.path.name} ({error})") from error
        for name, expected in pair.outputs.items():
            difference = _difference(expected, answers[name], path)
            if difference > _OTHER_MODEL * _size(expected):
                raise ModelFileError(
                    f"{path}: its answers differ from those of {facts.path.name} by {difference:.3g}, so it is another "
                    "model; convert it again"
                )
            largest = max(largest, difference)
    return largest


def _size(answer: NDArray[Any]) -> float:
    """The largest entry of an answer, at least 1."""
    if answer.dtype.kind in "OSU":
        return 1.0
    return max(1.0, float(np.abs(np.nan_to_num(answer.astype(np.float64), posinf=0, neginf=0)).max(initial=0)))


def _difference(expected: NDArray[Any], answer: NDArray[Any], path: Path) -> float:
    if expected.shape != answer.shape:
        raise ModelFileError(f"{path}: its answers have another shape; convert it again")
    if expected.dtype.kind in "OSU":
        return float(np.any(expected != answer))
    difference = np.abs(expected.astype(np.float64) - answer.astype(np.float64))
    if not np.array_equal(np.isnan(difference), np.isnan(expected.astype(np.float64))):
        raise ModelFileError(f"{path}: it answers NaN; convert it again with more of it in float32")
    return float(np.nan_to_num(difference).max(initial=0))
