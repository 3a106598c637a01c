"""Read all digits of a picture with the reader's net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnistkit.digits.contract import DIGITS
from mnistkit.digits.reader.looks import find_digits
from mnistkit.digits.reader.rows import find_rows, wide_gaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.digits.numbers import Box, Digit


def read_with_net(picture: NDArray[np.uint8], size: tuple[int, int]) -> tuple[Digit, ...]:
    """The digits of a decoded picture in reading order; none where none is found.

    Args:
        picture: uint8 ``[rows, columns, channels]``.
        size: The picture's own width and height: it may have been decoded smaller.
    """
    from mnistkit.digits.numbers import Digit

    found, turns = find_digits(picture)
    across, down = size[0] / picture.shape[1], size[1] / picture.shape[0]
    boxes = _turned_back(found.boxes, turns, picture.shape[1], picture.shape[0])
    boxes = boxes * np.array([across, down, across, down])
    digits: list[Digit] = []
    for row, places in enumerate(find_rows(found.boxes)):
        for place, after_gap in zip(places, wide_gaps(found.boxes[places]), strict=True):
            classes = found.classes[place]
            digit = int(classes.argmax())
            probability = float(found.chances[place] * classes[digit])
            digits.append(Digit(digit, DIGITS[digit], probability, classes, _box(boxes[place], size), row, after_gap))
    return tuple(digits)


def _turned_back(boxes: NDArray[np.float32], turns: int, width: int, height: int) -> NDArray[np.float32]:
    """Boxes of the upright picture as they lie on the picture that was given."""
    x, y, wide, high = boxes.T
    if turns == 1:
        x, y, wide, high = y, height - x, high, wide
    elif turns == 2:  # noqa: PLR2004
        x, y = width - x, height - y
    elif turns == 3:  # noqa: PLR2004
        x, y, wide, high = width - y, x, high, wide
    return np.stack([x, y, wide, high], axis=1)


def _box(box: NDArray[np.float32], size: tuple[int, int]) -> Box:
    from mnistkit.digits.numbers import Box

    left, top = (max(int(np.floor(v)), 0) for v in box[:2] - box[2:] / 2)
    right, bottom = (min(int(np.ceil(v)), most) for v, most in zip(box[:2] + box[2:] / 2, size, strict=True))
    return Box(left, top, max(right - left, 1), max(bottom - top, 1))
