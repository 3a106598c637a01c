"""Pictures of single digits as people make them, from MNIST's images; see `drawing`."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from drawing import PENS, digit, jpeg, on_paper
from PIL import Image

LIGHT_PENS = np.array([[240, 200, 40], [120, 190, 250], [250, 150, 170], [150, 150, 150]])

KINDS: dict[str, dict[str, Any]] = {
    "black on white, from a screen": {"paper": "white"},
    "white on black, from a screen": {"paper": "black"},
    "paper, even light": {"shade": 0.05},
    "paper, shaded": {"shade": 0.6},
    "coloured and pale pens": {"pens": LIGHT_PENS},
    "thin strokes": {"pen": -0.045},
    "thick strokes": {"pen": 0.08},
    "ruled paper": {"lines": "ruled"},
    "squared paper": {"lines": "squared"},
    "JPEG artefacts, quality 12": {"quality": 12},
    "tiny, 16 to 40 pixels": {"height": (14, 28), "room": 0.3, "quality": 90},
    "huge, about 12 megapixels": {"height": (700, 2200), "size": (4000, 3000)},
    "small in a large picture": {"height": (60, 90), "size": (900, 700)},
}


def make(kind: str, image: np.ndarray, generator: np.random.Generator) -> bytes:
    """One picture file.

    Args:
        kind: One of `KINDS`.
        image: uint8 ``[28, 28]``, ink bright.
        generator: Where all chance comes from.
    """
    return _make(image, generator, **KINDS[kind])


def _make(
    image: np.ndarray,
    generator: np.random.Generator,
    *,
    paper: str = "real",
    height: tuple[int, int] = (90, 260),
    room: float = 1.0,
    size: tuple[int, int] | None = None,
    pen: float = 0.0,
    quality: int = 75,
    lines: str | None = None,
    shade: float = 0.3,
    pens: np.ndarray = PENS,
) -> bytes:
    tall = int(generator.integers(*height))
    drawn = digit(image, min(tall, 600), generator.normal(0, 0.05), generator, pen=pen)
    if tall > 600:  # strokes are smooth enough to be enlarged
        factor = tall / 600
        larger = round(drawn.shape[1] * factor), round(drawn.shape[0] * factor)
        drawn = np.asarray(Image.fromarray(drawn).resize(larger, Image.Resampling.BILINEAR))
    around = (generator.uniform(0.25, 1.0, 4) * room * tall).astype(int) + 1
    if size:
        spare = np.maximum(np.subtract(size[::-1], drawn.shape), 2)
        top, left = (int(generator.integers(1, free)) for free in spare)
        around = np.array([top, spare[0] - top, left, spare[1] - left])
    ink = np.pad(drawn, ((around[0], around[1]), (around[2], around[3])))
    if paper != "real":
        stream = BytesIO()
        plane = np.rint(255 * (ink if paper == "black" else 1 - ink)).astype(np.uint8)
        Image.fromarray(plane).save(stream, "PNG")
        return stream.getvalue()
    return jpeg(on_paper(ink.astype(np.float32), tall, generator, lines=lines, shade=shade, pens=pens), quality=quality)
