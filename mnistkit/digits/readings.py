"""Read digits from picture files: ``python -m mnistkit.predict``."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import MnistkitError, PictureError
from mnistkit.digits.contract import DIGITS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from mnistkit.digits.classifier import Classifier, Prediction
    from mnistkit.digits.digit_string import DigitString


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one picture was read as.

    Attributes:
        source: The picture, as it was named.
        prediction: The digit, or ``None`` when there is an error.
        error: Why there is no digit, or ``None``.
        image28: What the picture was made into, float32 ``[28, 28]``, or ``None`` when it cannot be read.
        labels: Names of the ten classes.
    """

    source: str
    prediction: Prediction | None
    error: MnistkitError | None
    image28: NDArray[np.float32] | None = None
    labels: tuple[str, ...] = DIGITS

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
        """One line: name, digit, confidence, and the runner-up when it is close."""
        if self.prediction is None:
            return str(self.error)
        line = f"{self.source}  {self.prediction.label}  ({_percent(self.prediction.confidence)})"
        second = self.runner_up
        if second is not None:
            line += f"  or {self.labels[second]} ({_percent(float(self.prediction.probabilities[second]))})"
        return line

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints for this picture."""
        found = self.prediction
        if found is None:
            return {"picture": self.source, "error": None if self.error is None else str(self.error)}
        return {
            "picture": self.source,
            "digit": found.digit,
            "label": found.label,
            "confidence": found.confidence,
            "probabilities": found.probabilities.tolist(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class NumberReading:
    """What one picture with several digits was read as.

    Attributes:
        source: The picture, as it was named.
        number: The digits, or ``None`` when there is an error.
        error: Why there are none, or ``None``.
    """

    source: str
    number: DigitString | None
    error: MnistkitError | None

    def as_text(self) -> str:
        """One line for each row: name, number, and the confidence in its least sure digit."""
        if self.number is None:
            return str(self.error)
        lines = []
        for number, row in enumerate(self.number.rows):
            least = min(digit.confidence for digit in self.number.digits if digit.row == number)
            lines.append(f"{self.source}  {row}  (least sure digit {_percent(least)})")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints for this picture."""
        if self.number is None:
            return {"picture": self.source, "error": None if self.error is None else str(self.error)}
        return {
            "picture": self.source,
            "width": self.number.width,
            "height": self.number.height,
            "text": self.number.text,
            "rows": list(self.number.rows),
            "confidence": self.number.confidence,
            "digits": [
                {
                    "digit": digit.digit,
                    "label": digit.label,
                    "confidence": digit.confidence,
                    "row": digit.row,
                    "box": asdict(digit.box),
                }
                for digit in self.number.digits
            ],
        }


def read_files(
    classifier: Classifier, sources: Iterable[str | os.PathLike[str]], *, min_confidence: float = 0.0
) -> Iterator[Reading]:
    """Read pictures one by one; one that cannot be read does not stop the others.

    Args:
        classifier: Who reads.
        sources: Paths of picture files.
        min_confidence: A reading less sure than this is an error: "cannot tell".

    Yields:
        One reading for each source, in order.
    """
    for source in sources:
        try:
            prediction, image28 = classifier.see_picture(source)
        except PictureError as error:
            yield Reading(str(source), None, error)
            continue
        if prediction.confidence < min_confidence:
            doubt = _doubt(source, prediction.label, prediction.confidence, min_confidence)
            yield Reading(str(source), None, doubt, image28)
        else:
            yield Reading(str(source), prediction, None, image28, classifier.labels)


def read_numbers(
    classifier: Classifier, sources: Iterable[str | os.PathLike[str]], *, min_confidence: float = 0.0
) -> Iterator[NumberReading]:
    """As `read_files`, for pictures with several digits; the least sure digit must reach ``min_confidence``."""
    from mnistkit.digits.numbers import read_digits

    for source in sources:
        try:
            number = read_digits(classifier, source)
        except PictureError as error:
            yield NumberReading(str(source), None, error)
            continue
        least = number.least_confidence
        if least < min_confidence:
            guess = number.text.replace("\n", " / ")
            yield NumberReading(str(source), None, _doubt(source, guess, least, min_confidence))
        else:
            yield NumberReading(str(source), number, None)


def _doubt(source: str | os.PathLike[str], guess: str, confidence: float, asked: float) -> PictureError:
    return PictureError(f"{source}: cannot tell (best guess {guess} with {confidence:.1%}, asked for {asked:.1%})")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
