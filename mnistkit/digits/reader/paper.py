"""Paper, light and camera: from ink to what a photograph or a scan shows."""

# ruff: noqa: PLR2004 - shares and ranges of chance, each used once

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[np.float32]
    Pixels = NDArray[np.uint8]

_COARSE: Final = 24  # cells of the light's plane


def rulings(rows: int, columns: int, g: np.random.Generator, *, height: float, turn: float) -> Pixels | None:
    """Printed lines of ruled, squared or dotted paper: uint8 ``[rows, columns]``, or None for blank paper."""
    kind = g.random()
    if kind < 0.55:
        return None
    apart = max(height * g.uniform(0.35, 1.7), 5.0)
    pen = max(g.uniform(0.01, 0.06) * height, 0.7)
    x, y = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)
    if abs(turn) < 0.01:
        down, across = y[:, None], x[None, :]
    else:
        down = y[:, None] * np.cos(turn) + x[None, :] * np.sin(turn)
        across = x[None, :] * np.cos(turn) - y[:, None] * np.sin(turn)
    start = g.uniform(0, apart, 2)
    horizontal = _line(down, start[0], apart, pen)
    if kind < 0.75:
        plane = np.broadcast_to(horizontal, (rows, columns))
        if g.random() < 0.2:  # a margin
            plane = np.maximum(plane, _line(across, start[1], 5000.0, pen))
    elif kind < 0.92:
        plane = np.maximum(horizontal, _line(across, start[1], apart, pen))
    else:
        dot = pen * 1.6
        plane = np.minimum(_line(down, start[0], apart, dot), _line(across, start[1], apart, dot))
    if g.random() < 0.08 and kind < 0.92:  # dashed
        plane = plane * (np.mod(across, apart * 0.4) < apart * 0.2)
    return np.asarray(plane * np.float32(255)).astype(np.uint8)


def _line(distance: Plane, start: float, apart: float, pen: float) -> Plane:
    away = np.abs(
        np.mod(distance - np.float32(start) + np.float32(apart / 2), np.float32(apart)) - np.float32(apart / 2)
    )
    return np.asarray((np.float32(pen / 2 + 0.5) - away).clip(0, 1), np.float32)


def light(rows: int, columns: int, g: np.random.Generator) -> Plane | None:
    """Shading, shadows, page edges, creases: float32 ``[rows, columns]`` by which a page is multiplied, or None."""
    kind = g.random()
    if kind < 0.3:
        return None
    y, x = np.meshgrid(np.linspace(-1, 1, _COARSE), np.linspace(-1, 1, _COARSE), indexing="ij")
    tilt = g.uniform(0, 2 * np.pi)
    along = (x * np.cos(tilt) + y * np.sin(tilt)) / 1.4
    plane = 1 - g.uniform(0, 0.45) * (along + 1) / 2
    if g.random() < 0.3:  # a lamp
        plane = plane * (
            1 - g.uniform(0, 0.4) * ((x - g.uniform(-1, 1)) ** 2 + (y - g.uniform(-1, 1)) ** 2).clip(0, 2) / 2
        )
    coarse = Image.fromarray(plane.astype(np.float32))
    found = np.array(coarse.resize((columns, rows), Image.Resampling.BILINEAR))
    if kind > 0.62:  # hard ones: each of two at most
        for _ in range(int(g.integers(1, 3))):
            _edge(found, g)
    return found


def _edge(plane: Plane, g: np.random.Generator) -> None:
    """A shadow, the end of the page, or a crease, along a line; in place."""
    rows, columns = plane.shape
    y, x = np.arange(rows, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)[None, :]
    straight = g.random() < 0.6  # along a side, nearly
    tilt = float(g.integers(0, 4) * np.pi / 2 + g.normal(0, 0.04) if straight else g.uniform(0, 2 * np.pi))
    kind = g.random()
    size = min(rows, columns)
    reach = g.uniform(0.25, 0.52) if kind < 0.75 else g.uniform(0, 0.4)
    distance = (
        (x - columns / 2) * np.float32(np.cos(tilt))
        + (y - rows / 2) * np.float32(np.sin(tilt))
        - np.float32(reach * size)
    )
    if kind < 0.35:  # a shadow with a soft edge
        soft = np.float32(1 / g.uniform(1.5, 30))
        plane *= 1 - np.float32(g.uniform(0.1, 0.6)) * (distance * soft + np.float32(0.5)).clip(0, 1)
    elif kind < 0.75:  # the desk beside the page: dark, or light with an edge
        beyond = (distance + np.float32(0.5)).clip(0, 1)
        plane *= 1 - (1 - np.float32(g.uniform(0.05, 0.9))) * beyond
        if g.random() < 0.5:  # the page's own shadow
            plane *= 1 - np.float32(g.uniform(0.1, 0.5)) * (1 - np.abs(distance) / np.float32(g.uniform(1.5, 6))).clip(
                0, 1
            )
    else:  # a crease
        wide = np.float32(g.uniform(1, 5))
        sign = np.float32(g.choice([-0.35, -0.2, 0.12, 0.2]))
        plane *= 1 + sign * (1 - np.abs(distance) / wide).clip(0, 1)
        plane *= np.where(distance > 0, np.float32(g.uniform(0.85, 1.0)), np.float32(1))


def show(pen: Pixels, printed: Pixels | None, shade: Plane | None, g: np.random.Generator) -> Pixels:
    """What a camera, a scanner or a screen shows: uint8 ``[rows, columns, 2]``.

    Args:
        pen: The ink, bright.
        printed: Printed lines, bright, or None.
        shade: What `light` returns.
        g: Where all chance comes from.

    Returns:
        The smallest and the largest of the three colors of each pixel.
    """
    colored = g.random() < 0.3
    white = float(g.uniform(170, 255)) if g.random() < 0.7 else 255.0
    contrast = float(g.uniform(0.45, 1.0)) if g.random() < 0.85 else float(g.uniform(0.12, 0.45))
    lines = contrast * float(g.uniform(0.1, 0.8))
    texture = g.random() < 0.06
    blur = float(g.uniform(0.4, 1.3)) if g.random() < 0.35 else 0.0
    grain = float(g.uniform(0, 9)) if g.random() < 0.55 else 0.0
    quality = int(g.integers(15, 90)) if g.random() < 0.4 else 0
    invert = g.random() < 0.25
    noise = _noise(pen.shape, g) * np.float32(grain) if grain else None
    if g.random() < 0.1:  # a dry pen
        pen = (pen * _texture(pen.shape, g)).astype(np.uint8)
    planes = []
    for number in range(2 if colored else 1):
        # A colored pen takes less from the largest of the three colors than from the smallest.
        ink = contrast if number == 0 else contrast * float(g.uniform(0.0, 0.8))
        page = pen * np.float32(-ink * white / 255)
        if printed is not None:
            page = np.minimum(page, printed * np.float32(-(lines if number == 0 else lines * 0.5) * white / 255))
        page += np.float32(white)
        if texture:
            page *= _texture(pen.shape, g)
        if shade is not None:
            page *= shade
        if invert:
            page = np.float32(255) - page
        if noise is not None:
            page += noise
        planes.append(_camera(np.clip(page, 0, 255).astype(np.uint8), blur, quality))
    low, high = planes[0], planes[-1]
    if colored:
        low, high = (np.minimum(low, high), np.maximum(low, high))
    return np.stack([low, high], axis=2)


def scene(rows: int, columns: int, g: np.random.Generator) -> Plane:
    """Something that is no page: surfaces, edges and textures; float32 by which a page is multiplied."""
    image = Image.new("L", (columns, rows), int(g.integers(20, 256)))
    pencil = ImageDraw.Draw(image)
    for _ in range(int(g.integers(3, 40))):
        x, y = g.uniform(-0.2, 1.2, 2) * (columns, rows)
        wide, high = np.exp(g.uniform(np.log(0.02), np.log(0.7), 2)) * (columns, rows)
        gray = int(g.integers(0, 256))
        kind = g.random()
        if kind < 0.4:
            pencil.ellipse((x, y, x + wide, y + high), fill=gray)
        elif kind < 0.7:
            corners = g.uniform(0, 1, (int(g.integers(3, 7)), 2)) * (wide, high) + (x, y)
            pencil.polygon([(float(a), float(b)) for a, b in corners], fill=gray)
        else:
            end = g.uniform(0, 1, 2) * (columns, rows)
            pencil.line((x, y, float(end[0]), float(end[1])), fill=gray, width=int(g.integers(1, 12)))
    image = image.filter(ImageFilter.GaussianBlur(float(g.uniform(0.3, 4))))
    plane = np.asarray(image, np.float32) / np.float32(255)
    for size in (8, 30, 100):
        coarse = Image.fromarray(g.uniform(1 - g.uniform(0, 0.5), 1, (size, size)).astype(np.float32))
        plane = plane * np.asarray(coarse.resize((columns, rows), Image.Resampling.BICUBIC))
    return np.asarray(plane, np.float32)


def _noise(shape: tuple[int, int], g: np.random.Generator) -> Plane:
    plain = g.standard_normal((shape[0], shape[1] // 2 + 1), dtype=np.float32)
    return np.concatenate([plain, plain[::-1]], axis=1)[:, : shape[1]]  # as good, in half the time


def _texture(shape: tuple[int, int], g: np.random.Generator) -> Plane:
    size = int(g.integers(8, 80))
    coarse = Image.fromarray(g.uniform(1 - g.uniform(0.1, 0.6), 1, (size, size)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _camera(page: Pixels, blur: float, quality: int) -> Pixels:
    if not blur and not quality:
        return page
    image = Image.fromarray(page)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    if quality:
        stream = BytesIO()
        image.save(stream, "JPEG", quality=quality)
        image = Image.open(stream)
    return np.asarray(image)
