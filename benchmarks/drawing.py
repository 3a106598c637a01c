"""Pictures as people make them, drawn from MNIST's images: pens, paper, light and cameras.

Shared by `pictures.py` and `read_numbers.py`; all chance comes from the generator that is handed in.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

PENS = np.array([[30, 40, 140], [25, 25, 30], [150, 30, 40], [70, 70, 75], [20, 110, 60], [120, 60, 20]])


def digit(
    image: np.ndarray, height: int, slant: float, generator: np.random.Generator, *, pen: float = 0.0
) -> np.ndarray:
    """One digit, enlarged with smooth strokes: float32 ``[rows, columns]`` in [0, 1], cropped to its ink.

    Args:
        image: uint8 ``[28, 28]``, ink bright.
        height: Of the 20x20 box in pixels, about.
        slant: Columns to the right for each row up.
        generator: Where all chance comes from.
        pen: Strokes become so much wider, in parts of the height; negative for thinner.
    """
    factor = height / 20 * np.exp(generator.normal(0, 0.08))
    size = round(28 * factor), round(28 * factor)
    lean = slant + generator.normal(0, 0.04)
    middle = size[1] / 2
    gray = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    gray = gray.transform(size, Image.Transform.AFFINE, (1, lean, -lean * middle, 0, 1, 0), Image.Resampling.BILINEAR)
    reach = round(abs(pen) * height / 2) * 2 + 1
    if reach > 1:
        gray = gray.filter(ImageFilter.MaxFilter(reach) if pen > 0 else ImageFilter.MinFilter(reach))
    soft = max(factor * 1.2, 3)
    ink = 1 / (1 + np.exp(-(np.asarray(gray, np.float32) - generator.uniform(80, 140)) / (80 / soft)))
    inked = ink > 0.5
    rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
    if len(rows) == 0:
        return np.ones((2, 2), np.float32)
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def on_paper(
    ink: np.ndarray,
    height: int,
    generator: np.random.Generator,
    *,
    lines: str | None = None,
    shade: float = 0.35,
    grain: float = 5.0,
    pens: np.ndarray = PENS,
    edge: bool = False,
) -> np.ndarray:
    """Ink on paper under a lamp: uint8 ``[rows, columns, 3]``.

    Args:
        ink: float32 ``[rows, columns]`` in [0, 1].
        height: Of a digit in pixels; lines and their distance go by it.
        generator: Where all chance comes from.
        lines: ``"ruled"``, ``"squared"`` or ``"dotted"`` paper, else blank.
        edge: Whether a shadow, or the desk beyond the end of the page, covers one side.
        shade: How much light is lost at the darkest corner, at most.
        grain: Largest standard deviation of the paper's and the camera's noise, in gray levels.
        pens: Colours to choose from.
    """
    rows, columns = ink.shape
    page = np.array([250, 248, 240]) - generator.uniform(0, 50) - generator.uniform(0, 12, 3)
    light = 1 - generator.uniform(0, shade) * np.linspace(*generator.permutation([0, 1]), columns)[None, :]
    light = light * (1 - generator.uniform(0, 0.7 * shade) * np.linspace(0, 1, rows)[:, None])
    page = page * np.ones((rows, columns, 1))
    if lines:
        wide = 0.5 if lines == "ruled" else 0.35
        apart = max(int(height * generator.uniform(wide, 1.3)), 4)
        first, pen = int(generator.integers(0, max(apart // 2, 1))), max(height // 40, 1)
        for start in range(first, rows, apart):
            across = slice(None) if lines != "dotted" else np.arange(columns) % apart < pen + 1
            page[start : start + pen, across] -= np.array([60, 40, 10])
        if lines == "squared":
            for start in range(first, columns, apart):
                page[:, start : start + pen] -= np.array([60, 40, 10])
    if edge:
        light = light * _edge(rows, columns, height, generator)
    pen = pens[generator.integers(len(pens))]
    share = (ink * generator.uniform(0.75, 1.0))[..., None]
    shown = (page.clip(0) * (1 - share) + pen * share) * light[..., None]
    noise = generator.normal(0, generator.uniform(0, grain), (rows, columns, 1)) if grain else 0
    return np.clip(shown + noise, 0, 255).astype(np.uint8)


def _edge(rows: int, columns: int, height: int, generator: np.random.Generator) -> np.ndarray:
    """A shadow over a part of the page, or the darker desk beyond its end: what is left of the light."""
    place = generator.uniform(0.02, 0.25) * height
    lean = generator.normal(0, 0.03)
    y, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    side = generator.integers(4)
    away = [y, rows - y, x, columns - x][side] + lean * [x, x, y, y][side] - place
    if generator.random() < 0.5:  # a shadow, which may also lie over the digits
        away = away - generator.uniform(0, 1.5) * height
        return 1 - generator.uniform(0.2, 0.6) * np.clip(0.5 - away / generator.uniform(2, 30), 0, 1)
    return 1 - generator.uniform(0.3, 0.95) * np.clip(0.5 - away, 0, 1)


def jpeg(page: np.ndarray, *, quality: int) -> bytes:
    """The page as a JPEG file."""
    stream = BytesIO()
    Image.fromarray(page).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
