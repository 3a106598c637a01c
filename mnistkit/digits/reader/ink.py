"""Ink of one digit, from an MNIST image, from strokes or from a handwriting font, as a writer would set it."""

# ruff: noqa: PLR2004 - shares and ranges of chance, each used once

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageFont

from mnistkit.digits.reader.strokes import habits, stroke_digit

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Patch = NDArray[np.uint8]

_INKED: Final = 50  # of 255: fainter is a soft edge
_SMALLEST: Final = 2  # pixels high or wide


@dataclass(frozen=True, slots=True)
class Fonts:
    """Font files: of handwriting and of print; either may be empty."""

    hand: tuple[str, ...] = ()
    printed: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path | None) -> Fonts:
        """The fonts in the folders ``hand`` and ``print``."""
        if folder is None:
            return cls()
        kinds = [sorted(str(file) for file in (folder / kind).glob("*.[ot]tf")) for kind in ("hand", "print")]
        return cls(tuple(kinds[0]), tuple(kinds[1]))


@functools.lru_cache(maxsize=512)
def font(file: str | None, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font at a size; Pillow's own where no file is given."""
    return ImageFont.truetype(file, size) if file else ImageFont.load_default(size)


@dataclass(frozen=True, slots=True, eq=False)
class Writer:
    """How one person writes on one page.

    Attributes:
        strokes: Share of the digits that are made from strokes, the others are MNIST's.
        habits: Which shape of each digit this writer uses; see `mnistkit.digits.reader.strokes.habits`.
        slant: Columns to the right for each row up.
        pen: Width of a stroke in heights of a digit.
        wobble: How uneven the hand is.
        times: How often a stroke is drawn: twice or more in a sketch.
        face: A font file that all digits are taken from instead, or None.
    """

    strokes: float
    habits: tuple[bool, ...]
    slant: float
    pen: float
    wobble: float
    times: int
    face: str | None

    @classmethod
    def any(cls, generator: np.random.Generator, fonts: Fonts) -> Writer:
        """A writer by chance."""
        g = generator
        kind = g.random()
        faces = fonts.hand if g.random() < 0.7 else fonts.printed
        return cls(
            strokes=0.0 if kind < 0.5 else 0.35 if kind < 0.8 else 1.0,
            habits=habits(g),
            slant=float(g.normal(0.05, 0.16)),
            pen=float(np.exp(g.normal(np.log(0.085), 0.4)).clip(0.035, 0.22)),
            wobble=float(g.uniform(0.01, 0.045)),
            times=1 if g.random() < 0.9 else int(g.integers(2, 4)),
            face=str(g.choice(faces)) if faces and g.random() < 0.05 else None,
        )


def write_digit(
    writer: Writer, digit: int, image: Patch, height: float, *, turn: float, generator: np.random.Generator
) -> Patch:
    """One digit as this writer writes it: uint8 ``[rows, columns]``, ink bright, cropped to its ink.

    Args:
        writer: Who writes.
        digit: 0 to 9.
        image: An MNIST image of that digit, cropped to its ink.
        height: In pixels.
        turn: Of the line, in radians, counterclockwise.
        generator: Where all chance comes from.
    """
    g = generator
    height = height * float(np.exp(g.normal(0, 0.09)))
    slant = writer.slant + float(g.normal(0, 0.05)) + turn
    if writer.face is not None:
        return _typed(writer.face, str(digit), height, slant, g)
    if g.random() < writer.strokes:
        pen = max(writer.pen * height, 1.0)
        return stroke_digit(
            digit,
            height,
            habit=writer.habits[digit],
            pen=pen,
            slant=slant,
            wobble=writer.wobble,
            times=writer.times,
            generator=g,
        )
    return _enlarged(image, height, slant, writer, g)


def _enlarged(image: Patch, height: float, slant: float, writer: Writer, g: np.random.Generator) -> Patch:
    """An MNIST image with smooth strokes: sheared, stretched and turned a little, its pen wider or thinner."""
    rows, columns = image.shape
    factor = rows / height  # source rows for each row of the result
    stretch = factor * float(np.exp(g.normal(0, 0.12)))
    turn = float(g.normal(0, 0.05))
    wide = int(columns / stretch + (abs(slant) + abs(turn)) * height) + 5
    tall = int(height + abs(turn) * columns / stretch) + 5
    # Inverse map, about the middles.
    a, b = stretch * np.cos(turn), stretch * (slant + np.sin(turn))
    d, e = -factor * np.sin(turn), factor * np.cos(turn)
    c = columns / 2 - a * wide / 2 - b * tall / 2
    f = rows / 2 - d * wide / 2 - e * tall / 2
    source = Image.fromarray(image)
    method = Image.Resampling.BICUBIC if factor < 1.2 else Image.Resampling.BILINEAR
    if factor > 2:  # smaller than MNIST's own: average first
        source = source.resize((max(columns // 2, 1), max(rows // 2, 1)), Image.Resampling.BOX)
        a, b, c, d, e, f = (v / 2 for v in (a, b, c, d, e, f))
    gray = source.transform((wide, tall), Image.Transform.AFFINE, (a, b, c, d, e, f), method)
    # The pen: where on the soft edge the ink ends, and how steep the edge is.
    pivot = float(np.clip(112 - 260 * (writer.pen - 0.095) + g.normal(0, 10), 60, 165))
    steep = max(1.0, 1.5 / factor) if factor < 1.2 else 1.0
    table = ((np.arange(256) - pivot) * steep + 127).clip(0, 255).astype(np.uint8)
    ink = table[np.asarray(gray)]
    return cropped(ink)


def cropped(ink: Patch) -> Patch:
    """Without the empty rows and columns around it."""
    inked = Image.fromarray((ink > _INKED).view(np.uint8)).getbbox()
    if inked is None or inked[3] - inked[1] < _SMALLEST:
        return np.full((_SMALLEST, _SMALLEST), 255, np.uint8)
    return ink[inked[1] : inked[3], inked[0] : inked[2]]


def _typed(face: str, text: str, height: float, slant: float, g: np.random.Generator) -> Patch:
    size = max(int(height * 1.38), 8)
    letters = font(face, size)
    box = letters.getbbox(text)
    wide, tall = max(int(box[2] - box[0]), 2), max(int(box[3] - box[1]), 2)
    image = text_image(text, letters, margin=max(int(abs(slant) * tall), 1))
    lean = slant * 0.5
    image = image.transform(
        image.size, Image.Transform.AFFINE, (1, lean, -lean * tall / 2, 0, 1, 0), Image.Resampling.BILINEAR
    )
    del wide, g
    return cropped(np.asarray(image))


def text_image(text: str, letters: ImageFont.FreeTypeFont | ImageFont.ImageFont, *, margin: int = 1) -> Image.Image:
    """Text as an image, ink bright."""
    from PIL import ImageDraw

    left, top, right, bottom = (int(v) for v in letters.getbbox(text))
    image = Image.new("L", (max(right - left, 1) + 2 * margin, max(bottom - top, 1) + 2 * margin))
    ImageDraw.Draw(image).text((margin - left, margin - top), text, fill=255, font=letters)
    return image
