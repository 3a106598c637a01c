"""Arrays that a classifier takes as they are: seen in one look, where a call takes microseconds.

`mnistkit.digits.classifier.as_images` checks step by step, with an error for everything. That takes longer than a small
model runs. What is surely right is recognized here; all else goes there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.digits.contract import SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIXELS = SIDE * SIDE
_FLOAT, _BYTE, _BITS = np.dtype(np.float32), np.dtype(np.uint8), np.uint32
_BITS_OF_ONE = int(np.float32(1).view(np.uint32))
_WHITE = np.array(255, np.float32)  # an array: NumPy is slower to divide by a number
_BRIGHT = 0.5


def plain_rows(images: NDArray[Any], *, most: int) -> NDArray[np.float32] | None:
    """Rows of [0, 1] from float32 ``[n, 784]`` or uint8 ``[n, 28, 28]`` that are surely right; None for all others.

    Surely right is less than right: -0.0 is not, nor is what may be dark ink on light paper.

    Args:
        images: Any array.
        most: The largest n.
    """
    shape = images.shape
    if images.dtype == _FLOAT:
        if len(shape) != 2 or shape[1] != _PIXELS or not 0 < shape[0] <= most or not images.flags.c_contiguous:  # noqa: PLR2004
            return None
        # The bits of floats in [0, 1] are in the order of the numbers; negative numbers and NaN have larger ones.
        # The place of the largest is found faster than the largest itself.
        bits = images.view(_BITS)
        if bits.item(bits.argmax()) > _BITS_OF_ONE:
            return None
        rows = images
    elif images.dtype == _BYTE:
        if len(shape) != 3 or shape[1] != SIDE or shape[2] != SIDE or not 0 < shape[0] <= most:  # noqa: PLR2004
            return None
        rows = images.astype(_FLOAT, "C")
        rows /= _WHITE
        rows = rows.reshape(-1, _PIXELS)
    else:
        return None
    is_dark = rows.item(0) > _BRIGHT if shape[0] == 1 else may_be_dark_on_light(rows)
    return None if is_dark else rows


def are_finite(answers: NDArray[np.float32]) -> bool:
    """Whether no answer is NaN or infinite.

    Without a warning of NumPy, as sums of infinities give, and without the threads of its linear algebra: they go on
    to turn for a while after a long product, and take the processors from onnxruntime's.
    """
    if len(answers) == 1:
        return math.isfinite(sum(answers.tolist()[0]))
    # NaN counts as the largest for argmax, and as the smallest for argmin
    largest, smallest = answers.item(answers.argmax()), answers.item(answers.argmin())
    return math.isfinite(largest) and math.isfinite(smallest)


def may_be_dark_on_light(images: NDArray[np.float32]) -> bool:
    """Tell at a glance at some first pixels whether one is bright; in MNIST none is."""
    step = len(images) // 5 or 1
    return bool(max(images[::step, 0].tolist()) > _BRIGHT)
