"""Pages on which the file is held against the reader: made from MNIST's test images, the same every time."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Page = NDArray[np.uint8]

_ALIKE: Final = 20  # rows of ink: MNIST's usual height; digits of other heights may be signs
_LARGE: Final = 3000  # pixels: more than any look sees


@functools.cache
def _digits() -> NDArray[np.uint8]:
    """Some test images that are as high as most."""
    from mnistkit.digits.data import load_data

    images = load_data().x_test[:120]
    heights = (images > 90).any(2).sum(1)  # noqa: PLR2004  # half of full ink
    return np.asarray(images[np.abs(heights - _ALIKE) <= 1], np.uint8)


def page(places: Sequence[Sequence[int]], *, scale: int = 2, margin: int = 12) -> Page:
    """Rows of digits, dark on light: uint8 ``[rows, columns]``; a negative number is a gap."""
    blank = np.zeros((28, 14), np.uint8)
    rows = [np.concatenate([blank if one < 0 else _digits()[one][:, 3:25] for one in row], axis=1) for row in places]
    wide = max(row.shape[1] for row in rows)
    ink = np.concatenate([np.pad(row, ((6, 6), (0, wide - row.shape[1]))) for row in rows])
    ink = np.pad(np.kron(ink, np.ones((scale, scale), np.uint8)), margin)
    return np.asarray(255 - (ink * 0.8).astype(np.uint8), np.uint8)


@functools.cache
def example_pages() -> tuple[Page, ...]:
    """Uint8 ``[height, width, channels]``: one row, two, turned, nothing, color, transparent, tiny and large."""
    row = page([[0, 1, 2, 3, 4]])
    clear = np.zeros((*row.shape, 4), np.uint8)
    clear[..., 3] = 255 - row
    color = np.stack([page([[5, 6, 7, 8]], scale=3)] * 3, axis=2)
    color[..., 2] = 200 - color[..., 2] // 3
    large = np.full((_LARGE * 2 // 3, _LARGE), 220, np.uint8)
    number = page([[9, 10, 11]], scale=12)
    large[300 : 300 + number.shape[0], 500 : 500 + number.shape[1]] = np.minimum(220, number)
    return (
        row[..., None],
        page([[0, 3, 5, -1, -1, 7, 9], [2, 4, 6]])[..., None],
        np.ascontiguousarray(np.rot90(page([[12, 13, 14, 15, 16, 17]])))[..., None],
        np.full((48, 64, 3), 200, np.uint8),
        color,
        clear,
        _digits()[1][..., None],
        page([[14]], scale=5)[..., None],
        np.ascontiguousarray(np.stack([large] * 3, axis=2)),
    )
