"""Arrays of images in ``.npz``, ``.npy`` and ``.parquet`` files, read from the disk or a URL as they are needed."""

from __future__ import annotations

import bisect
import itertools
import zipfile
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np

from mnistkit.core.errors import DataError, InputError, MissingExtraError, one_line
from mnistkit.core.install import install_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_IMAGES = ("images", "image", "x_test", "x")  # names of an array of images among others, the first found is taken
_ROWS_AT_ONCE = 4096  # of a Parquet file, decoded together


@contextmanager
def told(name: str, what: str) -> Iterator[None]:
    """Say of what goes wrong within the block what the file is.

    Raises:
        DataError: In the place of the errors of the libraries that read files.
    """
    try:
        yield
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{name}: {what} ({one_line(error, limit=120)}); get the file again") from error


def choose(names: list[str], wanted: str | None, *, path: str) -> str:
    """The array that is wanted, or that is surely the one with the images.

    Raises:
        InputError: There is none of that name, or several may be meant.
    """
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


class ArrayFile:
    """One array of an open file. Rows that follow each other are read without going back.

    Args:
        open_file: Opens the file.
        ending: ``.npz``, ``.npy`` or ``.parquet``.
        name: The array in it; ``None`` in an ``.npy``.
    """

    def __init__(self, open_file: Callable[[], Any], ending: str, name: str | None) -> None:
        self._stack = ExitStack()
        try:
            if ending == ".parquet":
                self._array: Any = _ParquetColumn(self._stack.enter_context(open_file()), str(name))
            else:
                self._array = _NumpyArray(self._stack.enter_context(open_numpy(open_file, name)))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, start: int, count: int) -> NDArray[Any]:
        """The rows from ``start`` on.

        Raises:
            OSError: The file cannot be read.
            EOFError: It ends too early.
            ValueError: It is damaged.
        """
        rows: NDArray[Any] = self._array.read(start, count)
        return rows


@contextmanager
def open_numpy(open_file: Callable[[], Any], name: str | None) -> Iterator[IO[bytes]]:
    """The bytes of an ``.npy``, or of the one in an ``.npz``."""
    with open_file() as stream:
        if name is None:
            yield stream
        else:
            with zipfile.ZipFile(stream) as archive, archive.open(f"{name}.npy") as inside:
                yield inside


class _NumpyArray:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._shape, self._dtype = header(stream)
        self._begin = stream.tell()
        self._size = int(np.prod(self._shape[1:])) * self._dtype.itemsize

    def read(self, start: int, count: int) -> NDArray[Any]:
        self._stream.seek(self._begin + start * self._size)
        content = self._stream.read(count * self._size)
        if len(content) < count * self._size:
            raise EOFError("it ends too early")
        return np.frombuffer(content, self._dtype).reshape(count, *self._shape[1:])


def names_in(stream: IO[bytes]) -> list[str]:
    """The arrays of an ``.npz``."""
    with zipfile.ZipFile(stream) as archive:
        return [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]


def header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an ``.npy``, from its first bytes.

    Raises:
        ValueError: It is none, or one that is not read.
    """
    major, minor = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if (major, minor) == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded")
    if fortran and len(shape) > 1:
        raise ValueError("it is stored by columns; save np.ascontiguousarray(images)")
    return shape, dtype


# --- Parquet ----------------------------------------------------------------------------------------------------------


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


def columns_of_lists(stream: Any) -> tuple[list[str], int]:
    """The columns of a Parquet file that have a list in each row, and how many rows there are.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no Parquet file.
        MissingExtraError: pyarrow is not installed.
    """
    arrow = pyarrow()
    tests = (arrow.types.is_list, arrow.types.is_large_list, arrow.types.is_fixed_size_list)
    with arrow.parquet.ParquetFile(stream) as file:
        names = [field.name for field in file.schema_arrow if any(test(field.type) for test in tests)]
        return names, file.metadata.num_rows


class _ParquetColumn:
    """Rows of a column, from the row group on in which they begin."""

    def __init__(self, stream: Any, name: str) -> None:
        self._file = pyarrow().parquet.ParquetFile(stream)
        self._name = name
        data = self._file.metadata
        sizes = [data.row_group(group).num_rows for group in range(data.num_row_groups)]
        self._begins = list(itertools.accumulate(sizes, initial=0))
        self._next = -1
        self._rest = np.zeros((0, 0))
        self._batches: Iterator[Any] = iter(())

    def read(self, start: int, count: int) -> NDArray[Any]:
        if start != self._next:
            self._go_to(start)
        parts, missing = [], count
        while missing:
            if not len(self._rest):
                self._rest = self._decode()
            parts.append(self._rest[:missing])
            self._rest = self._rest[missing:]
            missing -= len(parts[-1])
        self._next = start + count
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _go_to(self, start: int) -> None:
        group = bisect.bisect_right(self._begins, start) - 1
        groups = list(range(group, len(self._begins) - 1))
        self._batches = self._file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=groups, columns=[self._name])
        left, self._rest = start - self._begins[group], np.zeros((0, 0))
        while left:
            rows = self._decode()
            self._rest, left = rows[left:], max(left - len(rows), 0)

    def _decode(self) -> NDArray[Any]:
        batch = next(self._batches, None)
        if batch is None:
            raise EOFError("it ends too early")
        lists = batch.column(0)
        if lists.null_count:
            raise ValueError("a row has no image")
        numbers = lists.flatten().to_numpy(zero_copy_only=False)
        width = len(numbers) // max(len(lists), 1)
        lengths = np.asarray(lists.value_lengths())
        if (lengths != width).any():
            raise ValueError("its images have different sizes")
        return np.asarray(numbers).reshape(len(lists), width)
