"""Whether a picture has several digits where one was asked for: then all of them are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mnistkit.core.errors import NoDigitError, PictureError
from mnistkit.digits.numbers import can_use_net, read_decoded
from mnistkit.digits.pictures import WORKING_SIDE, find_foreground
from mnistkit.digits.reader.looks import smaller
from mnistkit.digits.segmentation import TooManyComponentsError, find_components

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnistkit.digits.digit_string import DigitClassifier, DigitString

    Picture = NDArray[np.uint8]

_SMALL: Final = 0.35  # of the highest mark: such marks are parts of a digit, or dust
_WIDE: Final = 1.15  # times as wide as high: two digits may touch
_LIKELY: Final = 0.7  # marks that are read with less are parts of one digit, or no digits


def read_several(
    classifier: DigitClassifier, picture: Picture, size: tuple[int, int], *, name: str = "picture"
) -> DigitString | None:
    """All digits of a picture that has more than one, or ``None`` where it has one.

    One digit in two strokes may look like two: both are then unlike any digit, and it stays one.

    Args:
        classifier: What reads the single digits.
        picture: uint8 ``[rows, columns, channels]``, decoded.
        size: The picture's own width and height.
        name: How error messages call the picture.

    Raises:
        NoDigitError: It has several marks, and none of them looks like a digit.
    """
    if not (can_use_net(classifier) and has_several_marks(picture)):
        return None
    try:
        number = read_decoded(classifier, picture, size, name=name)
    except NoDigitError:
        raise
    except PictureError:  # more digits than can be told; the one reading says how little it knows
        return None
    return number if len(number.digits) > 1 and number.least_confidence > _LIKELY else None


def has_several_marks(picture: Picture) -> bool:
    """Whether there may be several digits: separate ink, or ink that is wider than a digit. Quick: nothing is read."""
    try:
        marks = find_components(*find_foreground(smaller(picture), side=WORKING_SIDE))
    except NoDigitError:
        return False
    except TooManyComponentsError:
        return True
    highest = max((mark.height for mark in marks), default=0)
    large = [mark for mark in marks if mark.height >= _SMALL * highest]
    return len(large) > 1 or any(mark.width > _WIDE * mark.height for mark in large)
