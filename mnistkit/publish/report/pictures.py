"""One sample of test data as a small picture, where it is one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 56
"""Longest side of a picture in a report."""
_SMALLEST = 8  # fewer pixels are a row of a table
_CHANNELS = (1, 3)


def as_pixels(sample: NDArray[Any]) -> NDArray[np.uint8] | None:
    """A sample as a picture of `SIDE` pixels at most; ``None`` where it is none.

    Args:
        sample: ``[h, w]``, or with one or three channels as the first or the last axis. Other types than uint8 are
            stretched from their smallest to their largest number.
    """
    picture = sample
    if picture.ndim == 3 and picture.shape[-1] not in _CHANNELS and picture.shape[0] in _CHANNELS:  # noqa: PLR2004
        picture = np.moveaxis(picture, 0, -1)
    if picture.ndim == 3 and picture.shape[-1] == 1:  # noqa: PLR2004  # height, width, channels
        picture = picture[..., 0]
    is_gray, is_color = picture.ndim == 2, picture.ndim == 3 and picture.shape[-1] == 3  # noqa: PLR2004  # likewise
    if not (is_gray or is_color) or min(picture.shape[:2]) < _SMALLEST or picture.dtype.kind not in "uif":
        return None
    levels = picture if picture.dtype == np.uint8 else _stretched(picture)
    image = Image.fromarray(np.ascontiguousarray(levels))
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """The picture as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _stretched(picture: NDArray[Any]) -> NDArray[np.uint8]:
    numbers = np.nan_to_num(picture.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(numbers.min()), float(numbers.max())
    spread = np.clip((numbers - low) / ((high - low) or 1), 0, 1)
    return np.asarray(np.rint(255 * spread), np.uint8)
