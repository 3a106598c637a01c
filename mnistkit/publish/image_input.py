"""How a picture becomes the input of a file, as far as the file says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.core.contract import read_preprocessing
from mnistkit.core.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnistkit.core.tensors import TensorInfo

_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Size, layout and numbers of a file's one image input.

    Attributes:
        name: Of the input.
        dtype: Of the input.
        height: In pixels.
        width: In pixels.
        channels: 1 for gray levels, 3 for red, green and blue.
        layout: ``"flat"``, ``"hw"``, ``"hwc"`` or ``"chw"``: the axes after the batch.
        scale: A level 0 to 255 becomes ``level * scale + offset``.
        offset: See ``scale``.
        ink: ``"bright"`` where what is drawn has the high levels; ``None`` where the file does not say.
    """

    name: str
    dtype: str
    height: int
    width: int
    channels: int
    layout: str
    scale: float
    offset: float
    ink: str | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes after the batch."""
        sizes = {"h": self.height, "w": self.width, "c": self.channels}
        return (self.height * self.width,) if self.layout == "flat" else tuple(sizes[axis] for axis in self.layout)


def read_image_input(metadata: Mapping[str, str], inputs: Sequence[TensorInfo]) -> ImageInput | None:
    """What the file says; ``None`` where it says nothing, or not all that is needed.

    Said is, in ``preprocessing_parameters``: ``scale``, ``side`` or ``height`` and ``width``, and where they are not
    0 and unknown ``offset`` and ``ink``. The layout is where these sizes stand in the declared shape.

    Raises:
        ModelFileError: The entry is damaged.
    """
    said = read_parameters(metadata)
    height, width = _size(said, "height"), _size(said, "width")
    scale, offset, ink = _number(said.get("scale")), _number(said.get("offset", 0.0)), said.get("ink")
    if len(inputs) != 1 or not (height and width and scale) or offset is None:
        return None
    layouts = {(height * width,): ("flat", 1), (height, width): ("hw", 1)}
    for channels in _CHANNELS:
        layouts |= {(height, width, channels): ("hwc", channels), (channels, height, width): ("chw", channels)}
    shape = tuple(size for size in inputs[0].shape[1:] if isinstance(size, int))
    if shape not in layouts or len(shape) != len(inputs[0].shape) - 1:
        return None
    layout, channels = layouts[shape]
    return ImageInput(
        name=inputs[0].name,
        dtype=inputs[0].dtype,
        height=height,
        width=width,
        channels=channels,
        layout=layout,
        scale=scale,
        offset=offset,
        ink=ink if isinstance(ink, str) else None,
    )


def read_parameters(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The file's ``preprocessing_parameters``, empty where it has none.

    Raises:
        ModelFileError: They are no JSON object.
    """
    found = read_preprocessing(metadata) if "preprocessing_parameters" in metadata else {}
    if not isinstance(found, dict):
        raise ModelFileError("the preprocessing in the file is no JSON object; export it again")
    return found


def _size(said: Mapping[str, Any], name: str) -> int | None:
    value = said.get(name, said.get("side"))
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None
