"""What `mnistkit.digits.bulk` reads: many picture files, or the rows of an array that need not fit into memory."""

from __future__ import annotations

import glob
import hashlib
import math
import os
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import DataError, InputError, MissingExtraError, one_line
from mnistkit.core.install import install_hint
from mnistkit.digits.contract import ARRAY_ENDINGS, SHOWN, SIDE
from mnistkit.digits.data_files import PICTURE_ENDINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

_IMAGES = ("images", "image", "x_test", "x")  # names of an array of images among others, the first found is taken
_PICTURES_AT_ONCE = 256  # read before what is known of them is written
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """Picture files, in a fixed order.

    Attributes:
        paths: The files.
    """

    paths: tuple[str, ...]
    at_once = _PICTURES_AT_ONCE

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.paths)

    def identity(self) -> str:
        """A digest of the names, sizes and dates: another one means other pictures."""
        return _digest(f"{path}\0{_stamp(path)}\0" for path in self.paths)

    def chunks(self, start: int) -> Iterator[list[str]]:
        """The files from ``start`` on, `at_once` at a time."""
        for first in range(start, self.count, self.at_once):
            yield [*self.paths[first : first + self.at_once]]


@dataclass(frozen=True, slots=True)
class ImageRows:
    """Images in one array of a file, read from the disk as they are needed.

    Attributes:
        path: An ``.npz``, ``.npy`` or ``.parquet`` file.
        name: The array in it; ``None`` in an ``.npy``.
        count: Its rows.
    """

    path: Path
    name: str | None
    count: int
    at_once = _ROWS_AT_ONCE

    def identity(self) -> str:
        """A digest of the file's name, size and date, and of the array's name."""
        return _digest([f"{self.path}\0{self.name}\0{_stamp(self.path)}"])

    def chunks(self, start: int) -> Iterator[NDArray[Any]]:
        """The images from ``start`` on, `at_once` at a time.

        Raises:
            DataError: The file is damaged.
        """
        read = _parquet_chunks if self.path.suffix.lower() == ".parquet" else _numpy_chunks
        with _told(self.path, "is damaged"):
            yield from read(self, start)


def find_source(names: Sequence[str | os.PathLike[str]], *, array: str | None = None) -> PictureFiles | ImageRows:
    """What names stand for: picture files, folders of them (with all folders inside), patterns, or one array file.

    Args:
        names: Paths and patterns, as ``scans/**/*.png``.
        array: Name of the array in an ``.npz`` or of the column in a ``.parquet``.

    Raises:
        InputError: There is nothing, or an array among pictures.
        DataError: An array file is none, or has no images.
        MissingExtraError: A ``.parquet`` is read without pyarrow.
    """
    if not names:
        raise InputError("name pictures, a folder, a pattern, or an .npz, .npy or .parquet file")
    found: list[str] = []
    for given in names:
        name = os.fspath(given)
        if Path(name).suffix.lower() in ARRAY_ENDINGS and Path(name).is_file():
            if len(names) > 1:
                raise InputError(f"{name}: an array file is read alone; name it without other files")
            return _image_rows(Path(name), array)
        found += _files(name)
    if array is not None:
        raise InputError(f"--array {array} needs an .npz or .parquet file")
    return PictureFiles(tuple(dict.fromkeys(found)))


def _files(name: str) -> list[str]:
    path = Path(name)
    if path.is_dir():
        inside = [
            os.path.join(folder, file)  # noqa: PTH118 - a hundred thousand Paths take seconds
            for folder, _, files in os.walk(name)
            for file in files
            if file.lower().endswith(tuple(PICTURE_ENDINGS)) and not file.endswith(SHOWN)
        ]
        if not inside:
            raise InputError(f"{name}: no pictures in this folder ({', '.join(sorted(PICTURE_ENDINGS))})")
        return sorted(inside)
    if not path.exists() and glob.has_magic(name):
        inside = [file for file in glob.glob(name, recursive=True) if not file.endswith(SHOWN)]  # noqa: PTH207 - the user's pattern
        inside = [file for file in inside if Path(file).is_file()]
        if not inside:
            raise InputError(f"{name}: no file has such a name")
        return sorted(inside)
    return [name]  # a missing file is told with the others that cannot be read


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogateescape"))  # names need not be UTF-8
    return digest.hexdigest()


def _stamp(path: str | Path) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 - a hundred thousand Paths take seconds
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


# --- arrays -----------------------------------------------------------------------------------------------------------


def _image_rows(path: Path, array: str | None) -> ImageRows:
    if path.suffix.lower() == ".parquet":
        return _parquet_rows(path, array)
    with _told(path, "is no array file"):
        names = _names_in(path)
    name = None if names is None else _chosen(names, array, path)
    with _told(path, "is no array file"), _opened(path, name) as stream:
        shape, _ = _header(stream)
    if len(shape) < 2 or math.prod(shape[1:]) != SIDE * SIDE:  # noqa: PLR2004 - rows of images
        raise DataError(f"{path}: expected images of shape (n, 28, 28) or (n, 784), got {shape}")
    return ImageRows(path, name, shape[0])


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Say of what goes wrong within the block what the file is."""
    try:
        yield
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: {what} ({one_line(error, limit=120)}); get the file again") from error


def _names_in(path: Path) -> list[str] | None:
    """The arrays of an ``.npz``; ``None`` for an ``.npy``."""
    if path.suffix.lower() == ".npy":
        return None
    with zipfile.ZipFile(path) as archive:
        return [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]


def _chosen(names: list[str], wanted: str | None, path: Path) -> str:
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{path}: has no {wanted!r}, it has {', '.join(sorted(names)) or 'nothing'}")
        return wanted
    if len(names) == 1:
        return names[0]
    known = [name for name in _IMAGES if name in names]
    if not known:
        raise InputError(f"{path}: has {', '.join(sorted(names)) or 'nothing'}; say with --array which are the images")
    return known[0]


@contextmanager
def _opened(path: Path, name: str | None) -> Iterator[IO[bytes]]:
    if name is None:
        with path.open("rb") as stream:
            yield stream
    else:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            yield stream


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    major, minor = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if (major, minor) == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded")
    if fortran and len(shape) > 1:
        raise ValueError("it is stored by columns; save np.ascontiguousarray(images)")
    return shape, dtype


def _numpy_chunks(rows: ImageRows, start: int) -> Iterator[NDArray[Any]]:
    with _opened(rows.path, rows.name) as stream:
        shape, dtype = _header(stream)
        one = int(np.prod(shape[1:])) * dtype.itemsize
        stream.seek(stream.tell() + start * one)
        for first in range(start, rows.count, rows.at_once):
            count = min(rows.at_once, rows.count - first)
            content = stream.read(count * one)
            if len(content) < count * one:
                raise EOFError("it ends too early")
            yield np.frombuffer(content, dtype).reshape(count, *shape[1:])


def pyarrow() -> Any:
    """The package, with its part for Parquet.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(f".parquet files need pyarrow; run {install_hint('parquet')}") from error
    return pa


def _parquet_rows(path: Path, array: str | None) -> ImageRows:
    arrow = pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
            images = [
                field.name
                for field in schema
                if arrow.types.is_list(field.type)
                or arrow.types.is_large_list(field.type)
                or arrow.types.is_fixed_size_list(field.type)
            ]
    except (OSError, arrow.lib.ArrowException) as error:
        raise DataError(f"{path}: is no .parquet file ({one_line(error, limit=120)}); get the file again") from error
    if not images:
        raise DataError(f"{path}: expected a column with the 784 numbers of each image in a list, found none")
    return ImageRows(path, _chosen(images, array, path), count)


def _parquet_chunks(rows: ImageRows, start: int) -> Iterator[NDArray[Any]]:
    arrow = pyarrow()
    with arrow.parquet.ParquetFile(rows.path) as file:
        skipped = 0
        for batch in file.iter_batches(batch_size=rows.at_once, columns=[rows.name]):
            if skipped < start:  # batches end where they did in the run before
                skipped += len(batch)
                continue
            numbers = batch.column(0)
            yield np.asarray(numbers.flatten().to_numpy(zero_copy_only=False)).reshape(len(batch), -1)
