"""Write a folder completely or not at all, and never over what somebody else put there or changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.core.errors import OutputError
from mnistkit.core.files import check_writable, writing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

LIST = "mnistkit-folder.json"
"""Kind of a folder that mnistkit wrote, and SHA-256 of each file in it; what is not in it is somebody else's."""
_SHOWN = 3  # names in an error


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str], *, kind: str, listing: str = LIST) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; on success it takes its place with a `LIST`, else it is removed.

    While the new files are written, an older folder stays as it is. It is then replaced by two renames.

    Args:
        path: The final place of the folder. Its parent is created when missing.
        kind: What the folder is, as `LIST` says it.
        listing: Another name for the `LIST`, where a reader of the folder would trip over one.

    Raises:
        OutputError: `check_folder` refuses ``path``, or the disk does.
    """
    target = Path(path)
    check_folder(target, kind=kind, listing=listing)
    number = secrets.token_hex(4)
    new, old = (target.with_name(f".{target.name}.{number}.{word}") for word in ("new", "old"))
    try:
        with writing(target):
            new.mkdir(parents=True)
            yield new
            _write_list(new, kind, listing)
            check_folder(target, kind=kind, listing=listing)  # somebody may have changed it meanwhile
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


def check_folder(path: str | os.PathLike[str], *, kind: str, listing: str = LIST) -> None:
    """Accept a place where nothing is, an empty folder, and a folder of the same kind as it was written.

    Raises:
        OutputError: Something else is there: a file, a folder of other files, or one with a file that was changed
            since. The message says what to do.
    """
    target = Path(path)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"cannot write the folder {target}: there is a file or link of this name; name another")
    check_writable(target / listing if target.is_dir() else target)
    if not target.is_dir():
        return
    if target.resolve() == Path.cwd():
        raise OutputError(f"cannot write the folder {target}: it is the current folder; name one inside it")
    there = {file.relative_to(target).as_posix() for file in target.rglob("*") if not file.is_dir()}
    written = read_list(target, kind=kind, listing=listing)
    others = sorted(there - written.keys() - ({listing} if written else set()))
    if others:
        shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        raise OutputError(f"{target} holds files that this command did not write ({shown}); name a new or empty folder")
    changed = [name for name in sorted(there & written.keys()) if digest(target / name) != written[name]]
    if changed:
        raise OutputError(f"{target / changed[0]} was changed since it was written; move it away, or name a new folder")


def read_list(folder: Path, *, kind: str, listing: str = LIST) -> dict[str, str]:
    """SHA-256 by name of the files that were written into a folder of this kind; empty where it is none."""
    try:
        found = json.loads((folder / listing).read_text(encoding="utf-8"))
        return dict(found["files"]) if found["kind"] == kind else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_list(folder: Path, kind: str, listing: str) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    content = {"kind": kind, "files": {file.relative_to(folder).as_posix(): digest(file) for file in files}}
    (folder / listing).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
