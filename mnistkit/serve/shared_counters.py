"""Numbers that are cheap to count and easy to add up over processes.

prometheus-client takes a lock and three calls for each number, and an mmap for each of several processes; for answers
that take a tenth of a millisecond that is a tenth of the cost. So a process counts in plain lists, and what it has
counted is written down before anybody is shown it: a number that was seen never shrinks, whichever process dies.
"""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Series = dict[str, list[float]]
    """Values by the series' labels, which a space separates."""

COUNTED = ("requests", "seconds", "rows", "reloads")
PRESENT = ("queue", "in_flight", "connections", "model")
"""Only true of a process that lives."""
_DEAD = "dead.json"


class SharedCounters:
    """What one process has counted; belongs to one thread.

    Args:
        folder: Where the processes of one server leave their numbers for each other; ``None`` for one alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.tables: dict[str, Series] = {name: {} for name in (*COUNTED, *PRESENT)}
        self._folder = folder

    def write(self) -> None:
        """Show the others of the folder what has been counted; a full disk only leaves them with older numbers."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                _write(self._folder, f"{os.getpid()}.json", self.tables)

    def total(self) -> dict[str, Series]:
        """The sum over all processes of the folder."""
        if self._folder is None:
            return self.tables
        self.write()
        own = f"{os.getpid()}.json"
        total: dict[str, Series] = {name: {} for name in self.tables}
        _add(total, self.tables)
        with _locked(self._folder):
            for path in list(self._folder.glob("*.json")):
                if path.name not in {own, _DEAD} and not _lives(int(path.stem)):
                    forget(self._folder, int(path.stem), locked=True)
            for path in self._folder.glob("*.json"):
                if path.name != own:
                    with contextlib.suppress(OSError, json.JSONDecodeError):
                        _add(total, json.loads(path.read_bytes()))
        return total


def forget(folder: Path, process: int, *, locked: bool = False) -> None:
    """Drop what a dead process said of its present; what it counted stays in the sums.

    Args:
        folder: Of the server.
        process: Number of the process.
        locked: Whether the caller holds the folder's lock.
    """
    path, dead = folder / f"{process}.json", folder / _DEAD
    with contextlib.nullcontext() if locked else _locked(folder):
        if not path.exists():
            return
        total: dict[str, Series] = {name: {} for name in COUNTED}
        for part in (path, dead):
            if part.exists():
                _add(total, json.loads(part.read_bytes()))
        with contextlib.suppress(OSError):  # a full disk: tried again when the sum is next asked for
            _write(folder, _DEAD, total)
            path.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _add(total: dict[str, Series], part: dict[str, Series]) -> None:
    for name, series in total.items():
        for labels, values in part.get(name, {}).items():
            so_far = series.get(labels)
            series[labels] = values if so_far is None else [a + b for a, b in zip(so_far, values, strict=True)]


def _write(folder: Path, name: str, tables: dict[str, Series]) -> None:
    made = folder / f"{name}.new"
    made.write_text(json.dumps(tables))
    made.replace(folder / name)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """While a dead process' file moves into the sum, nobody adds up."""
    import fcntl  # where several processes serve; Windows has none

    try:
        lock = (folder / "lock").open("a")
    except OSError:  # no room for a name, no descriptor left: rather unlocked than not at all
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
