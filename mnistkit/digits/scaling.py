"""In which numbers a classifier takes its images: 0 to 1 as the tutorial's, grey levels 0 to 255, or -1 to 1.

A file says so itself, its caller says so, or it is measured on labelled images; never guessed from shapes or weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.contract import read_preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_CLEAR = 0.05  # of accuracy, by which another scaling must be better than 0 to 1
_READS = 0.5  # of the images; a model that reads fewer says nothing by which of them
IMAGES = 500
"""Test images that a measurement takes."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a grey level becomes a number of the model's input: ``level * scale + offset``.

    Attributes:
        scale: Of grey levels 0 to 255.
        offset: Added afterwards.
    """

    scale: float = 1 / 255
    offset: float = 0.0

    def __str__(self) -> str:
        return f"{self.offset:g} to {255 * self.scale + self.offset:g}"

    def of_unit(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images in [0, 1] as the model takes them; the same array where it takes [0, 1]."""
        if self == UNIT:
            return images
        return (images * np.float32(255 * self.scale) + np.float32(self.offset)).astype(np.float32)


UNIT = Scaling()
CANDIDATES = (UNIT, Scaling(1.0), Scaling(2 / 255, -1.0))
"""0 to 1, 0 to 255, and -1 to 1."""


def read_scaling(metadata: Mapping[str, str]) -> Scaling | None:
    """What a file says of itself; ``None`` when it says nothing.

    Raises:
        ModelFileError: The entry is damaged.
    """
    entry = read_preprocessing(metadata)
    if not isinstance(entry, dict) or not _is_number(entry.get("scale")) or not entry["scale"]:
        return None
    offset = entry.get("offset", 0.0)
    return Scaling(float(entry["scale"]), float(offset) if _is_number(offset) else 0.0)


def measure(
    read: Callable[[NDArray[np.float32]], NDArray[Any]], images: NDArray[np.uint8], classes: NDArray[Any]
) -> tuple[Scaling, dict[Scaling, float]]:
    """The scaling with which a model reads images best; 0 to 1 unless another one is clearly better.

    Args:
        read: The model's scores ``[n, 10]`` for images ``[n, 28, 28]`` in its own numbers.
        images: uint8 ``[n, 28, 28]``, ink bright.
        classes: What they show.

    Returns:
        The scaling, and the share read rightly with each.
    """
    unit = images[:IMAGES].astype(np.float32) / np.float32(255)
    wanted = np.asarray(classes)[:IMAGES]
    shares = {scaling: float(np.mean(read(scaling.of_unit(unit)).argmax(axis=-1) == wanted)) for scaling in CANDIDATES}
    best = max(CANDIDATES, key=lambda scaling: shares[scaling])
    is_clear = shares[best] >= _READS and shares[best] > shares[UNIT] + _CLEAR
    return (best if is_clear else UNIT), shares


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
