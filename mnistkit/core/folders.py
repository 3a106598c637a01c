"""Write a folder completely or not at all, and replace only what this program wrote.

A folder has a manifest, ``mnistkit.json``: which command wrote it, and the SHA-256 of each file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.core.errors import OutputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

MANIFEST = "mnistkit.json"


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str], *, writer: str) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; on success it takes its place with a manifest, else it is removed.

    While the new files are written, an older folder stays as it is. It is then replaced by two renames.

    Args:
        path: The final place of the folder. Its parent is created when missing.
        writer: The command that writes, as it stands in the manifest: ``"mnistkit export --hub"``.

    Raises:
        OutputError: `check_replaceable_folder` refuses ``path``, or the disk does.
    """
    target = Path(path)
    check_replaceable_folder(target, writer=writer)
    number = secrets.token_hex(4)
    new, old = (target.with_name(f".{target.name}.{number}.{word}") for word in ("new", "old"))
    try:
        with _writing(target):
            new.mkdir(parents=True)
            yield new
            _write_manifest(new, writer)
            check_replaceable_folder(target, writer=writer)  # somebody may have changed it meanwhile
            if target.exists():
                target.rename(old)
            try:
                new.rename(target)
            except BaseException:
                if old.exists():
                    old.rename(target)
                raise
    finally:
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def check_replaceable_folder(path: str | os.PathLike[str], *, writer: str) -> None:
    """Accept a place where nothing is, an empty folder, and a folder that the same command wrote.

    Raises:
        OutputError: Something else is there: a file, a folder of other files, or one with a file that was changed
            since. The message says what to do.
    """
    target = Path(path)
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputError(f"cannot write {target}: it is no folder; name a new folder")
    found = {file.relative_to(target).as_posix() for file in target.rglob("*") if not file.is_dir()}
    if not found and not any(target.iterdir()):
        return
    written = read_manifest(target, writer=writer)
    other = sorted(found - written.keys() - {MANIFEST})
    if not written or other:
        raise OutputError(f"{target} holds other things ({other[0] if other else 'folders'}); name a new folder")
    changed = [name for name in sorted(written) if name in found and digest(target / name) != written[name]]
    if changed:
        raise OutputError(
            f"{target / changed[0]} was changed since `{writer}` wrote it; move it away, or name a new folder"
        )


def read_manifest(folder: Path, *, writer: str) -> dict[str, str]:
    """SHA-256 by name of the files that a command wrote; empty where it wrote none."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return dict(found["files"]) if found["written_by"] == writer else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_manifest(folder: Path, writer: str) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    content = {"written_by": writer, "files": {file.relative_to(folder).as_posix(): digest(file) for file in files}}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; name another folder, or free it"
        ) from error
