"""What is known of an exported file: from itself and from the JSON beside it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.comparison import verify_file
from mnistkit.core.contract import read_labels, read_states
from mnistkit.core.errors import MnistkitError, ModelFileError, one_line
from mnistkit.core.folders import digest
from mnistkit.core.golden import decode_golden
from mnistkit.core.onnx_header import Header, read_header
from mnistkit.core.runtime import Runtime
from mnistkit.digits.classifier import is_picture_model
from mnistkit.export.provenance import provenance_path, read_provenance
from mnistkit.publish.image_input import ImageInput, read_image_input

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from mnistkit.core.golden import GoldenPair
    from mnistkit.core.tensors import TensorInfo

DATASET_SHA256 = "25c98f992c005963b7428e1f38418b233c9b286cc403519287eb8063f0bcfe07"
"""`mnistkit.digits.data.Dataset.sha256` of the embedded images, as a training writes it down."""
_ROUNDED = 5e-5  # an accuracy in a file has four decimals
_FLOAT32 = 1e-6  # and Keras gives it as float32


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of an exported file.

    Attributes:
        path: The file.
        external: The file of its weights beside it, ``None`` where they are inside.
        header: Opset, IR version, parameters.
        inputs: Declared inputs.
        outputs: Declared outputs.
        metadata: What the file says of itself, without the prefix ``mnistkit.``.
        labels: Class names; ``None`` where it has none.
        states: Names of input and output of each state that is kept between calls.
        image: How a picture becomes its input, where the file says so.
        golden: Its golden pairs.
        provenance: What the export wrote beside it; empty where nothing is.
        training: What the training wrote; empty where nothing is.
    """

    path: Path
    external: Path | None
    header: Header
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str]
    labels: tuple[str, ...] | None
    states: tuple[tuple[str, str], ...]
    image: ImageInput | None
    golden: tuple[GoldenPair, ...]
    provenance: dict[str, Any]
    training: dict[str, Any]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def size(self) -> int:
        """Bytes on disk, with the weights beside the file."""
        return self.path.stat().st_size + (self.external.stat().st_size if self.external else 0)

    @property
    def accuracy(self) -> str | None:
        """Share of right answers on a test set, with four decimals, as the file says it."""
        return self.metadata.get("test_accuracy")

    @property
    def data_name(self) -> str | None:
        """Name of the data set that the model was trained on: ``"mnist"`` for the embedded one alone."""
        data = self.training.get("data") or {}
        return f"another {data['name']}" if data.get("name") == "mnist" and not self.is_mnist else data.get("name")

    @property
    def is_mnist(self) -> bool:
        """Whether the model was trained on the embedded MNIST."""
        return (self.training.get("data") or {}).get("sha256") == DATASET_SHA256

    @property
    def classifies_images(self) -> bool:
        """Whether the file says that pictures go in, and gives one score for each of its classes."""
        return bool(self.labels) and self.image is not None and len(self.outputs[0].shape) == 2  # noqa: PLR2004

    @property
    def is_tested_on_its_data(self) -> bool:
        """Whether the accuracy is the one that the training measured on its own test set.

        An export can be given other test data, whose name is written nowhere.
        """
        measured = (self.training.get("test") or {}).get("accuracy")
        return (
            self.accuracy is not None
            and isinstance(measured, (int, float))
            and abs(float(self.accuracy) - measured) <= _ROUNDED + _FLOAT32
        )


def read_facts(model: str | os.PathLike[str]) -> ModelFacts:
    """Read an exported file and verify it by its golden pairs.

    Raises:
        ModelFileError: The file cannot be read, was not exported by mnistkit, or the JSON beside it is about another
            file.
        ParityError: A golden pair is answered otherwise than at the export.
        MissingExtraError: onnxruntime is not installed.
    """
    path = Path(model)
    runtime = Runtime(path, device="cpu", exact=True)
    if is_picture_model(runtime):
        raise ModelFileError(
            f"{path}: it takes pictures, for which no accuracy was measured; give the classifier's file, and this one "
            "goes along if it lies beside it as NAME-picture.onnx"
        )
    verify_file(path, device="cpu")
    try:
        provenance = read_provenance(path)
    except ModelFileError:
        provenance = {}
    with telling_damage(path):
        external = _external(path, provenance, inside=isinstance(runtime.source, bytes))
        training = _training(path, provenance, runtime.metadata)
    facts = ModelFacts(
        path=path,
        external=external,
        header=read_header(path.read_bytes()),
        inputs=runtime.inputs,
        outputs=runtime.outputs,
        metadata=runtime.metadata,
        labels=read_labels(runtime.metadata),
        states=read_states(runtime.metadata),
        image=read_image_input(runtime.metadata, runtime.inputs),
        golden=tuple(decode_golden(runtime.metadata)),
        provenance=provenance,
        training=training,
    )
    with telling_damage(path):
        _check_provenance(facts)
    return facts


@contextlib.contextmanager
def telling_damage(path: Path) -> Iterator[None]:
    """Say of what goes wrong within the block that the JSON beside the file is not as an export writes it.

    Raises:
        ModelFileError: In the place of what Python raises when a key is missing or of another type.
    """
    try:
        yield
    except MnistkitError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__}: {one_line(error, limit=80)}"
        raise ModelFileError(f"{provenance_path(path)}: it is damaged ({reason}); export the model again") from error


def _external(path: Path, provenance: dict[str, Any], *, inside: bool) -> Path | None:
    if inside:
        return None
    name = str((provenance.get("external_data") or {}).get("name", ""))
    file = path.with_name(name) if name and Path(name).name == name else path
    if file == path or not file.is_file():
        raise ModelFileError(f"{path}: its weights are in another file, and {provenance_path(path)} does not name it")
    return file


def _training(path: Path, provenance: dict[str, Any], metadata: dict[str, str]) -> dict[str, Any]:
    """What the export took over, else what lies beside the file and is about the same weights."""
    found = provenance.get("training")
    if not provenance:
        try:
            found = json.loads(path.with_suffix(".train.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if isinstance(found, dict) and found.get("weights_sha256") != metadata.get("weights_sha256"):
            found = None
    return found if isinstance(found, dict) else {}


def _check_provenance(facts: ModelFacts) -> None:
    """Refuse a JSON that is about another file of the same name, and one that says another accuracy.

    Raises:
        ModelFileError: It is.
    """
    if not facts.provenance:
        return
    beside = provenance_path(facts.path)
    cure = "export the model again, or move the JSON away"
    if facts.provenance["sha256"] != digest(facts.path):
        raise ModelFileError(f"{beside}: it is about another file of this name; {cure}")
    told = facts.provenance.get("accuracy")
    told_text = f"{told['onnxruntime']:.4f}" if isinstance(told, dict) else None
    if told_text != facts.accuracy:
        raise ModelFileError(f"{beside}: it says accuracy {told_text}, and the file says {facts.accuracy}; {cure}")
