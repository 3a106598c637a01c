"""Digits as strokes: the shapes that people write and MNIST has few or none of.

A shape is a list of strokes, a stroke a list of points in a box that is 1 high; ``y`` goes down. A hand moves every
point a little. The flagged 1, the crossed 7 and others are those of European schools.
"""

# ruff: noqa: PLR2004 - shares and ranges of chance, each used once

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Points = list[tuple[float, float]]
    Stroke = tuple[bool, Points]  # whether it is a smooth curve, and its points
    Shape = list[Stroke]

_CURVE_STEPS: Final = 7  # line segments between two points of a curve
_SUPERSAMPLED: Final = 2
_SQUARED: Final = 0.2  # share of digits at right angles
_DRAWN_HEIGHT: Final = 60.0  # pixels, before it is made smaller


def _one(g: np.random.Generator, *, foot: bool) -> Shape:
    reach, drop = g.uniform(0.12, 0.48), g.uniform(0.12, 0.62)
    lean = g.uniform(-0.04, 0.06)
    flag: Points = [(0.5 - reach, drop), (0.5 + lean, 0), (0.5, 1)]
    shape: Shape = [(False, flag)]
    if g.random() < 0.25:  # a bent flag
        shape = [(True, [(0.5 - reach, drop), (0.5 - reach * 0.4, drop * 0.55), (0.5 + lean, 0)]), (False, flag[1:])]
    if foot:
        left, right = g.uniform(0.12, 0.35, 2)
        shape.append((False, [(0.5 - left, 1), (0.5 + right, 1)]))
    return shape


def _seven(g: np.random.Generator, *, bar: bool) -> Shape:
    width, end = g.uniform(0.45, 0.75), g.uniform(0.0, 0.35)
    top: Points = [(0, 0.02), (width, 0)]
    if g.random() < 0.3:  # a serif
        top = [(0, g.uniform(0.1, 0.2)), *top]
    shape: Shape = [(False, [*top, (end, 1)])]
    if g.random() < 0.4:  # a bent stem
        shape = [(False, top), (True, [(width, 0), (width * 0.62 + end * 0.2, 0.45), (end, 1)])]
    if bar:
        y = g.uniform(0.38, 0.62)
        x = width + (end - width) * y
        left, right = g.uniform(0.12, 0.32, 2)
        tilt = g.uniform(-0.08, 0.08)
        shape.append((False, [(x - left, y + tilt), (x + right, y - tilt)]))
    return shape


def _four(g: np.random.Generator, *, closed: bool) -> Shape:
    y, width, stem = g.uniform(0.55, 0.75), g.uniform(0.55, 0.8), g.uniform(0.38, 0.52)
    if closed:
        return [(False, [(stem, 1), (stem, 0), (0, y), (width, y)])]
    start, top = g.uniform(0.0, 0.22), g.uniform(0.0, 0.45)
    return [
        (False, [(start, 0), (0.02, y), (width, y - g.uniform(-0.05, 0.05))]),
        (False, [(stem + 0.05, top), (stem, 1)]),
    ]


def _zero(g: np.random.Generator, *, slash: bool) -> Shape:
    wide, start = g.uniform(0.26, 0.42), g.uniform(0, 6.28)
    turn = np.linspace(start, start - 2 * np.pi * g.uniform(0.97, 1.04), 10)
    shape: Shape = [(True, [(0.4 + wide * float(np.cos(t)), 0.5 - 0.5 * float(np.sin(t))) for t in turn])]
    if slash:
        shape.append((False, [(0.4 - wide * g.uniform(0.5, 1.1), 0.9), (0.4 + wide * g.uniform(0.5, 1.1), 0.1)]))
    return shape


def _two(g: np.random.Generator, *, loop: bool) -> Shape:
    arc: Points = [(0.03, 0.2), (0.3, 0.0), (0.55, 0.22), (0.38, 0.58)]
    if loop:
        return [(True, [*arc, (0.12, 0.9), (0.0, 0.93), (0.06, 0.78), (0.25, 0.88), (0.45, 1.0), (0.68, 0.92)])]
    return [(True, [*arc, (0.02, 0.98)]), (False, [(0.02, 0.98), (g.uniform(0.5, 0.7), 0.98)])]


def _three(g: np.random.Generator, *, flat: bool) -> Shape:
    waist = (g.uniform(0.2, 0.32), 0.44)
    belly: Points = [waist, (0.48, 0.5), (0.6, 0.72), (0.3, 1.0), (0.0, 0.88)]
    if flat:
        return [(False, [(0.02, 0.02), (0.55, 0.0), waist]), (True, belly)]
    return [(True, [(0.03, 0.12), (0.3, 0.0), (0.52, 0.2), *belly])]


def _five(g: np.random.Generator, *, apart: bool) -> Shape:
    belly: Points = [(0.08, 0.42), (0.35, 0.36), (0.6, 0.66), (0.32, 1.0), (0.0, 0.9)]
    gap = g.uniform(0.0, 0.12) if apart else 0.0
    start = (0.1, g.uniform(0.0, 0.08) if apart else 0.02)
    return [
        (False, [start, belly[0]]),
        (True, belly),
        (False, [(0.1 + gap, 0.02), (g.uniform(0.5, 0.7), g.uniform(-0.05, 0.05))]),
    ]


def _six(g: np.random.Generator, *, straight: bool) -> Shape:
    bowl: Points = [(0.03, 0.72), (0.1, 0.95), (0.3, 1.0), (0.52, 0.78), (0.36, 0.55), (0.06, 0.72)]
    if straight:
        return [(False, [(g.uniform(0.15, 0.6), 0.0), (0.03, 0.72)]), (True, bowl)]
    return [(True, [(g.uniform(0.4, 0.55), 0.02), (0.18, 0.3), *bowl])]


def _eight(g: np.random.Generator, *, two_rings: bool) -> Shape:
    upper = g.uniform(0.4, 0.5)
    turn = np.linspace(0, 2 * np.pi, 9)
    if two_rings:
        rings: Shape = []
        for middle, high, wide in ((upper / 2, upper / 2, 0.22), ((1 + upper) / 2, (1 - upper) / 2, 0.28)):
            rings.append((True, [(0.35 + wide * float(np.sin(t)), middle - high * float(np.cos(t))) for t in turn]))
        return rings
    points: Points = [
        (0.55, 0.12),
        (0.33, 0.0),
        (0.12, 0.2),
        (0.33, upper),
        (0.58, 0.76),
        (0.33, 1.0),
        (0.08, 0.76),
        (0.33, upper),
        (0.52, 0.24),
        (0.5, 0.1),
    ]
    return [(True, points)]


def _nine(g: np.random.Generator, *, curled: bool) -> Shape:
    ring: Points = [(0.52, 0.18), (0.3, 0.0), (0.03, 0.22), (0.26, 0.46), (0.52, 0.2)]
    if curled:
        return [(True, ring), (True, [(0.52, 0.2), (0.5, 0.7), (0.28, 1.0), (0.02, 0.88)])]
    return [(True, ring), (False, [(0.53, 0.05), (g.uniform(0.3, 0.55), 1.0)])]


_SHAPES: Final[dict[int, tuple[str, Callable[..., Shape]]]] = {
    0: ("slash", _zero),
    1: ("foot", _one),
    2: ("loop", _two),
    3: ("flat", _three),
    4: ("closed", _four),
    5: ("apart", _five),
    6: ("straight", _six),
    7: ("bar", _seven),
    8: ("two_rings", _eight),
    9: ("curled", _nine),
}  # fmt: skip


_SQUARED_DIGITS: Final = (0, 2, 3, 5, 6, 8, 9)


def _squared(digit: int, g: np.random.Generator) -> Shape:
    """As some draw with a mouse: straight strokes at right angles, as a clock shows them."""
    x, y = g.uniform(0.5, 0.85), g.uniform(0.35, 0.55)
    upper: Points = [(0, y), (0, 0), (x, 0), (x, y)]
    lower: Points = [(0, y), (0, 1), (x, 1), (x, y)]
    bar: Points = [(0, y), (x, y)]
    foot: Points = [(x, 1), (0, 1)]
    shapes: dict[int, list[Points]] = {
        0: [upper, lower],
        2: [[*upper[1:], *reversed(bar)], [*lower[1:3]], bar[:1] + lower[1:2]],
        3: [upper[1:], bar, [bar[1], *foot]],
        5: [[*reversed(upper[:3])], bar, [bar[1], *foot]],
        6: [[*reversed(upper[:3])], [*lower, bar[0]]],
        8: [upper, lower, bar],
        9: [upper, bar, [bar[1], foot[0]] if g.random() < 0.5 else [bar[1], *foot]],
    }
    return [(False, points) for points in shapes[digit]]


def habits(generator: np.random.Generator) -> tuple[bool, ...]:
    """Which of the two shapes of each digit a writer uses."""
    found = generator.random(10) < 0.5  # either
    found[0] = generator.random() < 0.12  # a slashed 0 is rare
    return tuple(bool(habit) for habit in found)


def stroke_digit(
    digit: int,
    height: float,
    *,
    habit: bool,
    pen: float,
    slant: float,
    wobble: float,
    times: int = 1,
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    """One digit drawn with a pen: uint8 ``[rows, columns]``, ink bright, cropped to its ink.

    Args:
        digit: 0 to 9.
        height: In pixels, about.
        habit: Which of the two shapes: with a foot, a bar, a loop, closed, slashed, curled, straight.
        pen: Width of the stroke in pixels.
        slant: Columns to the right for each row up.
        wobble: Standard deviation of the points, in heights.
        times: How often each stroke is drawn.
        generator: Where all chance comes from.
    """
    name, build = _SHAPES[digit]
    shape = build(generator, **{name: habit})
    return _drawn(shape * times, height, pen=pen, slant=slant, wobble=wobble, generator=generator)


def _drawn(
    shape: Shape, height: float, *, pen: float, slant: float, wobble: float, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """A shape by an unsteady hand."""
    wide = generator.uniform(0.8, 1.25)
    lines = []
    for smooth, points in shape:
        moved = np.array(points) * (wide, 1.0) + generator.normal(0, wobble, (len(points), 2))
        lines.append(_curve(moved) if smooth and len(points) > 2 else moved)
    for line in lines:
        line[:, 0] += slant * (1 - line[:, 1])
    return draw(lines, height, pen)


def draw_digit(digit: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """One digit by any hand as MNIST shows its own: float32 ``[28, 28]`` in [0, 1], its longer side 20 pixels."""
    g = generator
    pen = float(np.exp(g.normal(np.log(0.1), 0.35)).clip(0.04, 0.22)) * _DRAWN_HEIGHT
    slant, wobble = float(g.normal(0.05, 0.15)), float(g.uniform(0.01, 0.045))
    if digit in _SQUARED_DIGITS and g.random() < _SQUARED:
        ink = _drawn(_squared(digit, g), _DRAWN_HEIGHT, pen=pen, slant=slant / 2, wobble=wobble, generator=g)
    else:
        habit = habits(g)[digit]
        ink = stroke_digit(digit, _DRAWN_HEIGHT, habit=habit, pen=pen, slant=slant, wobble=wobble, generator=g)
    factor = 20 / max(ink.shape)
    size = max(round(ink.shape[1] * factor), 1), max(round(ink.shape[0] * factor), 1)
    small = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BOX), np.float32) / 255
    top, left = (28 - size[1]) // 2, (28 - size[0]) // 2
    return np.pad(small, ((top, 28 - size[1] - top), (left, 28 - size[0] - left)))


def draw(lines: list[NDArray[np.float64]], height: float, pen: float) -> NDArray[np.uint8]:
    """Polylines with round ends and corners: uint8 ``[rows, columns]``, cropped to its ink."""
    scale = height * _SUPERSAMPLED
    width = max(round(pen * _SUPERSAMPLED), 1)
    low = np.min([line.min(0) for line in lines], 0)
    high = np.max([line.max(0) for line in lines], 0)
    margin = width / 2 + 2
    size = np.ceil((high - low) * scale + 2 * margin).astype(int)
    size += size % _SUPERSAMPLED
    image = Image.new("L", (int(size[0]), int(size[1])))
    pencil = ImageDraw.Draw(image)
    for line in lines:
        points = [(float(x), float(y)) for x, y in (line - low) * scale + margin]
        pencil.line(points, fill=255, width=width)
        if width > 2:  # thinner ones have no visible ends or corners
            for x, y in points:
                pencil.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    small = image.reduce(_SUPERSAMPLED)
    box = small.getbbox()
    return np.asarray(small.crop(box) if box else small)


def _curve(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Catmull-Rom spline through the points."""
    ends = np.concatenate([points[:1], points, points[-1:]])
    before, start, end, after = ends[:-3, None], ends[1:-2, None], ends[2:-1, None], ends[3:, None]
    t = np.linspace(0, 1, _CURVE_STEPS)[None, :, None]
    spline = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    found: NDArray[np.float64] = spline.reshape(-1, 2)
    return found
