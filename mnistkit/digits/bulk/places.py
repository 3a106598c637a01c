"""Files and folders by URL: whatever the file systems of pyarrow and, where it has none, of fsspec reach.

A name shown to people, and written into tables, is a URL without a password and without what follows a ``?``.
"""

from __future__ import annotations

import functools
import re
import secrets
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, MissingExtraError, OutputError, one_line
from mnistkit.core.install import install_hint

if TYPE_CHECKING:
    from collections.abc import Iterator

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # two letters at least: C:// is a drive
_PASSWORD = re.compile(r"(?<=://)[^/@]*:[^/@]*@")


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder on some file system.

    Attributes:
        shown: How messages and tables call it.
        system: A ``pyarrow.fs.FileSystem``.
        path: Where it is in the file system.
    """

    shown: str
    system: Any
    path: str

    def info(self) -> Any:
        """A ``pyarrow.fs.FileInfo``.

        Raises:
            InputError: The file system cannot be asked.
        """
        with _reached(self.shown):
            return self.system.get_file_info(self.path)

    def files(self) -> list[tuple[str, Any]]:
        """The files in this folder and in all folders inside, as names shown and ``FileInfo``, in order.

        Raises:
            InputError: The folder cannot be listed.
        """
        from pyarrow import fs

        with _reached(self.shown):
            found = self.system.get_file_info(fs.FileSelector(self.path, recursive=True))
            named = {one.path: one for one in found if one.type == fs.FileType.File}  # names that are no UTF-8 raise
        start, shown = len(self.path.rstrip("/")), self.shown.rstrip("/")
        return [(shown + path[start:], named[path]) for path in sorted(named)]

    def within(self, name: str) -> Place:
        """The file of this name shown, which begins with this place's."""
        if name == self.shown:
            return self
        return Place(name, self.system, self.path.rstrip("/") + name[len(self.shown.rstrip("/")) :])

    def open(self) -> Any:
        """The file, to be read at any position.

        Raises:
            OSError: It is missing, or cannot be opened.
        """
        return self.system.open_input_file(self.path)


def is_url(name: str) -> bool:
    """Whether a name is a URL, and not a path of this machine."""
    return _URL.match(name) is not None


def show(url: str) -> str:
    """A URL as people may see it: no password, nothing behind a ``?``."""
    return _PASSWORD.sub("", url.partition("?")[0])


def file_name(name: str) -> str:
    """The last part of a URL or path."""
    return Path(show(name) if is_url(name) else name).name


@functools.lru_cache(maxsize=256)
def find(url: str) -> Place:
    """The place that a URL names.

    Raises:
        InputError: No file system takes such a URL.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        from pyarrow import fs
    except ImportError as error:
        raise MissingExtraError(f"{show(url)}: URLs need pyarrow; run {install_hint('parquet')}") from error
    try:
        system, path = fs.FileSystem.from_uri(url)
    except (OSError, ValueError, NotImplementedError) as error:
        system, path = _by_fsspec(url, error)
    return Place(show(url), system, path)


def _by_fsspec(url: str, refused: Exception) -> tuple[Any, str]:
    from pyarrow import fs

    try:
        import fsspec.core

        system, path = fsspec.core.url_to_fs(url)
    except Exception as error:  # each of its file systems raises its own
        reason = one_line(refused if isinstance(error, ModuleNotFoundError) else error, limit=200)
        raise InputError(
            f"{show(url)}: no such file or folder can be reached ({_hidden(reason, url)}); check the URL, and that "
            "pyarrow or an installed package of fsspec knows its kind"
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


@contextmanager
def _reached(shown: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # fsspec's file systems raise their own
        raise InputError(
            f"{shown}: cannot be reached ({one_line(error, limit=200)}); check the address, the network and the "
            "credentials in the environment"
        ) from error


def _hidden(text: str, url: str) -> str:
    return text.replace(url, show(url))


# --- writing ----------------------------------------------------------------------------------------------------------


def check_writable(url: str) -> None:
    """Raise before the work starts if a file at this URL could not be written when it is done.

    Raises:
        OutputError: As for `replacing`.
        InputError: No file system takes such a URL.
    """
    place = find(url)
    probe = _beside(place)
    with _written(place):
        try:
            with place.system.open_output_stream(probe) as stream:
                stream.write(b"")
        finally:
            with suppress(Exception):
                place.system.delete_file(probe)


@contextmanager
def replacing(url: str) -> Iterator[Path]:
    """Yield a local path; on success its content gets the URL at once, on any failure nothing does.

    Raises:
        OutputError: The file system refuses.
    """
    place = find(url)
    with tempfile.TemporaryDirectory(prefix="mnistkit.") as folder:
        local = Path(folder) / file_name(url)
        yield local
        with _written(place):
            beside = _beside(place)
            try:
                with local.open("rb") as source, place.system.open_output_stream(beside) as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)
                place.system.move(beside, place.path)
            except BaseException:
                with suppress(Exception):
                    place.system.delete_file(beside)
                raise


def _beside(place: Place) -> str:
    folder, _, name = place.path.rpartition("/")
    return f"{folder}/.{name}.{secrets.token_hex(4)}" if folder else f".{name}.{secrets.token_hex(4)}"


@contextmanager
def _written(place: Place) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # fsspec's file systems raise their own
        raise OutputError(
            f"cannot write {place.shown}: {one_line(error, limit=200)}; check the address and the credentials in the "
            "environment, or choose another place with --out"
        ) from error
