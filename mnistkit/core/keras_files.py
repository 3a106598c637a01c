"""Read Keras' own files: any ``.keras`` model, and whole models in ``.h5``, without running code from the file."""

from __future__ import annotations

import json
import re
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

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_PYTORCH_OLD = (b"PYTORCH",)


def load_model(path: str | os.PathLike[str], *, to_train: bool = False, unsafe: bool = False) -> Any:
    """Load a ``.keras`` file, or an ``.h5`` with a whole model, code-free (``safe_mode``).

    Args:
        path: The file.
        to_train: Compile it with the loss and the optimizer it was saved with. Otherwise these are left out: they
            cannot matter to its answers, and another backend than the one that trained may warn of them.
        unsafe: Run the Python code that Lambda layers carry inside the file. Whoever wrote the file then runs code
            here.

    Raises:
        ModelFileError: The file is missing, is no such file, is damaged, comes from a newer Keras, or needs code of its
            own; the message says what it is and what helps.
    """
    source = Path(path)
    is_archive = _check_file(source)
    keras = load_keras()
    try:
        return keras.saving.load_model(source, compile=to_train, safe_mode=not unsafe)
    except Exception as error:  # Keras raises whatever a layer's constructor raises
        made_with = _read_metadata(source).get("keras_version", "unknown") if is_archive else "an earlier version"
        message = one_line(error, limit=240)
        cure = _cure_for(str(error), made_with, keras.__version__)
        raise ModelFileError(f"{source}: made with Keras {made_with}, cannot be loaded ({message}); {cure}") from error


def _cure_for(message: str, made_with: str, here: str) -> str:
    """What helps when Keras cannot load a file, from what it says."""
    if _is_newer(made_with, here):
        return f"update Keras (it is {here} here)"
    unknown = re.search(r"Could not locate (?:class|function) '([^']+)'", message)
    unknown = unknown or re.search(
        r"Unknown (?:layer|object|loss|metric function|optimizer)[^:]*: '?([\w>]+)'?", message
    )
    if unknown is not None:
        return (
            f"it needs {unknown.group(1)!r}, which is not registered here: decorate it with "
            "@keras.saving.register_keras_serializable() and import its module before, on the command line with "
            "--import MODULE; or pass the model itself"
        )
    if "ambda" in message and ("unsafe" in message or "safe_mode" in message):
        return (
            "it has Python code inside (Lambda); if you trust whoever wrote it, load it with --unsafe, or unsafe=True "
            "in Python; a layer of its own in the place of the Lambda needs neither"
        )
    return "if it has layers of your own, load it where they are registered, and pass the model itself"


def weights_of(model: Any) -> list[NDArray[Any]]:
    """Weights in Keras' order as NumPy arrays; unlike ``model.get_weights()`` it raises no warning under NumPy 2."""
    keras = load_keras()
    return [keras.ops.convert_to_numpy(variable.value) for variable in model.weights]


def _check_file(source: Path) -> bool:
    """Whether a file is a ``.keras`` archive, or else an HDF5 file with a whole model.

    Raises:
        ModelFileError: It is neither; the message says what it is and the one thing that helps.
    """
    if source.is_dir():
        raise ModelFileError(f"{source}: {_what_folder(source)}")
    if not source.is_file():
        raise ModelFileError(f"{source}: no such file; make one with `python -m mnistkit.train`")
    with source.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(_HDF5):
        _check_hdf5(source)
        return False
    _check_archive(source)
    return True


def _what_folder(source: Path) -> str:
    names = {path.name for path in source.iterdir()}
    if "saved_model.pb" in names:
        return (
            "a SavedModel folder, which has no Keras model inside; save the model as .keras where it was made, or "
            "convert the folder with `python -m tf2onnx.convert --saved-model`"
        )
    if {"config.json", "metadata.json"} <= names:
        return "an unpacked .keras file; save the model as one file with a name that ends in .keras"
    return "a folder; name the .keras file, or make one with `python -m mnistkit.train`"


def _check_hdf5(source: Path) -> None:
    import h5py

    try:
        with h5py.File(source, "r") as file:
            whole = "model_config" in file.attrs
    except OSError as error:
        raise ModelFileError(f"{source}: a damaged HDF5 file ({one_line(error, limit=120)}); save it again") from error
    if not whole:
        raise ModelFileError(
            f"{source}: an HDF5 file of weights alone, without the layers they belong to; build the model, call "
            "model.load_weights on this file, and save it with model.save('model.keras')"
        )


def _check_archive(source: Path) -> None:
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
        head = stream.read(512)
    if head.startswith(_PICKLE) or head.startswith(_PYTORCH_OLD):
        return "a pickle, as PyTorch and joblib write them; save a Keras model with model.save('model.keras')"
    if head[:1] == b"\x08" and source.suffix.lower() == ".onnx":
        return (
            "an ONNX model, which needs no export; `mnistkit info` shows it, --web DIR and --hub DIR take it as it is"
        )
    if source.suffix.lower() == ".tflite" or head[4:8] == b"TFL3":
        return "a TensorFlow Lite model, from which no Keras model can be made; export the model that it was made from"
    kind = sniff_kind(head)
    if kind is None or kind.name == "a zip archive":
        return "not a .keras file"
    return f"{kind.name}, not a .keras file" + (f"; {kind.cure}" if kind.cure else "")


def _is_newer(made_with: str, here: str) -> bool:
    def numbers(version: str) -> list[int]:
        return [int(part) for part in version.split(".")[:3] if part.isdigit()]

    return numbers(made_with) > numbers(here)
