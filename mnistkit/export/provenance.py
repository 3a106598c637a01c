"""The JSON beside a file: who trained the model and how, who exported it and how it was verified.

An export of ``NAME.onnx`` writes ``NAME.onnx.json``. Version 0.1 wrote ``NAME.json``, which is still read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import contract
from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.core.keras_files import weights_of

if TYPE_CHECKING:
    import os

_OURS = frozenset({"file", "sha256", "exporter", "exported_under"})  # keys of every export's JSON since 0.1


def provenance_path(file: str | os.PathLike[str]) -> Path:
    """Where the provenance of an ``.onnx`` file lies."""
    path = Path(file)
    return path.with_name(f"{path.name}.json")


def read_provenance(file: str | os.PathLike[str]) -> dict[str, Any]:
    """The provenance that an export left beside its file, in today's words.

    Raises:
        ModelFileError: There is none.
    """
    path = Path(file)
    for place in (provenance_path(path), path.with_suffix(".json")):
        found = _read(place)
        if found.keys() >= _OURS and found["file"] == path.name:
            if "proof" in found:  # its name up to 0.1
                found["verification"] = found.pop("proof")
            return found
    raise ModelFileError(f"{path}: no export left its provenance beside it; export it again with mnistkit")


def check_replaceable(path: Path) -> None:
    """Refuse to replace a JSON that no export wrote.

    Raises:
        InputError: The file at ``path`` is somebody's own.
    """
    if path.exists() and not _read(path).keys() >= _OURS:
        raise InputError(f"{path}: the provenance goes there, and this file is not mnistkit's; move it, or use --out")


def read_training(source: Path | None, model: Any) -> dict[str, Any]:
    """The provenance that `mnistkit.digits.train` left beside the ``.keras`` file, if it is of these very weights.

    Args:
        source: The ``.keras`` file, ``None`` for a model from memory.
        model: The loaded model.

    Returns:
        What the file holds; empty when there is none, or when the model was changed since.
    """
    found = {} if source is None else _read(source.with_suffix(".train.json"))
    same = bool(found) and found.get("weights_sha256") == contract.weights_sha256(weights_of(model))
    return found if same else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def external_bytes(path: Path) -> int:
    """Bytes of the file with weights that the export says lies beside this one."""
    try:
        external = read_provenance(path).get("external_data")
        return int(external["size"]) if external else 0
    except (ModelFileError, KeyError, TypeError, ValueError):
        return 0
