"""Write a file completely or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
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
            handle, name = tempfile.mkstemp(
                prefix=f".{target.stem}.", suffix=suffix or target.suffix, dir=target.parent
            )
            os.close(handle)
            temporary = Path(name)
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            # mkstemp makes the file private; the finished one gets what any new file of this user gets.
            temporary.chmod(0o666 & ~_umask())
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
