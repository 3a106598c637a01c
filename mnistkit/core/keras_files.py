"""Read Keras' own files: any ``.keras`` model, without running code from the file."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import ModelFileError, one_line
from mnistkit.core.files import sniff_kind
from mnistkit.core.keras_backend import load_keras

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray


def load_model(path: str | os.PathLike[str], *, to_train: bool = False) -> Any:
    """Load a ``.keras`` file, code-free (``safe_mode``).

    Args:
        path: The file.
        to_train: Compile it with the loss and the optimizer it was saved with. Otherwise these are left out: they
            cannot matter to its answers, and another backend than the one that trained may warn of them.

    Raises:
        ModelFileError: The file is missing, is no ``.keras`` archive, is damaged, comes from a newer Keras, or needs
            code of its own.
    """
    source = Path(path)
    _check_archive(source)
    keras = load_keras()
    try:
        return keras.saving.load_model(source, compile=to_train, safe_mode=True)
    except Exception as error:  # Keras raises whatever a layer's constructor raises
        made_with = _read_metadata(source).get("keras_version", "unknown")
        message = one_line(error, limit=240)
        cure = f"update Keras (it is {keras.__version__} here)"
        if not _is_newer(made_with, keras.__version__):
            cure = "if it has layers of your own, load it where they are registered, and pass the model itself"
        raise ModelFileError(f"{source}: made with Keras {made_with}, cannot be loaded ({message}); {cure}") from error


def weights_of(model: Any) -> list[NDArray[Any]]:
    """Weights in Keras' order as NumPy arrays; unlike ``model.get_weights()`` it raises no warning under NumPy 2."""
    keras = load_keras()
    return [keras.ops.convert_to_numpy(variable.value) for variable in model.weights]


def _check_archive(source: Path) -> None:
    if not source.is_file():
        what = "a folder" if source.is_dir() else "no such file"
        raise ModelFileError(f"{source}: {what}; make one with `python -m mnistkit.train`")
    try:
        with zipfile.ZipFile(source) as archive:
            names = set(archive.namelist())
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelFileError(f"{source}: {_what_it_is(source)} ({error})") from error
    missing = {"config.json", "metadata.json", "model.weights.h5"} - names
    if missing or damaged:
        reason = f"{', '.join(sorted(missing))} missing" if missing else f"{damaged} is damaged"
        raise ModelFileError(f"{source}: not a complete .keras file ({reason}); save it again")


def _read_metadata(source: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(source) as archive:
            return dict(json.loads(archive.read("metadata.json")))
    except (ValueError, OSError, KeyError):
        return {}


def _what_it_is(source: Path) -> str:
    with source.open("rb") as stream:
        kind = sniff_kind(stream.read(512))
    if kind is None or kind.name == "a zip archive":
        return "not a .keras file"
    if kind.name == "an HDF5 file":
        return "an HDF5 model; load it in Keras and save it as .keras"
    return f"{kind.name}, not a .keras file" + (f"; {kind.cure}" if kind.cure else "")


def _is_newer(made_with: str, here: str) -> bool:
    def numbers(version: str) -> list[int]:
        return [int(part) for part in version.split(".")[:3] if part.isdigit()]

    return numbers(made_with) > numbers(here)
