"""Read digits from picture files: ``python -m mnistkit.predict``."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import MnistkitError, NoDigitError, PictureError, UnclearError
from mnistkit.digits.candidates import percent, told
from mnistkit.digits.contract import DIGITS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from mnistkit.digits.candidates import Candidate
    from mnistkit.digits.classifier import Classifier, Prediction
    from mnistkit.digits.digit_string import DigitString


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one picture was read as.

    Attributes:
        source: The picture, as it was named.
        prediction: The digit, or ``None`` when there is an error or a ``number``.
        error: Why there is no answer, or ``None``; an `UnclearError` where it is less sure than asked for.
        image28: What the picture was made into, float32 ``[28, 28]``, or ``None`` when it cannot be read.
        labels: Names of the ten classes.
        number: All digits, where the picture has several.
        candidates: What it may be, the likeliest first; nothing where it cannot be read.
    """

    source: str
    prediction: Prediction | None
    error: MnistkitError | None
    image28: NDArray[np.float32] | None = None
    labels: tuple[str, ...] = DIGITS
    number: DigitString | None = None
    candidates: tuple[Candidate, ...] = ()

    @property
    def seen(self) -> NDArray[np.float32] | None:
        """The earlier name of `image28`."""
        warnings.warn("Reading.seen is now called image28", DeprecationWarning, stacklevel=2)
        return self.image28

    @property
    def runner_up(self) -> int | None:
        """The second digit when it is close: at least half as probable as the first."""
        if self.prediction is None:
            return None
        second, first = self.prediction.probabilities.argsort()[-2:]
        close = self.prediction.probabilities[second] >= self.prediction.probabilities[first] / 2
        return int(second) if close else None

    def as_text(self) -> str:
        """One line: name, digit, confidence, and the runner-up when it is close; of several digits one line a row."""
        if self.number is not None:
            return _rows_as_text(self.source, self.number)
        if self.prediction is None:
            return str(self.error)
        line = f"{self.source}  {self.prediction.label}  ({percent(self.prediction.confidence)})"
        second = self.runner_up
        if second is not None:
            line += f"  or {self.labels[second]} ({percent(float(self.prediction.probabilities[second]))})"
        return line

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints for this picture; of several digits ``number`` has them, and ``digit`` is null."""
        found, number = self.prediction, self.number
        if found is None and number is None:
            return _error_as_json(self)
        return {
            "picture": self.source,
            "digit": found and found.digit,
            "label": found and found.label,
            "confidence": number.confidence if number else found and found.confidence,
            "probabilities": found and found.probabilities.tolist(),
            "unclear": False,
            "candidates": [one.as_json() for one in self.candidates],
            "number": number and number_as_json(number),
        }


@dataclass(frozen=True, slots=True, eq=False)
class NumberReading:
    """What one picture with several digits was read as.

    Attributes:
        source: The picture, as it was named.
        number: The digits, or ``None`` when there is an error.
        error: Why there are none, or ``None``; an `UnclearError` where the number is less sure than asked for.
        candidates: What the number may be, the likeliest first; nothing where it cannot be read.
    """

    source: str
    number: DigitString | None
    error: MnistkitError | None
    candidates: tuple[Candidate, ...] = ()

    def as_text(self) -> str:
        """One line for each row: name, digits, and how likely it is that all of them are right."""
        return str(self.error) if self.number is None else _rows_as_text(self.source, self.number)

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints for this picture."""
        if self.number is None:
            return _error_as_json(self)
        told_of = {"unclear": False, "candidates": [one.as_json() for one in self.candidates]}
        return {"picture": self.source, **number_as_json(self.number), **told_of}


def number_as_json(number: DigitString) -> dict[str, Any]:
    """All digits of a picture with their places, as ``--json`` and the server give them."""
    return {
        "text": number.text,
        "rows": list(number.rows),
        "confidence": number.confidence,
        "row_confidences": list(number.row_confidences),
        "width": number.width,
        "height": number.height,
        "digits": [
            {
                "digit": digit.digit,
                "label": digit.label,
                "confidence": digit.confidence,
                "row": digit.row,
                "after_gap": digit.after_gap,
                "box": asdict(digit.box),
            }
            for digit in number.digits
        ],
        "signs": [
            {"text": sign.text, "row": sign.row, "place": sign.place, "box": asdict(sign.box)} for sign in number.signs
        ],
    }


def read_files(
    classifier: Classifier, sources: Iterable[str | os.PathLike[str]], *, min_confidence: float = 0.0
) -> Iterator[Reading]:
    """Read pictures one by one; one that cannot be read does not stop the others.

    Where a picture has several digits, all of them are read.

    Args:
        classifier: Who reads.
        sources: Paths of picture files.
        min_confidence: A reading less sure than this is an `UnclearError`.

    Yields:
        One reading for each source, in order.
    """
    for source in sources:
        try:
            prediction, image28, number = read_one_or_several(classifier, source)
        except PictureError as error:
            yield Reading(str(source), None, error)
            continue
        answer = number or prediction
        doubt = doubt_of(source, answer, min_confidence)
        kept = (None, None) if doubt else (None, number) if number else (prediction, None)
        yield Reading(str(source), kept[0], doubt, image28, classifier.labels, kept[1], answer.candidates)


def read_one_or_several(
    classifier: Classifier, source: str | os.PathLike[str]
) -> tuple[Prediction, NDArray[np.float32], DigitString | None]:
    """The digit of a picture, the 28x28 that was seen, and all digits where there are several.

    Raises:
        PictureError: The picture cannot be read.
    """
    from mnistkit.digits.pictures import decode_sized, name_of
    from mnistkit.digits.several import read_several

    picture, size = decode_sized(source)
    name = name_of(source)
    try:
        prediction, image28 = classifier.see_picture(picture)
    except NoDigitError as error:
        raise NoDigitError(f"{name}: {str(error).removeprefix('picture: ')}") from None
    return prediction, image28, read_several(classifier, picture, size, name=name)


def read_numbers(
    classifier: Classifier,
    sources: Iterable[str | os.PathLike[str]],
    *,
    min_confidence: float = 0.0,
    signs: bool = False,
) -> Iterator[NumberReading]:
    """As `read_files`, for pictures with several digits.

    Args:
        classifier: Who reads.
        sources: Paths of picture files.
        min_confidence: A number whose digits are less likely all right is an `UnclearError`.
        signs: Keep separators and operators in the text.

    Yields:
        One reading for each source, in order.
    """
    from mnistkit.digits.numbers import read_digits

    for source in sources:
        try:
            number = read_digits(classifier, source, signs=signs)
        except PictureError as error:
            yield NumberReading(str(source), None, error)
            continue
        doubt = doubt_of(source, number, min_confidence)
        yield NumberReading(str(source), None if doubt else number, doubt, number.candidates)


def doubt_of(
    source: str | os.PathLike[str], answer: Prediction | DigitString, min_confidence: float
) -> UnclearError | None:
    """The error of an answer that is less sure than asked for."""
    if answer.confidence >= min_confidence:
        return None
    return UnclearError(f"{source}: unclear, {told(answer.candidates)}; asked for {percent(min_confidence)}")


def _rows_as_text(source: str, number: DigitString) -> str:
    rows = zip(number.rows, number.row_confidences, strict=True)
    lines = [f"{source}  {row}  ({percent(confidence)})" for row, confidence in rows]
    second = number.candidates[1:2]
    if second and second[0].confidence >= number.confidence / 2:
        lines[-1] += f"  or {second[0]}"
    return "\n".join(lines)


def _error_as_json(reading: Reading | NumberReading) -> dict[str, Any]:
    found: dict[str, Any] = {"picture": reading.source, "error": None if reading.error is None else str(reading.error)}
    if isinstance(reading.error, UnclearError):
        found |= {"unclear": True, "candidates": [one.as_json() for one in reading.candidates]}
    return found
