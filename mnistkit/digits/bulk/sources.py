"""What is read: many picture files, or the rows of an array that need not fit into memory."""

from __future__ import annotations

import glob
import hashlib
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import DataError, InputError, PictureError, one_line
from mnistkit.digits.bulk import arrays, places
from mnistkit.digits.contract import ARRAY_ENDINGS, SHOWN, SIDE
from mnistkit.digits.data_files import PICTURE_ENDINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PICTURES_AT_ONCE = 256  # read before what is known of them is written
_ROWS_AT_ONCE = 4096
_PICTURE_BYTES = 256_000_000  # of a file at a URL, which comes into memory as a whole
_MAGIC = re.compile(r"[*\[]")  # a ? begins what only the file system of a URL needs


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """Picture files, in a fixed order.

    Attributes:
        paths: The files; those at URLs as they are shown.
        urls: The URLs below which there are such files, as they were given.
        stamps: Sizes and dates of the files at URLs, as far as they were listed.
    """

    paths: tuple[str, ...]
    urls: tuple[str, ...] = ()
    stamps: dict[str, str] = field(default_factory=dict)
    at_once = _PICTURES_AT_ONCE

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.paths)

    def identity(self) -> str:
        """A digest of the names, sizes and dates: another one means other pictures."""
        return _digest(f"{path}\0{self.stamps.get(path) or _stamp(path)}\0" for path in self.paths)

    def content(self, path: str) -> str | bytes:
        """What `mnistkit.read_picture` takes: the path itself, or the bytes of a file at a URL.

        Raises:
            PictureError: The file at the URL cannot be read.
        """
        return _fetched(path, self.urls) if places.is_url(path) else path


@dataclass(frozen=True, slots=True)
class ImageRows:
    """Images in one array of a file, read as they are needed.

    Attributes:
        file: An ``.npz``, ``.npy`` or ``.parquet`` file, or its URL.
        name: The array in it; ``None`` in an ``.npy``.
        count: Its rows.
    """

    file: str
    name: str | None
    count: int
    at_once = _ROWS_AT_ONCE

    @property
    def path(self) -> str:
        """How messages call the file."""
        return places.show(self.file) if places.is_url(self.file) else self.file

    def identity(self) -> str:
        """A digest of the file's name, size and date, and of the array's name."""
        stamp = _stamp_of(places.find(self.file).info()) if places.is_url(self.file) else _stamp(self.file)
        return _digest([f"{self.path}\0{self.name}\0{stamp}"])

    def open(self) -> arrays.ArrayFile:
        """The array, to be read row by row.

        Raises:
            DataError: The file is damaged.
        """
        with arrays.told(self.path, "is damaged"):
            return arrays.ArrayFile(lambda: _opened(self.file), _ending(self.file), self.name)


def find_source(names: Sequence[str | os.PathLike[str]], *, array: str | None = None) -> PictureFiles | ImageRows:
    """What names stand for: picture files, folders of them (with all folders inside), patterns, or one array file.

    Args:
        names: Paths, patterns as ``scans/**/*.png``, and URLs of them.
        array: Name of the array in an ``.npz`` or of the column in a ``.parquet``.

    Raises:
        InputError: There is nothing, or an array among pictures.
        DataError: An array file is none, or has no images.
        MissingExtraError: A ``.parquet`` or a URL is read without pyarrow.
    """
    if not names:
        raise InputError("name pictures, a folder, a pattern, or an .npz, .npy or .parquet file")
    found: list[str] = []
    stamps: dict[str, str] = {}
    urls: dict[str, str] = {}
    for given in names:
        name = os.fspath(given)
        if _ending(name) in ARRAY_ENDINGS and _is_file(name):
            if len(names) > 1:
                raise InputError(f"{_shown(name)}: an array file is read alone; name it without other files")
            return _image_rows(name, array)
        if places.is_url(name):
            base, inside = _files_at(name)
            if urls.setdefault(places.show(base), base) != base:
                raise InputError(f"{places.show(base)}: is named by two URLs that differ only in what is not shown")
            stamps |= inside
            found += inside
        else:
            found += _files(name)
    if array is not None:
        raise InputError(f"--array {array} needs an .npz or .parquet file")
    return PictureFiles(tuple(dict.fromkeys(found)), tuple(urls.values()), stamps)


def _shown(name: str) -> str:
    return places.show(name) if places.is_url(name) else name


def _ending(name: str) -> str:
    return Path(places.file_name(name)).suffix.lower()


def _is_file(name: str) -> bool:
    return places.find(name).info().is_file if places.is_url(name) else Path(name).is_file()


def _opened(name: str) -> Any:
    return places.find(name).open() if places.is_url(name) else Path(name).open("rb")


def _files(name: str) -> list[str]:
    path = Path(name)
    if path.is_dir():
        inside = [
            os.path.join(folder, file)  # noqa: PTH118 - a hundred thousand Paths take seconds
            for folder, _, files in os.walk(name)
            for file in files
            if _is_picture(file)
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


def _is_picture(name: str) -> bool:
    return name.lower().endswith(tuple(PICTURE_ENDINGS)) and not name.endswith(SHOWN)


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


# --- URLs -------------------------------------------------------------------------------------------------------------


def _stamp_of(info: Any) -> str:
    return f"{info.size} {info.mtime_ns}"


def _files_at(url: str) -> tuple[str, dict[str, str]]:
    """The URL below which the files are that a URL stands for, and their names and stamps."""
    shown, _, rest = url.partition("?")
    magic = _MAGIC.search(shown)
    if magic is None:
        place = places.find(url)
        info = place.info()
        if info.type.name != "Directory":  # a missing file is told with the others that cannot be read
            return url, {place.shown: _stamp_of(info)}
        inside = {name: _stamp_of(one) for name, one in place.files() if _is_picture(name)}
        if not inside:
            raise InputError(f"{place.shown}: no pictures in this folder ({', '.join(sorted(PICTURE_ENDINGS))})")
        return url, inside
    base = shown[: shown.rindex("/", 0, magic.start()) + 1] + (f"?{rest}" if rest else "")
    place, wanted = places.find(base), re.compile(_as_expression(places.show(shown)))
    inside = {name: _stamp_of(one) for name, one in place.files() if wanted.fullmatch(name) and _is_picture(name)}
    if not inside:
        raise InputError(f"{places.show(shown)}: no picture has such a name")
    return base, inside


def _as_expression(pattern: str) -> str:
    """A regular expression for a pattern with ``*``, ``**/`` and ``[abc]``."""
    told = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*/|\*\*|\*|\[[^/\]]+\])", pattern)
    return "".join(
        told.get(part) or (part.replace("[!", "[^", 1) if part.startswith("[") else re.escape(part)) for part in parts
    )


def _fetched(name: str, urls: tuple[str, ...]) -> bytes:
    base = max((url for url in urls if name.startswith(places.show(url))), key=len)
    try:
        with places.find(base).within(name).open() as stream:
            content: bytes = stream.read(_PICTURE_BYTES + 1)
    except FileNotFoundError:
        raise PictureError(f"{name}: no such file; check the URL") from None
    except Exception as error:  # noqa: BLE001 - fsspec's file systems raise their own
        raise PictureError(f"{name}: cannot be opened ({one_line(error, limit=200)})") from None
    if len(content) > _PICTURE_BYTES:
        raise PictureError(f"{name}: has more than {_PICTURE_BYTES} bytes; make it smaller")
    return content


# --- arrays -----------------------------------------------------------------------------------------------------------


def _image_rows(file: str, array: str | None) -> ImageRows:
    shown = _shown(file)
    if _ending(file) == ".parquet":
        arrays.pyarrow()
        with arrays.told(shown, "is no .parquet file"), _opened(file) as stream:
            images, count = arrays.columns_of_lists(stream)
        if not images:
            raise DataError(f"{shown}: expected a column with the 784 numbers of each image in a list, found none")
        return ImageRows(file, arrays.choose(images, array, path=shown), count)
    name = None
    if _ending(file) == ".npz":
        with arrays.told(shown, "is no array file"), _opened(file) as stream:
            names = arrays.names_in(stream)
        name = arrays.choose(names, array, path=shown)
    with arrays.told(shown, "is no array file"), arrays.open_numpy(lambda: _opened(file), name) as stream:
        shape, _ = arrays.header(stream)
    if len(shape) < 2 or math.prod(shape[1:]) != SIDE * SIDE:  # noqa: PLR2004 - rows of images
        raise DataError(f"{shown}: expected images of shape (n, 28, 28) or (n, 784), got {shape}")
    return ImageRows(file, name, shape[0])
