"""Reads a chunk of a source: the same rows, whichever process does it."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mnistkit.core.errors import InputError, PictureError
from mnistkit.digits.bulk import arrays
from mnistkit.digits.bulk.sources import ImageRows, PictureFiles
from mnistkit.digits.candidates import percent
from mnistkit.digits.pictures import read_picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from mnistkit.digits.bulk.table import Row
    from mnistkit.digits.classifier import Classifier


@dataclass(frozen=True, slots=True)
class Job:
    """What is read, and how.

    Attributes:
        source: The pictures or images.
        model: An exported ``.onnx`` file.
        device: As for `Classifier`.
        provider_options: Options of the device's execution provider.
        number: Read all digits of each picture.
        min_confidence: A reading less sure than this is an error.
    """

    source: PictureFiles | ImageRows
    model: Path
    device: str
    provider_options: dict[str, Any]
    number: bool
    min_confidence: float


def digest(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def steps_digest() -> str:
    """The `digest` of the graph that makes a picture look like MNIST: another one reads in another way."""
    return digest(Path(__file__).parents[1] / "assets" / "picture.onnx")


class ChunkReader:
    """Reads chunk after chunk, and decodes the next one while the model reads this one.

    Args:
        job: What is read, and how.
        classifier: The model.
        threads: Pictures that are fetched and decoded at once.
    """

    def __init__(self, job: Job, classifier: Classifier, *, threads: int) -> None:
        self._classifier, self._source = classifier, job.source
        self._number, self._least = job.number, job.min_confidence
        self._is_whole = job.number or classifier.takes_pictures  # each picture is read by itself
        self._stack = ExitStack()
        if isinstance(job.source, ImageRows):
            self._array = self._stack.enter_context(job.source.open())
        else:
            self._pool = ThreadPoolExecutor(threads)
            self._stack.callback(self._pool.shutdown, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, start: int) -> Iterator[list[Row]]:
        """The rows of each chunk from ``start`` on.

        Raises:
            InputError: Rows of an array are no images.
            DataError: The array file is damaged.
        """
        step = self._source.at_once
        ahead: list[tuple[list[str], list[Future[Any]]]] = []
        for first in range(start, self._source.count, step):
            if isinstance(self._source, ImageRows):
                yield self.array_rows(first, min(step, self._source.count - first))
                continue
            ahead.append(self._begin(list(self._source.paths[first : first + step])))
            if len(ahead) > 1:
                yield self._end(*ahead.pop(0))
        if ahead:
            yield self._end(*ahead.pop())

    def array_rows(self, start: int, count: int) -> list[Row]:
        """The rows of images of an array; errors as for `read`."""
        assert isinstance(self._source, ImageRows)
        with arrays.told(self._source.path, "is damaged"):
            images = self._array.read(start, count)
        try:
            answers = self._answers(images)
        except InputError as error:
            where = f"rows {start} to {start + len(images) - 1}"
            raise InputError(f"{self._source.path}: {where}: {str(error).removeprefix('images: ')}") from error
        return [self._row(str(start + place), *answer) for place, answer in enumerate(answers)]

    def picture_rows(self, paths: list[str]) -> list[Row]:
        """The rows of some of the pictures."""
        return self._end(*self._begin(paths))

    def _begin(self, paths: list[str]) -> tuple[list[str], list[Future[Any]]]:
        return paths, [self._pool.submit(self._one, path) for path in paths]

    def _end(self, paths: list[str], futures: list[Future[Any]]) -> list[Row]:
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

    def _one(self, path: str) -> NDArray[np.float32] | tuple[str, float] | PictureError:
        """What one picture gives: the image for the model, or the reading where each picture is read by itself."""
        assert isinstance(self._source, PictureFiles)
        content: str | bytes = b""
        try:
            content = self._source.content(path)
            if not self._is_whole:
                return read_picture(content)
            if not self._number:
                found = self._classifier.predict_picture(content)
                return found.label, round(found.confidence, 6)
            digits = self._classifier.read_digits(content)
        except PictureError as error:
            # what has no path is called "picture"
            return error if isinstance(content, str) else _named(error, path)
        return digits.text.replace("\n", " / "), round(digits.confidence, 6)

    def _row(self, name: str, label: str, confidence: float) -> Row:
        if confidence < self._least:
            return name, None, confidence, f"unclear, {label} ({percent(confidence)}); asked for {percent(self._least)}"
        return name, label, confidence, None


def _named(error: PictureError, name: str) -> PictureError:
    text = str(error)
    return error if text.startswith(name) else type(error)(f"{name}: {text.removeprefix('picture: ')}")
