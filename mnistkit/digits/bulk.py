"""Read many pictures, or a large array of images, into one table.

What has been read is kept beside the table, in ``TABLE.part``, until the table is whole. The same call after a crash or
a Ctrl-C goes on from there, and ends with the same table.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mnistkit.core.errors import InputError, OutputError, PictureError
from mnistkit.core.files import check_writable, replacing, writing
from mnistkit.core.runtime import usable_cpus
from mnistkit.digits.bulk_sources import ImageRows, PictureFiles, find_source, pyarrow
from mnistkit.digits.candidates import percent
from mnistkit.digits.classifier import Classifier, default_model
from mnistkit.digits.pictures import read_picture

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

ENDINGS = (".csv", ".jsonl", ".parquet")
_COLUMNS = ("source", "label", "confidence", "error")
_FORMAT = 1  # of the part; another one is not gone on with
_END_OF_CHUNK = b"\n"
_ERRORS_TOLD = 5
_ROWS_IN_A_GROUP = 65536

Row = tuple[str, str | None, float | None, str | None]
"""Where from, what was read, how sure, and why nothing was read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: Pictures read or found unreadable, those of earlier runs included.
        before: Those of earlier runs.
        count: All pictures.
        failed: Those that could not be read.
    """

    done: int
    before: int
    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What `read_in_bulk` did.

    Attributes:
        path: The table.
        count: Its rows.
        failed: Rows of pictures that could not be read.
        before: Rows that an earlier, interrupted run had read.
        errors: The first few of the reasons.
    """

    path: Path
    count: int
    failed: int
    before: int
    errors: tuple[str, ...]


def read_in_bulk(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    provider_options: Mapping[str, Any] | None = None,
    array: str | None = None,
    number: bool = False,
    min_confidence: float = 0.0,
    progress: Callable[[Progress], None] | None = None,
) -> BulkReport:
    """Read pictures into a table with the columns ``source``, ``label``, ``confidence`` and ``error``.

    Memory does not grow with their number. A picture that cannot be read has its reason in ``error`` and does not stop
    the others. Rows are in the order of the pictures; those of an array have their place as ``source``.

    Args:
        sources: Picture files, folders, patterns (``scans/**/*.png``), or one ``.npz``, ``.npy`` or ``.parquet`` file
            of images as `Classifier.probabilities` takes them.
        out: The table, ``.csv``, ``.jsonl`` or ``.parquet``; it appears when it is whole.
        model: An exported ``.onnx`` file; by default `default_model`.
        device: As for `Classifier`.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.
        array: Which array of an ``.npz``, or column of a ``.parquet``, has the images.
        number: Read all digits of each picture; the label is then their text, and the confidence is
            that of the whole number.
        min_confidence: A reading less sure than this is an error.
        progress: Called now and then.

    Raises:
        InputError: Nothing to read, an unknown ending, or an array that has no such images.
        DataError: An array file is damaged.
        OutputError: The table cannot be written, or another process writes it.
        ModelFileError: The model cannot be read.
        MissingExtraError: ``.parquet`` needs pyarrow.
    """
    target = Path(out)
    if target.suffix.lower() not in ENDINGS:
        raise InputError(f"{target}: the table is {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}; name it so")
    if target.suffix.lower() == ".parquet":
        pyarrow()
    check_writable(target)
    source = find_source(sources, array=array)
    if number and isinstance(source, ImageRows):
        raise InputError(f"{source.path}: --number reads pictures of any size, and these are images of one digit")
    file = Path(model if model is not None else default_model())
    classifier = Classifier(file, device=device, provider_options=provider_options)
    reader = _Reader(classifier, number=number, min_confidence=min_confidence)
    job = {
        "format": _FORMAT,
        "model": _digest(file),
        "steps": _digest(Path(__file__).parent / "assets" / "picture.onnx"),
        "source": source.identity(),
        "number": number,
        "min_confidence": min_confidence,
    }
    with _Part(target, job) as part:
        for rows in reader.read(source, part.done):
            part.add(rows)
            if progress is not None:
                progress(Progress(part.done, part.before, source.count, part.failed))
        part.finish(target)
        return BulkReport(target, part.done, part.failed, part.before, tuple(part.errors))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class _Reader:
    """Reads chunk after chunk; the next one is decoded by all cores while the model reads this one."""

    def __init__(self, classifier: Classifier, *, number: bool, min_confidence: float) -> None:
        self._classifier, self._number, self._least = classifier, number, min_confidence
        self._is_whole = number or classifier.takes_pictures  # each picture is read by itself

    def read(self, source: PictureFiles | ImageRows, start: int) -> Iterator[list[Row]]:
        """The rows of each chunk from ``start`` on."""
        if isinstance(source, ImageRows):
            for images in source.chunks(start):
                yield self._rows_of_array(source, images, start)
                start += len(images)
            return
        with ThreadPoolExecutor(usable_cpus()) as pool:
            waiting: deque[tuple[list[str], list[Future[Any]]]] = deque()
            try:
                for paths in source.chunks(start):
                    work = self._one if self._is_whole else _picture
                    waiting.append((paths, [pool.submit(work, path) for path in paths]))
                    if len(waiting) > 1:
                        yield self._rows_of_files(*waiting.popleft())
                while waiting:
                    yield self._rows_of_files(*waiting.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _rows_of_array(self, source: ImageRows, images: NDArray[Any], start: int) -> list[Row]:
        try:
            answers = self._answers(images)
        except InputError as error:
            where = f"rows {start} to {start + len(images) - 1}"
            raise InputError(f"{source.path}: {where}: {str(error).removeprefix('images: ')}") from error
        return [self._row(str(start + place), *answer) for place, answer in enumerate(answers)]

    def _rows_of_files(self, paths: list[str], futures: list[Future[Any]]) -> list[Row]:
        found = [future.result() for future in futures]
        read = [one for one in found if not isinstance(one, PictureError)]
        answers = iter(read if self._is_whole or not read else self._answers(np.stack(read)))
        return [
            (path, None, None, str(one)) if isinstance(one, PictureError) else self._row(path, *next(answers))
            for path, one in zip(paths, found, strict=True)
        ]

    def _answers(self, images: NDArray[Any]) -> list[tuple[str, float]]:
        probabilities = self._classifier.probabilities(images)
        digits = probabilities.argmax(axis=1)
        sure = probabilities[np.arange(len(digits)), digits].astype(np.float64).round(6)
        labels = self._classifier.labels
        return [(labels[digit], confidence) for digit, confidence in zip(digits.tolist(), sure.tolist(), strict=True)]

    def _one(self, path: str) -> tuple[str, float] | PictureError:
        try:
            if not self._number:
                found = self._classifier.predict_picture(path)
                return found.label, round(found.confidence, 6)
            digits = self._classifier.read_digits(path)
        except PictureError as error:
            return error
        return digits.text.replace("\n", " / "), round(digits.confidence, 6)

    def _row(self, name: str, label: str, confidence: float) -> Row:
        if confidence < self._least:
            return name, None, confidence, f"unclear, {label} ({percent(confidence)}); asked for {percent(self._least)}"
        return name, label, confidence, None


def _picture(path: str) -> NDArray[np.float32] | PictureError:
    try:
        return read_picture(path)
    except PictureError as error:
        return error


class _Part:
    """The rows so far, one JSON list a line, in chunks that end with a line of their own.

    Args:
        target: The table.
        job: What the rows are of; rows of another job are thrown away.
    """

    def __init__(self, target: Path, job: dict[str, Any]) -> None:
        self.path = target.with_name(f"{target.name}.part")
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
            self.errors.append(reason if source in reason else f"{source}: {reason}")

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

    def finish(self, target: Path) -> None:
        """Make the table of the rows, and remove them."""
        write = {".csv": _write_csv, ".jsonl": _write_lines, ".parquet": _write_parquet}[target.suffix.lower()]
        with replacing(target) as temporary:
            write(temporary, self._rows())
        self.path.unlink(missing_ok=True)

    def _rows(self) -> Iterator[Row]:
        self._stream.seek(len(self._head))
        return (tuple(json.loads(line)) for line in self._stream if line != _END_OF_CHUNK)


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
