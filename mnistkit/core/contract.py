"""What a mnistkit ``.onnx`` is: names, shapes, versions and the metadata inside the file.

Everything under ``mnistkit.`` in the file's ``metadata_props`` is text. Nothing in it depends on the backend that
trained or exported the model, on the machine, or on the day.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import ModelFileError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

FORMAT_VERSION = "1"
OPSET = 17
IR_VERSION = 8
PRODUCER = "mnistkit"
BATCH = "batch"

PREFIX = "mnistkit."


def read_labels(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Class names of a file, ``None`` when it has none.

    Raises:
        ModelFileError: The entry is not a JSON list of names.
    """
    if "labels" not in metadata:
        return None
    labels = _read_json(metadata, "labels", "labels in the file are")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelFileError("the labels in the file are not a list of names; export it again")
    return tuple(labels)


def read_states(metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """For each tensor that the model keeps between calls the name of its input and that of its output.

    Raises:
        ModelFileError: The entry is not a JSON list of pairs of names.
    """
    if "states" not in metadata:
        return ()
    pairs = _read_json(metadata, "states", "states in the file are")
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        raise ModelFileError("the states in the file are not a list of pairs of names; export it again")
    return tuple((before, after) for before, after in pairs)


def read_preprocessing(metadata: Mapping[str, str]) -> Any:
    """The numbers of a file's preprocessing, whatever JSON they are; ``None`` when it has none.

    Raises:
        ModelFileError: The entry is no JSON.
    """
    key = "preprocessing_parameters"
    return _read_json(metadata, key, "preprocessing in the file is") if key in metadata else None


def _read_json(metadata: Mapping[str, str], key: str, what: str) -> Any:
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        reason = one_line(error, limit=120)
        raise ModelFileError(f"the {what} damaged ({reason}); export it again") from error


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)  # noqa: PLR2004


def weights_sha256(weights: Sequence[NDArray[Any]]) -> str:
    """Digest over weight arrays in Keras' order: shape, dtype and little-endian bytes of each."""
    import hashlib

    digest = hashlib.sha256()
    for array in weights:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{array.shape}{array.dtype.name}".encode() + little.tobytes())
    return digest.hexdigest()
