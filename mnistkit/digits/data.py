"""MNIST and its relatives as arrays: the embedded original, an ``.npz``, a folder of IDX files, or ``data_files``.

The embedded images are the original 70,000 of LeCun, Cortes and Burges (CC BY-SA 3.0, see
``assets/LICENSE.mnist.txt``). Nothing here ever touches the network.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mnistkit.core.errors import DataError, one_line
from mnistkit.core.files import sniff_kind
from mnistkit.digits import data_files
from mnistkit.digits.contract import CLASSES, DIGITS, SIDE

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MNIST_SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_IMAGES = (SIDE, SIDE)
_MAX_BYTES = 2 * 1024**3  # EMNIST digits, the largest of the family, needs a tenth of this
_IDX_UINT8 = 0x08
_IDX_NAMES = {
    "x_train": ("train", "images", 3),
    "y_train": ("train", "labels", 1),
    "x_test": ("test", "images", 3),
    "y_test": ("test", "labels", 1),
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images and labels of one data set.

    Attributes:
        x_train: uint8 ``[n, 28, 28]``, 0 is background, 255 full ink.
        y_train: uint8 ``[n]``, class numbers 0..9.
        x_test: uint8 ``[m, 28, 28]``.
        y_test: uint8 ``[m]``.
        labels: The ten classes' names, in order.
        name: ``"mnist"`` for the embedded set, else the file's or folder's name without its folders.
    """

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.uint8]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.uint8]
    labels: tuple[str, ...]
    name: str

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Unpack as Keras' data sets do: ``(x_train, y_train), (x_test, y_test) = load_data()``."""
        yield self.x_train, self.y_train
        yield self.x_test, self.y_test

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {len(self.x_train)} training and {len(self.x_test)} test images)"

    @property
    def sha256(self) -> str:
        """Digest over the four arrays, the same whatever container they came in; computed anew at each use."""
        import hashlib

        digest = hashlib.sha256()
        for key in _ARRAYS:
            array = getattr(self, key)
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load_data(path: str | os.PathLike[str] | None = None, *, labels: Sequence[str] | None = None) -> Dataset:
    """Load the embedded MNIST, or a data set of the same form from disk.

    Args:
        path: ``None`` for the embedded images; an ``.npz`` with Keras' array names; a folder with the four IDX files,
            gzipped or not; a CSV with the label and 784 pixels in each line, or a folder with one for training and
            one for the test; a folder with ``x_train.npy`` and its like; or folders ``0`` to ``9`` of pictures, alone
            or in ``train`` and ``test``. Where a set is not divided, every seventh image is the test's. Digits that
            lie on their side, as EMNIST stores them, are turned.
        labels: Names of the ten classes; the digits by default.

    Raises:
        DataError: The file is missing, damaged, or not such a data set; the message names the file and what it is.
    """
    names = _checked_labels(labels)
    if path is None:
        source = Path(__file__).parent / "assets" / "mnist.npz"
        content = _read_bytes(source)
        import hashlib

        if hashlib.sha256(content).hexdigest() != MNIST_SHA256:
            raise DataError(f"the embedded {source.name} is damaged; reinstall mnistkit, or pass --data PATH")
        arrays, name = _from_npz(io.BytesIO(content), source), "mnist"
    else:
        source = Path(path)
        if not source.exists():
            raise DataError(f"{source}: no such file or folder; pass an .npz, a CSV, or a folder of IDX files")
        arrays, name = (_from_folder(source) if source.is_dir() else _from_file(source)), source.name
    _check(arrays, source)
    if path is not None:
        _turn(arrays)
    return Dataset(**arrays, labels=names, name=name)


def parse_labels(text: str) -> tuple[str, ...]:
    """Class names from ``--labels``: ten names separated by commas, or a file with a JSON list or one name a line.

    Raises:
        DataError: The file cannot be read, or there are not ten different names.
    """
    path = Path(text)
    if "," in text and not path.is_file():
        return _checked_labels([part.strip() for part in text.split(",")])
    content = _read_bytes(path).decode("utf-8", errors="replace").strip()
    if content.startswith("["):
        try:
            return _checked_labels(json.loads(content))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: not a JSON list of names ({error})") from error
    return _checked_labels([line.strip() for line in content.splitlines() if line.strip()])


def _checked_labels(labels: Sequence[str] | None) -> tuple[str, ...]:
    if labels is None:
        return DIGITS
    names = tuple(labels)
    if len(names) != CLASSES or len(set(names)) != CLASSES or not all(isinstance(n, str) and n for n in names):
        raise DataError(f"labels: expected {CLASSES} different names, got {len(names)}: {', '.join(map(str, names))}")
    return names


def _from_file(path: Path) -> dict[str, NDArray[np.uint8]]:
    content = _read_bytes(path)
    if content.startswith(b"PK"):
        return _from_npz(io.BytesIO(content), path)
    if path.suffix.lower() == ".csv":
        return _all_uint8(data_files.from_csv(path), path)
    hint = "pass the folder that holds all four IDX files" if _is_idx(_gunzip(content, path)) else "expected an .npz"
    raise DataError(f"{path}: not an .npz but {_describe(content)}; {hint}")


def _from_npz(stream: BinaryIO, path: Path) -> dict[str, NDArray[np.uint8]]:
    import zipfile  # here and not above: predicting needs no archives, and a process that predicts starts faster

    try:
        with zipfile.ZipFile(stream) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
                raise DataError(f"{path}: unpacks to more than {_MAX_BYTES // 1024**3} GiB; not a set of 28x28 images")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in _ARRAYS if key not in archive.files]
            if missing:
                found = ", ".join(archive.files) or "nothing"
                raise DataError(f"{path}: arrays {', '.join(missing)} are missing (it holds {found})")
            return {key: _as_uint8(archive[key], key, path) for key in _ARRAYS}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError) as error:
        raise DataError(
            f"{path}: the .npz is damaged or truncated ({one_line(error, limit=120)}); fetch it again"
        ) from error


def _from_folder(folder: Path) -> dict[str, NDArray[np.uint8]]:
    archive = folder / "mnist.npz"
    files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    if not any(_is_named(file.name, part="train", kind="images") and file.suffix != ".npy" for file in files):
        other = data_files.from_npy_folder(files, folder)
        if other is None and not archive.is_file():
            other = data_files.from_picture_folders(folder)
            if other is None and any(file.suffix.lower() == ".csv" for file in files):
                other = data_files.from_csv_folder(files, folder)
        if other is not None:
            return _all_uint8(other, folder)
    arrays: dict[str, NDArray[np.uint8]] = {}
    for key, (part, kind, rank) in _IDX_NAMES.items():
        found = [file for file in files if _is_named(file.name, part=part, kind=kind)]
        if not found and archive.is_file():
            return _from_file(archive)
        if not found:
            raise DataError(f"{folder}: no IDX file with the {part} {kind} (like {_example(part, kind)}, or with .gz)")
        # EMNIST's archive holds six sets, and each file plain and gzipped: take the digits, and the faster form.
        chosen = min(found, key=lambda file: ("digits" not in file.name, file.suffix == ".gz"))
        arrays[key] = _read_idx(chosen, rank=rank)
        if rank == 3 and "emnist" in chosen.name.lower():  # noqa: PLR2004  # images
            arrays[key] = np.ascontiguousarray(arrays[key].transpose(0, 2, 1))  # EMNIST stores columns first
    return arrays


def _turn(arrays: dict[str, NDArray[np.uint8]]) -> None:
    """Turn digits that lie on their side: EMNIST under another name."""
    mnist = Path(__file__).parent / "assets" / "mnist.npz"
    with np.load(mnist, allow_pickle=False) as archive:
        known = archive["x_test"], archive["y_test"]
    if data_files.are_transposed(arrays["x_train"], arrays["y_train"], known):
        for key in ("x_train", "x_test"):
            arrays[key] = np.ascontiguousarray(arrays[key].transpose(0, 2, 1))


def _all_uint8(arrays: dict[str, NDArray[Any]], path: Path) -> dict[str, NDArray[np.uint8]]:
    return {key: _as_uint8(array, key, path) for key, array in arrays.items()}


def _is_named(name: str, *, part: str, kind: str) -> bool:
    words = name.lower().replace(".", "-").replace("_", "-").split("-")
    parts = {"train"} if part == "train" else {"test", "t10k"}
    return bool(parts & set(words)) and kind in words


def _example(part: str, kind: str) -> str:
    return f"{'train' if part == 'train' else 't10k'}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"


def _read_idx(path: Path, *, rank: int) -> NDArray[np.uint8]:
    """One array in IDX format: two zero bytes, type, rank, big-endian sizes, data.

    Source of the format: the MNIST page of Y. LeCun, "the IDX file format".
    """
    content = _gunzip(_read_bytes(path), path)
    if not _is_idx(content):
        raise DataError(f"{path}: not an IDX file but {_describe(content)}")
    dtype, found_rank = content[2], content[3]
    if dtype != _IDX_UINT8 or found_rank != rank:
        raise DataError(f"{path}: IDX type 0x{dtype:02x} with {found_rank} axes, expected 0x08 with {rank}")
    header = 4 + 4 * rank
    if len(content) < header:
        raise DataError(f"{path}: the IDX header is truncated; fetch it again")
    shape = struct.unpack(f">{rank}I", content[4:header])
    expected = math.prod(shape)
    if len(content) - header != expected:
        raise DataError(f"{path}: {len(content) - header} data bytes, the header says {expected}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _is_idx(content: bytes) -> bool:
    return len(content) >= 4 and content[:2] == b"\0\0" and 0x08 <= content[2] <= 0x0E and 1 <= content[3] <= 4  # noqa: PLR2004  # the format's own numbers


def _gunzip(content: bytes, path: Path) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    import gzip

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            plain = stream.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip data is damaged or truncated; fetch it again") from error
    if len(plain) > _MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than {_MAX_BYTES // 1024**3} GiB; not a set of 28x28 images")
    return plain


def _as_uint8(array: NDArray[np.generic], key: str, path: Path) -> NDArray[np.uint8]:
    """Integers (any width) and whole floats in 0..255 are taken as they are; anything else is refused."""
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise DataError(f"{path}: {key} holds {array.dtype}, expected whole numbers 0..255")
    # one float check for all widths: NaN fails every comparison
    values = array.astype(np.float64)
    if not bool(np.all((values >= 0) & (values <= 255) & (values == np.floor(values)))):  # noqa: PLR2004  # a byte
        raise DataError(f"{path}: {key} holds values outside the whole numbers 0..255")
    return values.astype(np.uint8)


def _check(arrays: dict[str, NDArray[np.uint8]], source: Path) -> None:
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.ndim == 4 and x.shape[-1] == 1:  # noqa: PLR2004  # a channel axis, as some repackagings have it
            x = arrays[f"x_{part}"] = x[..., 0]
        if x.ndim == 2 and x.shape[1] == math.prod(_IMAGES):  # noqa: PLR2004  # rows of 784, as CSV conversions have it
            x = arrays[f"x_{part}"] = x.reshape(-1, *_IMAGES)
        if x.shape[1:] != _IMAGES or x.ndim != 3 or len(x) == 0:  # noqa: PLR2004  # [n, 28, 28]
            raise DataError(f"{source}: x_{part} has shape {list(x.shape)}, expected [n, 28, 28]")
        if y.shape != (len(x),):
            raise DataError(f"{source}: y_{part} has shape {list(y.shape)}, expected [{len(x)}] to match x_{part}")
        if int(y.max()) >= CLASSES:
            raise DataError(f"{source}: y_{part} has class {int(y.max())}; mnistkit reads sets of ten classes, 0 to 9")


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: larger than {_MAX_BYTES // 1024**3} GiB; not a set of 28x28 images")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _describe(content: bytes) -> str:
    kind = sniff_kind(content[:512])
    if kind:
        return f"{kind.name} ({kind.cure})" if kind.cure else kind.name
    return "one IDX file" if _is_idx(content) else "data of an unknown kind"
