"""Write a file completely or not at all, and say what a file is that should have been another."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, suffix: str | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on any failure it is removed.

    Args:
        path: The final place of the file. Its folder is created when missing.
        suffix: Ending of the temporary name, for writers that look at it; the ending of ``path`` by default.

    Raises:
        OutputError: The folder cannot be created or written, the disk is full, or ``path`` is a folder.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        with writing(target):
            check_writable(target)
            temporary = _new_file(target.parent, f".{target.stem}.", suffix or target.suffix)
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.replace(target)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say of what the system refuses within the block that the target cannot be written.

    Raises:
        OutputError: In the place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; choose another place with --out, or free it"
        ) from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise before the work starts if ``path`` could not be written when it is done.

    Raises:
        OutputError: The folder cannot be created or written, or ``path`` is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"cannot write {target}: it is a folder; name a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write into {target.parent}: {error.strerror or error}; choose another place with --out"
        ) from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, completely or not at all.

    Raises:
        OutputError: As for `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _new_file(folder: Path, prefix: str, suffix: str) -> Path:
    """An empty file under a new name.

    The kernel gives it the permissions of any new file of this user. `tempfile.mkstemp` would make it private, and the
    process' umask cannot be read without changing it for all threads.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}{suffix}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, flags, 0o666))
            return path


@dataclass(frozen=True, slots=True)
class FileKind:
    """What the first bytes of a file say about it.

    Attributes:
        name: With its article: ``"a Git LFS pointer"``.
        cure: What to do when another kind of file was expected; empty where nothing general helps.
    """

    name: str
    cure: str = ""


def sniff_kind(head: bytes) -> FileKind | None:
    """What a file is that turned out not to be what was expected; ``None`` where its first bytes do not say.

    Args:
        head: The first bytes of the file, 512 or more where it has them; empty for an empty file.
    """
    if not head:
        return FileKind("an empty file", "get the file again")
    text = head.lstrip().lower()
    return next((kind for starts, kind in _TEXTS if text.startswith(starts)), None) or next(
        (kind for starts, kind in _BINARIES if head.startswith(starts)), None
    )


_TEXTS = (
    ((b"version https://git-lfs",), FileKind("a Git LFS pointer", "run `git lfs pull`")),
    ((b"<!doctype html", b"<html", b"<head"), FileKind("a web page", "download the file itself")),
    ((b"<svg",), FileKind("an SVG drawing", "save it as PNG")),
    ((b"<?xml",), FileKind("an XML document")),
    ((b"%pdf",), FileKind("a PDF document", "save the page as PNG")),
)
_BINARIES = (
    ((b"\x89HDF\r\n\x1a\n",), FileKind("an HDF5 file")),
    ((b"PK\x03\x04",), FileKind("a zip archive")),
    ((b"\x1f\x8b",), FileKind("gzip data")),
    ((b"\x93NUMPY",), FileKind("a single .npy array")),
)
