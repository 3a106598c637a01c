"""Pages to learn from: numbers in rows, tables, boxes and anywhere, on any paper, with what is no digit around them."""

# ruff: noqa: PLR2004 - shares and ranges of chance, each used once

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mnistkit.digits.reader.canvas import IGNORED, LEAST_SEEN, Canvas, Line
from mnistkit.digits.reader.clutter import (
    cross_out,
    large_letters,
    scribble,
    sign,
    somewhere,
    text_lines,
)
from mnistkit.digits.reader.ink import Fonts, Writer, cropped, write_digit
from mnistkit.digits.reader.paper import light, rulings, scene, show

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE: Final = 256
"""Pixels of a page, each way."""
MOST_BOXES: Final = 64
NO_BOX: Final = -2
SHOWN: Final = 3
"""Pages made from one writing."""
_SPARE: Final = 32  # pixels by which the writing is larger than a page
_TURNED: Final = 0.15  # share of pages that lie on a side or on the head


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A page and where its digits are.

    Attributes:
        pixels: uint8 ``[side, side, 2]``: the smallest and the largest of the three colors.
        boxes: float32 ``[MOST_BOXES, 6]``: center x, center y, width, height in pixels, class (0 to 9, `IGNORED`,
            `NO_BOX`), and by how many quarter turns counterclockwise the page lies.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]


class PageMaker:
    """Makes pages from images of single digits; the same seed gives the same page.

    Args:
        images: uint8 ``[n, 28, 28]``, ink bright.
        labels: Digits ``[n]``.
        fonts: For text, and for a few of the digits.
        seed: Of all chance.
    """

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.integer], *, fonts: Fonts | None = None, seed: int = 1337
    ) -> None:
        self._images, self._fonts, self._seed = images, fonts or Fonts(), seed
        self._last: tuple[tuple[int, int], tuple[Canvas, NDArray[np.uint8] | None, float, float]] | None = None
        self._of = [np.flatnonzero(labels == digit) for digit in range(10)]

    def make(self, number: int, *, side: int = SIDE) -> Page:
        """Page ``number`` of the endless book.

        Each writing is shown `SHOWN` times, cut and lit otherwise: pages that follow each other are made faster.
        """
        writing = number // SHOWN
        if self._last is None or self._last[0] != (writing, side):
            self._last = (writing, side), self._write(np.random.default_rng([self._seed, 0, writing]), side + _SPARE)
        canvas, printed, height, turn = self._last[1]
        g = np.random.default_rng([self._seed, 1, number])
        if printed is None and g.random() < 0.75:
            printed = rulings(*canvas.ink.shape, g, height=height, turn=turn)
        return _finish(canvas, printed, g, side)

    def _write(self, g: np.random.Generator, side: int) -> tuple[Canvas, NDArray[np.uint8] | None, float, float]:
        canvas = Canvas(side, side)
        writer = Writer.any(g, self._fonts)
        kind = g.random()
        height = float(np.exp(g.uniform(np.log(15), np.log(84))))
        turn = float(g.normal(0, 0.05)) if g.random() < 0.6 else 0.0
        printed = None
        if kind < 0.48:
            self._rows(canvas, writer, height, turn, g)
        elif kind < 0.58:
            printed = self._in_boxes(canvas, writer, min(height, 60.0), g)
            turn = 0.0
        elif kind < 0.68:
            height = float(np.exp(g.uniform(np.log(24), np.log(130))))
            self._anywhere(canvas, writer, height, g, most=2 if g.random() < 0.6 else 30)
        elif kind < 0.82:
            self._rows(canvas, writer, min(height, 45.0), turn, g, most=2)
            self._clutter(canvas, height, g, most=5)
        else:
            self._clutter(canvas, height, g, most=8)
        if g.random() < 0.15:
            self._clutter(canvas, height, g, most=2)
        if g.random() < 0.05:
            cross_out(canvas, g, pen=max(writer.pen * height, 1))
        return canvas, printed, height, turn

    def _digit(
        self, writer: Writer, height: float, turn: float, g: np.random.Generator
    ) -> tuple[int, NDArray[np.uint8]]:
        digit = int(g.integers(10))
        image = self._images[g.choice(self._of[digit])]
        return digit, write_digit(writer, digit, cropped(image), height, turn=turn, generator=g)

    def _rows(
        self, canvas: Canvas, writer: Writer, height: float, turn: float, g: np.random.Generator, *, most: int = 30
    ) -> None:
        rows, columns = canvas.ink.shape
        room = g.uniform(1.12, 2.2)
        touching = float(g.choice([0.0, 0.0, 0.15, 0.5, 1.0]))
        spread = float(g.uniform(0.0, 0.12))
        usual = float(np.exp(g.normal(np.log(0.16), 0.7)).clip(0.03, 1.5))
        signs = 0.3 if g.random() < 0.3 else 0.0
        foot = height * g.uniform(0.9, 2.0)
        count = 0
        while foot < rows + 0.2 * height and count < most:
            if g.random() < 0.15:  # an empty line
                foot += height * room
                continue
            count += 1
            line = Line(
                rows, int(g.uniform(-0.3, 2.5) * height) if g.random() < 0.7 else int(g.uniform(0, 0.6) * columns)
            )
            length = int(g.integers(1, 14))
            for _ in range(length):
                if line.right > columns:
                    break
                base = foot - np.tan(turn) * line.right + g.normal(0, spread * 0.5) * height
                if signs and g.random() < signs:
                    patch, above = sign(g, height=height, pen=max(writer.pen * height, 1))
                    top = round(base - above * height - patch.shape[0] / 2)
                    canvas.put(patch, top, line.place(patch, top, gap=g.uniform(0.1, 0.4) * height, touching=False))
                digit, patch = self._digit(writer, height, turn, g)
                near = g.random() < touching
                gap = -g.uniform(0.0, 0.08) * height if near else max(usual * np.exp(g.normal(0, 0.4)) * height, 1.2)
                if not near and g.random() < 0.06:  # the next number
                    gap += g.uniform(0.5, 2.5) * height
                top = round(base - patch.shape[0])
                canvas.put(patch, top, line.place(patch, top, gap=float(gap), touching=near), digit=digit)
            foot += height * room * g.uniform(0.95, 1.1)

    def _anywhere(self, canvas: Canvas, writer: Writer, height: float, g: np.random.Generator, *, most: int) -> None:
        rows, columns = canvas.ink.shape
        for _ in range(int(g.integers(1, most + 1))):
            digit, patch = self._digit(writer, height, 0.0, g)
            for _ in range(3):
                top = int(g.integers(0, max(rows - patch.shape[0], 1)))
                left = int(g.integers(0, max(columns - patch.shape[1], 1)))
                if canvas.is_free(top - 2, left - 2, patch.shape[0] + 4, patch.shape[1] + 4):
                    canvas.put(patch, top, left, digit=digit)
                    break

    def _in_boxes(self, canvas: Canvas, writer: Writer, height: float, g: np.random.Generator) -> NDArray[np.uint8]:
        """Combs and tables: a digit or a number in each cell, or none."""
        rows, columns = canvas.ink.shape
        several = g.random() < 0.4  # numbers in a table, not a comb
        high = height * g.uniform(1.05, 2.0)
        wide = high * (g.uniform(1.5, 4.0) if several else g.uniform(0.75, 1.3))
        pen = max(int(g.uniform(0.02, 0.08) * height), 1)
        top, left = g.uniform(-0.3, 1.5) * high, g.uniform(-0.3, 1.0) * wide
        apart = high * (1.0 if several or g.random() < 0.4 else g.uniform(1.3, 2.5))
        lines = np.zeros((rows, columns), np.uint8)
        cells = int(g.integers(2, 12))
        deep = int(g.integers(1, 9))
        ends = round(left + cells * wide)
        sides = g.random() < 0.85
        for row in range(deep + 1):
            y = round(top + row * apart)
            for edge in (y, round(y + high)) if row < deep else (y,) if apart == high else ():
                lines[max(edge, 0) : max(edge + pen, 0), max(round(left), 0) : max(ends, 0)] = 255
            if row == deep:
                break
            for cell in range(cells + 1):
                x = round(left + cell * wide)
                if sides:
                    lines[max(y, 0) : max(round(y + high), 0), max(x, 0) : max(x + pen, 0)] = 255
                if cell == cells or g.random() < 0.12:
                    continue
                self._in_cell(canvas, writer, height, (y, x, high, wide), several=several, g=g)
        return lines

    def _in_cell(
        self,
        canvas: Canvas,
        writer: Writer,
        height: float,
        cell: tuple[float, float, float, float],
        *,
        several: bool,
        g: np.random.Generator,
    ) -> None:
        y, x, high, wide = cell
        base = y + (high + height) / 2 + g.normal(0, 0.08) * height
        line = Line(canvas.ink.shape[0], round(x + g.uniform(0.05, 0.3) * wide))
        for _ in range(int(g.integers(1, 6)) if several else 1):
            digit, patch = self._digit(writer, height, 0.0, g)
            top = round(base - patch.shape[0])
            if several:
                left = line.place(patch, top, gap=g.uniform(0.06, 0.25) * height, touching=False)
                if left + patch.shape[1] > x + wide:
                    break
            else:
                left = round(x + (wide - patch.shape[1]) / 2 + g.normal(0, 0.07) * wide)
            canvas.put(patch, top, left, digit=digit)

    def _clutter(self, canvas: Canvas, height: float, g: np.random.Generator, *, most: int) -> None:
        for _ in range(int(g.integers(0, most + 1))):
            kind = g.random()
            pen = max(height * g.uniform(0.03, 0.14), 1.0)
            if kind < 0.4:
                text_lines(canvas, self._fonts, g, lines=int(g.integers(1, 9)), size=int(g.integers(8, 34)))
            elif kind < 0.6:
                large_letters(canvas, self._fonts, g, height=int(min(height, 80)))
            elif kind < 0.85:
                somewhere(canvas, scribble(g, height=min(height, 90.0) * g.uniform(0.4, 2.0), pen=pen), g)
            elif kind < 0.93:
                patch, _ = sign(g, height=min(height, 90.0), pen=pen)
                somewhere(canvas, patch, g)
            else:
                dots = g.integers(0, canvas.ink.shape[0] - 4, (int(g.integers(3, 120)), 2))
                size = int(g.integers(1, 4))
                for top, left in dots:
                    canvas.ink[top : top + size, left : left + size] = 255


def _finish(canvas: Canvas, printed: NDArray[np.uint8] | None, g: np.random.Generator, side: int) -> Page:
    top, left = (int(v) for v in g.integers(0, canvas.ink.shape[0] - side + 1, 2))
    window = np.s_[top : top + side, left : left + side]
    turns = int(g.integers(1, 4)) if g.random() < _TURNED else 0
    shade = light(side, side, g) if canvas.boxes or g.random() < 0.6 else scene(side, side, g)
    pixels = show(canvas.ink[window], None if printed is None else printed[window], shade, g)
    boxes = np.full((MOST_BOXES, 6), NO_BOX, np.float32)
    found = _seen([box for box in canvas.boxes if box[4] >= IGNORED], top, left, side)[:MOST_BOXES]
    for _ in range(turns):  # counterclockwise: x, y become y, side - x
        found[:, :4] = found[:, [1, 0, 3, 2]]
        found[:, 1] = side - found[:, 1]
    boxes[: len(found), :5] = found
    boxes[: len(found), 5] = turns
    return Page(np.ascontiguousarray(np.rot90(pixels, turns)), boxes)


def _seen(boxes: list[tuple[float, float, float, float, int]], top: int, left: int, side: int) -> NDArray[np.float64]:
    """The boxes on a part of the canvas; a digit that is cut is ignored."""
    x, y, wide, high, kind = np.array(boxes, np.float64).reshape(-1, 5).T
    low_x, high_x = (x - wide / 2 - left).clip(0, side), (x + wide / 2 - left).clip(0, side)
    low_y, high_y = (y - high / 2 - top).clip(0, side), (y + high / 2 - top).clip(0, side)
    share = (high_x - low_x) * (high_y - low_y) / np.maximum(wide * high, 1)
    kind = np.where(share >= LEAST_SEEN, kind, IGNORED)
    cut = np.stack([(low_x + high_x) / 2, (low_y + high_y) / 2, high_x - low_x, high_y - low_y, kind], 1)
    return np.asarray(cut[(share > 0) & (cut[:, 2] >= 1) & (cut[:, 3] >= 1)])
