"""Training images varied the way people draw: slant, shape, pen, extra strokes, and what picture graphs leave behind.

NumPy only and a whole batch at a time, so every backend sees the same images for the same generator. The steps follow
the way of a picture: the hand (extra strokes, pen width, slant, wobble), the position (20x20 box, center of mass, a
little off), the camera (tone, blur, noise, leftovers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mnistkit.digits.contract import SIDE

if TYPE_CHECKING:
    import numpy.typing as npt

    Images = npt.NDArray[np.float32]

_GRID: Final = np.arange(SIDE, dtype=np.float32)
_ROWS, _COLUMNS = np.meshgrid(_GRID, _GRID, indexing="ij")


def augment(
    images: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], *, generator: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A varied copy of a batch.

    Args:
        images: Float32 ``[n, 28, 28]`` in [0, 1], ink bright.
        labels: Digits ``[n]``: some strokes are drawn with some digits only (a foot under 1, a bar through 7).
        generator: Where all chance comes from.

    Returns:
        Float32 ``[n, 28, 28]`` in [0, 1].
    """
    varied = _extra_strokes(images, labels, generator)
    varied = _pen(varied, generator)
    varied = _warp(varied, generator)
    varied = _camera(varied, generator)
    return np.clip(varied, 0, 1, out=varied)


def _chance(generator: np.random.Generator, n: int, share: float) -> npt.NDArray[np.bool_]:
    return generator.random(n) < share


def _uniform(generator: np.random.Generator, n: int, low: float, high: float) -> Images:
    return generator.uniform(low, high, (n, 1, 1)).astype(np.float32)


def _normal(generator: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Images:
    return (generator.standard_normal(shape, dtype=np.float32) * np.float32(deviation)).clip(
        -2.5 * deviation, 2.5 * deviation
    )


# --- the hand -------------------------------------------------------------------------------------------------------


def _extra_strokes(images: Images, labels: npt.NDArray[np.integer], generator: np.random.Generator) -> Images:
    """A foot and a flag for 1, a bar for 7, a stroke through 0: common where MNIST's writers did not live."""
    images = images.copy()
    for digit, part, share in ((1, "foot", 0.2), (1, "flag", 0.3), (7, "bar", 0.25), (0, "slash", 0.03)):
        chosen = np.flatnonzero((labels == digit) & _chance(generator, len(labels), share))
        if len(chosen):
            images[chosen] = _draw(images[chosen], part, generator)
    return images


def _draw(images: Images, part: str, generator: np.random.Generator) -> Images:
    n = len(images)
    inked = images > 0.3  # noqa: PLR2004 - half-covered pixels
    rows, columns = inked.max(2), inked.max(1)
    top, bottom = rows.argmax(1), SIDE - 1 - rows[:, ::-1].argmax(1)
    left, right = columns.argmax(1), SIDE - 1 - columns[:, ::-1].argmax(1)
    height = (bottom - top).astype(np.float32)

    def column_at(row: npt.NDArray[np.integer]) -> Images:
        line = images[np.arange(n), row.clip(0, SIDE - 1)] + 1e-6
        return np.asarray((line * _GRID).sum(1) / line.sum(1), dtype=np.float32)

    def near(value: npt.NDArray[np.floating] | npt.NDArray[np.integer], spread: float) -> Images:
        return np.asarray(value + generator.normal(0, spread, n), dtype=np.float32)

    if part == "foot":
        reach, middle = height * generator.uniform(0.15, 0.4, n), column_at(bottom - 1)
        start = near(bottom, 0.4), middle - reach
        end = near(bottom, 0.4), middle + reach
    elif part == "flag":
        length = height * generator.uniform(0.15, 0.5, n)
        angle = generator.uniform(0.3, 1.1, n)  # below the horizontal, to the left
        start = near(top + 0.5, 0.3), column_at(top + 1)
        end = start[0] + length * np.sin(angle), start[1] - length * np.cos(angle)
    elif part == "bar":
        row = (top + height * generator.uniform(0.4, 0.65, n)).astype(int)
        reach, middle = height * generator.uniform(0.12, 0.3, n), column_at(row)
        start = near(row, 0.3), middle - reach
        end = near(row, 0.6), middle + reach
    else:  # slash
        start = near(bottom, 1.0), near(left, 1.0)
        end = near(top, 1.0), near(right, 1.0)
    # Distance of every pixel from the segment, softened at the edge like the strokes themselves.
    ay, ax, by, bx = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (*start, *end))
    dy, dx = by - ay, bx - ax
    along = ((_ROWS - ay) * dy + (_COLUMNS - ax) * dx) / np.maximum(dy * dy + dx * dx, 1e-3)
    along = along.clip(0, 1)
    distance = np.hypot(_ROWS - ay - along * dy, _COLUMNS - ax - along * dx)
    stroke = (_uniform(generator, n, 0.9, 1.7) - distance).clip(0, 1)
    return np.asarray(np.maximum(images, stroke), dtype=np.float32)


def _spread(images: Images, combine: np.ufunc, *, corners: bool) -> Images:
    """The 3x3 (or plus-shaped) maximum or minimum."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    across = combine(combine(padded[:, :, :-2], padded[:, :, 2:]), padded[:, :, 1:-1])
    if corners:
        return np.asarray(combine(combine(across[:, :-2], across[:, 2:]), across[:, 1:-1]))
    down = combine(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
    return np.asarray(combine(across[:, 1:-1], down))


def _pen(images: Images, generator: np.random.Generator) -> Images:
    """Thin pens and thick markers: part of a dilation or of an erosion, twice for the thickest."""
    n = len(images)
    kind = generator.random(n)
    images = images.copy()
    for low, high, combine, corners, most in (
        (0.00, 0.22, np.minimum, False, 0.75),
        (0.35, 0.65, np.maximum, False, 1.0),
        (0.53, 0.65, np.maximum, True, 1.0),
        (0.62, 0.65, np.maximum, False, 1.0),
    ):
        chosen = np.flatnonzero((kind >= low) & (kind < high))
        if len(chosen):
            part = images[chosen]
            images[chosen] = part + _uniform(generator, len(chosen), 0, most) * (
                _spread(part, combine, corners=corners) - part
            )
    return images


# --- the placing ----------------------------------------------------------------------------------------------------


def _elastic(n: int, generator: np.random.Generator) -> tuple[Images, Images]:
    """Two smooth displacement fields in pixels, from a coarse random grid."""
    cells = 6
    position = np.linspace(0, cells - 1, SIDE, dtype=np.float32)
    hat = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells, dtype=np.float32)) / 1.5)
    hat /= hat.sum(1, keepdims=True)
    strength = np.abs(_normal(generator, (n, 1, 1), 1.1))
    fields = [hat @ (_normal(generator, (n, cells, cells), 1.0) * strength) @ hat.T for _ in range(2)]
    return fields[0].astype(np.float32), fields[1].astype(np.float32)


def _warp(images: Images, generator: np.random.Generator) -> Images:
    """Slant, turn, stretch and wobble, then the 20x20 box and the center of mass as the picture graph sets them."""
    n = len(images)
    turn, slant, stretch = (
        _normal(generator, (n,), 0.14),
        _normal(generator, (n,), 0.16),
        _normal(generator, (n,), 0.12),
    )
    cosine, sine = np.cos(turn), np.sin(turn)
    # Forward matrix on (row, column): stretch, then slant, then turn.
    tall, wide = np.exp(stretch), np.exp(-stretch)
    forward = np.empty((n, 2, 2), np.float32)
    forward[:, 0, 0], forward[:, 0, 1] = cosine * tall + sine * slant * tall, sine * wide
    forward[:, 1, 0], forward[:, 1, 1] = -sine * tall + cosine * slant * tall, cosine * wide
    points = np.stack([_ROWS.ravel(), _COLUMNS.ravel()]) - 13.5
    moved = forward @ points  # [n, 2, 784]
    flat = images.reshape(n, 1, -1)
    outside = flat < 0.25  # noqa: PLR2004 - the soft edge does not make the box
    low = np.where(outside, 99, moved).min(2)
    high = np.where(outside, -99, moved).max(2)
    size = np.maximum((high - low).max(1) + 1, 4)
    center = (moved * flat).sum(2) / np.maximum(flat.sum((1, 2)), 1e-3)[:, None]
    scale = 20 / size * np.exp(_normal(generator, (n,), 0.05))
    keep = _chance(generator, n, 0.15)  # some stay as large as they were
    scale = np.where(keep, 1, scale).astype(np.float32)
    target = 14.0 + _normal(generator, (n, 2), 0.8)
    # Inverse map: where in the source each output pixel comes from.
    inverse = np.linalg.inv(forward) / scale[:, None, None]
    wobble = _elastic(n, generator)
    out_y = _ROWS - target[:, 0, None, None] + wobble[0]
    out_x = _COLUMNS - target[:, 1, None, None] + wobble[1]
    middle = np.linalg.solve(forward, center[..., None])[..., 0] + 13.5
    y = inverse[:, 0, 0, None, None] * out_y + inverse[:, 0, 1, None, None] * out_x + middle[:, 0, None, None]
    x = inverse[:, 1, 0, None, None] * out_y + inverse[:, 1, 1, None, None] * out_x + middle[:, 1, None, None]
    return _sample(images, y.astype(np.float32), x.astype(np.float32))


def _sample(images: Images, y: Images, x: Images) -> Images:
    """Linear interpolation; outside is paper."""
    n, wide = len(images), SIDE + 2
    source = np.pad(images, ((0, 0), (1, 1), (1, 1))).reshape(n, -1)
    y, x = (y + 1).clip(0, SIDE + 0.999), (x + 1).clip(0, SIDE + 0.999)
    top, left = y.astype(np.int32), x.astype(np.int32)
    down, right = y - top, x - left
    first = (top * wide + left).reshape(n, -1)

    def corner(offset: int) -> Images:
        return np.take_along_axis(source, first + offset, 1).reshape(y.shape)

    upper = corner(0) * (1 - right) + corner(1) * right
    lower = corner(wide) * (1 - right) + corner(wide + 1) * right
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


# --- the camera -----------------------------------------------------------------------------------------------------


def _camera(images: Images, generator: np.random.Generator) -> Images:
    n = len(images)
    # Blur, then sharpening around the middle gray: from soft photographs to hard-edged paint programs.
    blur = _chance(generator, n, 0.2)[:, None, None]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    across = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    soft = (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]) / 16
    images = np.where(blur, images + _uniform(generator, n, 0.2, 0.9) * (soft - images), images)
    steep = np.exp(_uniform(generator, n, -0.1, 1.3)) * np.where(_chance(generator, n, 0.08)[:, None, None], 8, 1)
    pivot = _uniform(generator, n, 0.35, 0.6)
    images = ((images - pivot) * steep + pivot).clip(0, 1).astype(np.float32)
    # Leftovers of ruled paper, dust, and paper grain.
    line = _chance(generator, n, 0.06)[:, None, None] * _uniform(generator, n, 0.15, 0.6)
    across_page = generator.random(n)[:, None, None] < 0.7  # noqa: PLR2004 - most ruled paper has no columns
    where = _uniform(generator, n, 1, SIDE - 2)
    distance = np.where(across_page, np.abs(_ROWS - where), np.abs(_COLUMNS - where))
    images = np.maximum(images, line * (1.2 - distance).clip(0, 1))
    dust = (generator.random(images.shape, dtype=np.float32) < 0.004) & _chance(generator, n, 0.12)[:, None, None]  # noqa: PLR2004 - about three specks
    images = np.maximum(images, dust * _uniform(generator, n, 0.3, 1.0))
    grain = _chance(generator, n, 0.25)[:, None, None] * _uniform(generator, n, 0, 0.1)
    images = images + generator.standard_normal(images.shape, dtype=np.float32) * grain
    pale = np.where(_chance(generator, n, 0.25)[:, None, None], _uniform(generator, n, 0.6, 1.0), 1)
    return (images * pale).astype(np.float32)
