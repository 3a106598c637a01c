"""What reading a picture with several digits gives, and what reads single ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mnistkit.digits.candidates import Candidate, candidates_of, combinations
from mnistkit.digits.contract import DIGITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray


class DigitReading(Protocol):
    """What a classifier says of one image, as `mnistkit.digits.classifier.Prediction` does."""

    @property
    def digit(self) -> int:
        """Class number, 0 to 9."""

    @property
    def label(self) -> str:
        """The class' name."""

    @property
    def confidence(self) -> float:
        """Probability of that class, in [0, 1]."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """float32 ``[10]``."""


class DigitClassifier(Protocol):
    """What reads single digits: `mnistkit.Classifier`, or anything with its ``predict``."""

    def predict(self, images: ArrayLike, /) -> Sequence[DigitReading]:
        """Read each of float32 ``[n, 28, 28]`` in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in the picture's own pixels, as a person sees it (EXIF orientation applied)."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Digit:
    """One digit of a number.

    Attributes:
        digit: Class number, 0 to 9.
        label: The class' name.
        confidence: Probability of that class, in [0, 1].
        probabilities: float32 ``[10]``.
        box: Where it stands.
        row: Its row, from 0.
        after_gap: Whether a wide gap or a separator (a dash, a dot) stands before it in its row.
    """

    digit: int
    label: str
    confidence: float
    probabilities: NDArray[np.float32]
    box: Box
    row: int
    after_gap: bool


@dataclass(frozen=True, slots=True)
class Sign:
    """A separator or an operator between digits.

    Attributes:
        text: What it is, such as ``-`` or ``/``.
        box: Where it stands.
        row: Its row, from 0.
        place: How many digits of the row stand before it.
    """

    text: str
    box: Box
    row: int
    place: int


@dataclass(frozen=True, slots=True, eq=False)
class DigitString:
    """What a picture with several digits was read as.

    Attributes:
        digits: Row by row, each from left to right; at least one.
        width: Of the picture, in pixels, upright.
        height: Of the picture.
        labels: Names of the ten classes.
        complete: Probability that nothing was left out that is a digit, in [0, 1].
        signs: What stands between the digits, where it was asked for; in reading order.
    """

    digits: tuple[Digit, ...]
    width: int
    height: int
    labels: tuple[str, ...] = DIGITS
    complete: float = 1.0
    signs: tuple[Sign, ...] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        """The labels of each row with its signs, a space where a gap is wide and no sign stands."""
        return self._rows([digit.label for digit in self.digits])

    @property
    def text(self) -> str:
        """All rows, one a line."""
        return "\n".join(self.rows)

    @property
    def least_confidence(self) -> float:
        """Probability of the least sure digit."""
        return min(digit.confidence for digit in self.digits)

    @property
    def confidence(self) -> float:
        """Probability that the whole number is right: all digits are, taken as independent, and none is missing."""
        return self.complete * math.prod(digit.confidence for digit in self.digits)

    @property
    def row_confidences(self) -> tuple[float, ...]:
        """The same for the digits of each row alone."""
        found = [1.0] * (self.digits[-1].row + 1)
        for digit in self.digits:
            found[digit.row] *= digit.confidence
        return tuple(found)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What the whole number may be: its text and confidence first, then others that are nearly as likely."""
        choices = [candidates_of(digit.probabilities, self.labels) for digit in self.digits]
        found = []
        for changed, confidence in combinations(choices, share=self.complete):
            labels = [options[changed.get(place, 0)].label for place, options in enumerate(choices)]
            found.append(Candidate("\n".join(self._rows(labels)), confidence))
        return tuple(found)

    def _rows(self, labels: Sequence[str]) -> tuple[str, ...]:
        signs: dict[tuple[int, int], str] = {}
        for sign in self.signs:
            key = (sign.row, sign.place)
            signs[key] = signs.get(key, "") + sign.text
        texts = [signs.get((row, 0), "") for row in range(self.digits[-1].row + 1)]
        counts = [0] * len(texts)
        for digit, label in zip(self.digits, labels, strict=True):
            row = digit.row
            before = signs.get((row, counts[row]), "") if counts[row] else ""
            texts[row] += before or (" " if digit.after_gap else "")
            texts[row] += label
            counts[row] += 1
        return tuple(text + (signs.get((row, counts[row]), "")) for row, text in enumerate(texts))
