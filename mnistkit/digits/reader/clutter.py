"""What stands on pages and is no digit: text, signs, scribbles, dots, drawings."""

# ruff: noqa: PLR2004 - shares and ranges of chance, each used once

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from mnistkit.digits.reader.canvas import IGNORED
from mnistkit.digits.reader.ink import cropped, font, text_image
from mnistkit.digits.reader.strokes import draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.digits.reader.canvas import Canvas
    from mnistkit.digits.reader.ink import Fonts

    Patch = NDArray[np.uint8]

SIGNS: Final = ("+", "-", "-", "times", "by", "=", "(", ")", "/", "/", "/", ",", ".", ":")
"""A stroke is seen most often, since it looks most like a digit."""
_LETTERS: Final = "ABCDEFGHJKMNPQRTUVWXYabcdefhkmnprtuvwxyäöüéñßшжикд&%$€#@?!*~<>"  # none that is also a digit
_WORD: Final = string.ascii_lowercase + "eeeaaiinnrrttss"


def word(g: np.random.Generator) -> str:
    """Letters that could be a word; now and then with a digit or a number inside, as forms and prices have."""
    letters = "".join(g.choice(list(_WORD), int(g.integers(2, 10))))
    kind = g.random()
    if kind < 0.4:
        return letters.capitalize()
    if kind < 0.5:
        return letters.upper()
    return letters


def text_lines(canvas: Canvas, fonts: Fonts, g: np.random.Generator, *, lines: int, size: int) -> None:
    """Lines of text somewhere, printed or by hand."""
    by_hand = bool(fonts.hand) and g.random() < 0.4
    faces = fonts.hand if by_hand else fonts.printed
    face = str(g.choice(faces)) if faces else None
    letters = font(face, size)
    rows, columns = canvas.ink.shape
    top, left = int(g.integers(-size, rows)), int(g.integers(-size, int(columns * 0.8)))
    for _ in range(lines):
        words = [word(g) for _ in range(int(g.integers(1, 7)))]
        if g.random() < 0.25:
            words.append(str(g.integers(1, 10 ** int(g.integers(1, 5)))))
        image = np.asarray(text_image(" ".join(words), letters))
        if canvas.is_free(top, left, *image.shape):
            canvas.put(image, top, left)
        top += round(size * 1.35)


def large_letters(canvas: Canvas, fonts: Fonts, g: np.random.Generator, *, height: int) -> None:
    """A word as large as the digits, none of whose letters could be one."""
    faces = (*fonts.hand, *fonts.printed)
    letters = font(str(g.choice(faces)) if faces else None, max(int(height * 1.35), 8))
    text = "".join(g.choice(list(_LETTERS), int(g.integers(1, 7))))
    image = text_image(text, letters, margin=3)
    lean = float(g.normal(0, 0.15))
    image = image.transform(
        image.size, Image.Transform.AFFINE, (1, lean, -lean * image.height / 2, 0, 1, 0), Image.Resampling.BILINEAR
    )
    somewhere(canvas, cropped(np.asarray(image)), g)


def somewhere(canvas: Canvas, patch: Patch, g: np.random.Generator, *, tries: int = 4) -> None:
    """Put it where nothing is, if such a place is found."""
    for _ in range(tries):
        top = int(g.integers(-patch.shape[0] // 3, max(canvas.ink.shape[0] - patch.shape[0] // 2, 1)))
        left = int(g.integers(-patch.shape[1] // 3, max(canvas.ink.shape[1] - patch.shape[1] // 2, 1)))
        if canvas.is_free(top, left, *patch.shape):
            canvas.put(patch, top, left)
            return


def scribble(g: np.random.Generator, *, height: float, pen: float) -> Patch:
    """A tangle, a wave, a zigzag, an arrow, a tick, a cross, a star or a long line."""
    kind = int(g.integers(0, 7))
    wide = g.uniform(0.8, 4)
    if kind == 0:  # a tangle
        lines = [g.uniform(0, 1, (int(g.integers(8, 20)), 2)) * (wide * 0.6, 1)]
    elif kind == 1:  # a wave, as a signature has
        x = np.linspace(0, wide, 40)
        lines = [
            np.stack([x + 0.1 * np.sin(x * 9), 0.3 * np.sin(x * g.uniform(5, 14)) * g.uniform(0.3, 1, 40) + 0.5], 1)
        ]
    elif kind == 2:  # zigzag
        count = int(g.integers(5, 14))
        lines = [np.stack([np.linspace(0, wide, count), np.arange(count) % 2 + g.normal(0, 0.1, count)], 1)]
    elif kind == 3:  # an arrow
        lines = [np.array([[0, 0.5], [wide, 0.5]]), np.array([[wide - 0.3, 0.25], [wide, 0.5], [wide - 0.3, 0.75]])]
    elif kind == 4:  # a tick or a cross
        tick = np.array([[0, 0.6], [0.25, 1], [0.8, 0]])
        lines = [tick] if g.random() < 0.4 else [np.array([[0, 0], [0.8, 1.0]]), np.array([[0.8, 0], [0, 1.0]])]
    elif kind == 5:  # a star
        turn = np.arange(6) * 4 * np.pi / 5
        lines = [np.stack([0.5 + 0.5 * np.sin(turn), 0.5 - 0.5 * np.cos(turn)], 1)]
    else:  # a long line
        lines = [np.array([[0, g.uniform(0, 0.3)], [wide * 2, g.uniform(0, 0.3)]])]
    lines = [line + g.normal(0, 0.02, line.shape) for line in lines]
    turn_by = g.uniform(-0.5, 0.5)
    turned = np.array([[np.cos(turn_by), np.sin(turn_by)], [-np.sin(turn_by), np.cos(turn_by)]])
    return draw([line @ turned for line in lines], height, pen)


def sign(g: np.random.Generator, *, height: float, pen: float) -> tuple[Patch, float]:
    """An operator or a separator, and how far its middle is above the foot of the line in heights of a digit."""
    return sign_named(str(g.choice(SIGNS)), g, height=height, pen=pen)


def sign_named(kind: str, g: np.random.Generator, *, height: float, pen: float) -> tuple[Patch, float]:
    """As `sign`, for one of `SIGNS`."""
    half = 0.5
    if kind == "+":
        lines, size = [np.array([[0, half], [1, half]]), np.array([[half, 0], [half, 1.0]])], g.uniform(0.35, 0.7)
    elif kind == "-":
        lines, size = [np.array([[0, 0], [1.0, 0]])], g.uniform(0.3, 0.6)
    elif kind == "times":
        lines, size = [np.array([[0, 0], [1.0, 1]]), np.array([[1.0, 0], [0, 1]])], g.uniform(0.3, 0.55)
    elif kind == "by":
        lines = [
            np.array([[0, half], [1, half]]),
            np.array([[half, 0.1], [half, 0.14]]),
            np.array([[half, 0.86], [half, 0.9]]),
        ]
        size = g.uniform(0.4, 0.65)
    elif kind == "=":
        lines, size = [np.array([[0, 0.3], [1.0, 0.3]]), np.array([[0, 0.7], [1.0, 0.7]])], g.uniform(0.35, 0.6)
    elif kind in {"(", ")"}:
        bend = np.linspace(-1, 1, 8)
        x = 0.25 * bend**2
        lines, size = [np.stack([x if kind == "(" else -x, (bend + 1) / 2], 1)], g.uniform(1.15, 1.4)
    elif kind == "/":
        lines, size = [np.array([[g.uniform(0.35, 0.6), 0], [0, 1.0]])], g.uniform(1.15, 1.6)
    else:
        tail = 0.25 if kind == "," else 0.02
        lines, size = [np.array([[0.1, 0], [0, tail]])], 1.0
        if kind == ":":
            lines.append(lines[0] + (0, 0.5))
        return draw(lines, height, pen * 1.2), 0.28 if kind == ":" else 0.02
    lines = [line + g.normal(0, 0.03, line.shape) for line in lines]
    return draw(lines, height * size, pen), half


def cross_out(canvas: Canvas, g: np.random.Generator, *, pen: float) -> None:
    """Scribble over one digit: what is there is no digit any more."""
    if not canvas.boxes:
        return
    place = int(g.integers(len(canvas.boxes)))
    x, y, wide, high, _ = canvas.boxes[place]
    count = int(g.integers(5, 12))
    tangle = g.uniform(-0.15, 1.15, (count, 2)) * (wide + 4, high)
    if g.random() < 0.5:  # to and fro
        tangle = np.stack([np.arange(count) % 2 * (wide + 6), np.linspace(0, high, count)], 1) + g.normal(
            0, 1.5, (count, 2)
        )
    patch = draw([tangle / high], high, pen)
    canvas.put(patch, int(y - patch.shape[0] / 2), int(x - patch.shape[1] / 2))
    canvas.boxes[place] = (x, y, wide, high, IGNORED if count < 7 else -3)  # a few lines may leave it readable
