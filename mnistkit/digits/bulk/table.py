"""The table that a run writes, and the rows that are kept beside it until it is whole."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mnistkit.core.errors import OutputError
from mnistkit.core.files import check_writable, replacing, writing
from mnistkit.digits.bulk import places
from mnistkit.digits.bulk.arrays import pyarrow

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDINGS = (".csv", ".jsonl", ".parquet")
_COLUMNS = ("source", "label", "confidence", "error")
_END_OF_CHUNK = b"\n"
_ERRORS_TOLD = 5
_ROWS_IN_A_GROUP = 65536

Row = tuple[str, str | None, float | None, str | None]
"""Where from, what was read, how sure, and why nothing was read."""


class Part:
    """The rows so far, one JSON list a line, in chunks that end with a line of their own.

    Args:
        target: The table. The rows of one at a URL are kept in the current folder.
        job: What the rows are of; rows of another job are thrown away.
    """

    def __init__(self, target: str, job: dict[str, Any]) -> None:
        self._target = target
        table = Path(places.file_name(target)) if places.is_url(target) else Path(target)
        self.path = table.with_name(f"{table.name}.part")
        self._head = (json.dumps(job, sort_keys=True) + "\n").encode()
        self.done = self.failed = self.before = 0
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        with writing(self.path):
            self._stream = self.path.open("a+b")
            self._lock()
            self._stream.seek(0)
            end = self._count() if self._stream.readline() == self._head else 0
            self._stream.truncate(end)
            self._stream.seek(end)
            if not end:
                self._stream.write(self._head)
                self._stream.flush()
        self.before = self.done
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        if not self.done:
            self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows refuses to open what another process has open for writing
            return
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._stream.close()
            raise OutputError(f"{self.path}: another process writes this table; wait for it, or name another") from None

    def _count(self) -> int:
        """Count the rows of whole chunks; return where they end."""
        end = self._stream.tell()
        lines: list[bytes] = []
        for line in self._stream:
            lines.append(line)
            if line == _END_OF_CHUNK:
                end += sum(len(one) for one in lines)
                self._note(lines[:-1])
                lines = []
        return end

    def _note(self, lines: list[bytes]) -> None:
        self.done += len(lines)
        for line in lines:
            if not line.endswith(b"null]\n"):
                self._fail(json.loads(line))

    def _fail(self, row: Row) -> None:
        self.failed += 1
        if len(self.errors) < _ERRORS_TOLD:
            source, reason = row[0], str(row[3])
            self.errors.append(reason if reason.startswith(f"{source}:") else f"{source}: {reason}")

    def add(self, rows: list[Row]) -> None:
        """Keep the rows of a chunk."""
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        with writing(self.path):
            self._stream.write(text.encode() + _END_OF_CHUNK)
            self._stream.flush()
        self.done += len(rows)
        for row in rows:
            if row[3] is not None:
                self._fail(row)

    def finish(self) -> None:
        """Make the table of the rows, and remove them."""
        write = _WRITERS[ending(self._target)]
        replaced = places.replacing if places.is_url(self._target) else replacing
        with replaced(self._target) as temporary:
            write(temporary, self._rows())
        self.path.unlink(missing_ok=True)

    def _rows(self) -> Iterator[Row]:
        self._stream.seek(len(self._head))
        return (tuple(json.loads(line)) for line in self._stream if line != _END_OF_CHUNK)


def check_target(target: str) -> None:
    """Raise before the work starts if the table could not be written when it is done.

    Raises:
        OutputError: The folder cannot be created or written, or the target is a folder.
    """
    if places.is_url(target):
        places.check_writable(target)
    else:
        check_writable(target)


def ending(target: str) -> str:
    """How the name of a table ends, in small letters; `ENDINGS` are the ones that are written."""
    return Path(places.file_name(target)).suffix.lower()


def _write_csv(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(rows)


def _write_lines(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(dict(zip(_COLUMNS, row, strict=True)))}\n" for row in rows)


def _write_parquet(path: Path, rows: Iterator[Row]) -> None:
    arrow = pyarrow()
    kinds = [arrow.string(), arrow.string(), arrow.float64(), arrow.string()]
    schema = arrow.schema(list(zip(_COLUMNS, kinds, strict=True)))
    with arrow.parquet.ParquetWriter(path, schema) as table:
        while group := list(itertools.islice(rows, _ROWS_IN_A_GROUP)):
            columns = [[_printable(value) for value in column] for column in zip(*group, strict=True)]
            table.write_table(arrow.table(columns, schema=schema))


def _printable(value: Any) -> Any:
    """Text without the lone surrogates that stand for bytes of a name which is not UTF-8; Parquet has none."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else value


_WRITERS = {".csv": _write_csv, ".jsonl": _write_lines, ".parquet": _write_parquet}
