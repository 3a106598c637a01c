"""What the classifier saw, for people: a PNG beside the picture, and characters in a terminal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnistkit.core.files import check_writable, replacing
from mnistkit.digits.contract import SHOWN
from mnistkit.digits.pictures import decode

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from mnistkit.digits.classifier import Prediction
    from mnistkit.digits.digit_string import Box, Digit, DigitString
    from mnistkit.digits.readings import NumberReading, Reading

    _Box = tuple[float, float, float, float]

_SIDE: Final = 280  # of each panel, in pixels
_GAP: Final = 16
_WIDEST: Final = 1600  # longest side of the picture with boxes
_LEAST_HEIGHT: Final = 56  # pixels of a digit, so that its confidence fits under it
_LEAST_LETTER: Final = 14  # pixels high
_ROOM: Final = 20  # pixels under the last row, for confidences
_SURE: Final = 0.9
_SURE_COLOR: Final = (30, 110, 200)
_DOUBT_COLOR: Final = (200, 40, 30)
_BEHIND: Final = (160, 160, 160)
_SHADES: Final = " .:-=+*#%@"


def show(reading: Reading | NumberReading, *, folder: Path | None = None) -> str:
    """Write the PNG of a reading without error and return what to print about it.

    Args:
        reading: What was read.
        folder: Where the PNG goes; by default beside the picture.

    Raises:
        OutputError: The PNG cannot be written.
    """
    from mnistkit.digits.readings import Reading

    if isinstance(reading, Reading) and reading.number is None:
        assert reading.prediction is not None
        assert reading.image28 is not None
        path = save(reading.source, reading.image28, reading.prediction, folder=folder)
        return f"{as_characters(reading.image28)}\n{path}"
    assert reading.number is not None
    return str(save_digits(reading.source, reading.number, folder=folder))


def as_characters(image28: npt.NDArray[np.float32]) -> str:
    """The 28x28 as lines of text, two characters a pixel so that it is as wide as it is high.

    Args:
        image28: float32 ``[28, 28]`` in [0, 1].
    """
    levels = np.rint(image28 * (len(_SHADES) - 1)).astype(int).clip(0, len(_SHADES) - 1)
    return "\n".join("".join(_SHADES[level] * 2 for level in row).rstrip() for row in levels)


def shown_path(source: str | os.PathLike[str], *, folder: Path | None = None) -> Path:
    """Where `save` puts the PNG for a picture: ``digit.jpg`` is shown in ``digit.shown.png``."""
    path = Path(source).with_suffix(SHOWN)
    return path if folder is None else folder / path.name


def save(
    source: str | os.PathLike[str],
    image28: npt.NDArray[np.float32],
    prediction: Prediction,
    *,
    folder: Path | None = None,
) -> Path:
    """Write a PNG with the picture, the 28x28 that was made of it, and the probabilities as bars.

    Args:
        source: The picture file.
        image28: What `mnistkit.digits.pictures.read_picture` made of it.
        prediction: What the classifier made of that.
        folder: Where the PNG goes; by default beside the picture.

    Raises:
        OutputError: The PNG cannot be written.
    """
    target = shown_path(source, folder=folder)
    check_writable(target)
    panel = Image.new("RGB", (3 * _SIDE + 4 * _GAP, _SIDE + 2 * _GAP), "white")
    panel.paste(_picture(source), (_GAP, _GAP))
    small = Image.fromarray(np.rint(image28 * 255).astype(np.uint8))
    panel.paste(small.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (_SIDE + 2 * _GAP, _GAP))
    _bars(ImageDraw.Draw(panel), prediction, left=2 * _SIDE + 3 * _GAP)
    with replacing(target) as temporary:
        panel.save(temporary, format="PNG")
    return target


def save_digits(source: str | os.PathLike[str], number: DigitString, *, folder: Path | None = None) -> Path:
    """Write a PNG of the picture with a box around each digit, and beside it the same boxes with what was read.

    Under each digit stands its confidence, where there is room for it; doubtful ones are red.

    Args:
        source: The picture file.
        number: What was read on it.
        folder: Where the PNG goes; by default beside the picture.

    Raises:
        OutputError: The PNG cannot be written.
    """
    target = shown_path(source, folder=folder)
    check_writable(target)
    image = _flat(source)
    image.thumbnail((_WIDEST, _WIDEST))
    # Small pictures are enlarged so that the captions can be read.
    least = min(digit.box.height for digit in number.digits) * image.width / number.width
    enlarge = max(1, min(math.ceil(_LEAST_HEIGHT / max(least, 1)), _WIDEST // max(image.size)))
    image = image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST)
    scale = image.width / number.width
    read = Image.new("RGB", (image.width, image.height + _ROOM), "white")
    boxes = [_scaled_box(digit.box, scale) for digit in number.digits]
    pencil = ImageDraw.Draw(image)
    for box, digit in zip(boxes, number.digits, strict=True):
        pencil.rectangle(box, outline=_color(digit), width=2)
    _write_digits(ImageDraw.Draw(read), number, boxes)
    is_wide = image.width > image.height
    down, across = (image.height + _GAP, 0) if is_wide else (0, image.width + _GAP)
    panel = Image.new(
        "RGB", (read.width + across + 2 * _GAP, max(image.height, down + read.height) + 2 * _GAP), _BEHIND
    )
    panel.paste(image, (_GAP, _GAP))
    panel.paste(read, (_GAP + across, _GAP + down))
    with replacing(target) as temporary:
        panel.save(temporary, format="PNG")
    return target


def _write_digits(draw: ImageDraw.ImageDraw, number: DigitString, boxes: list[_Box]) -> None:
    """Each digit as large as its box, and its confidence under it where neither digit nor confidence is hit."""
    for (left, top, right, bottom), digit in zip(boxes, number.digits, strict=True):
        size = max(round((bottom - top) * 0.9), _LEAST_LETTER)
        at = (left + right) / 2, (top + bottom) / 2
        draw.text(at, digit.label, fill="black", anchor="mm", font=ImageFont.load_default(size))
    small = ImageFont.load_default(_LEAST_LETTER)
    taken = list(boxes)
    order = sorted(range(len(boxes)), key=lambda place: number.digits[place].confidence)
    for place in order:  # the least sure first: there may not be room for all
        left, _, right, bottom = boxes[place]
        digit = number.digits[place]
        share = f"{100 * digit.confidence:.0f} %"
        box = draw.textbbox(((left + right) / 2, bottom + 2), share, anchor="ma", font=small)
        if not any(_overlap(box, other) for other in taken if other is not boxes[place]):
            draw.text(((left + right) / 2, bottom + 2), share, fill=_color(digit), anchor="ma", font=small)
            taken.append(box)


def _scaled_box(box: Box, scale: float) -> _Box:
    return box.x * scale, box.y * scale, (box.x + box.width) * scale, (box.y + box.height) * scale


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _color(digit: Digit) -> tuple[int, int, int]:
    return _SURE_COLOR if digit.confidence >= _SURE else _DOUBT_COLOR


def _picture(source: str | os.PathLike[str]) -> Image.Image:
    """The picture as it was read, inside a square."""
    image = _flat(source)
    image.thumbnail((_SIDE, _SIDE))
    square = Image.new("RGB", (_SIDE, _SIDE), _BEHIND)
    square.paste(image, ((_SIDE - image.width) // 2, (_SIDE - image.height) // 2))
    return square


def _flat(source: str | os.PathLike[str]) -> Image.Image:
    """The picture as it was read, transparency over mid-gray so that ink of either polarity shows."""
    pixels = decode(source)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if pixels.shape[2] % 2 == 1:
        return image.convert("RGB")
    page = Image.new("RGBA", image.size, (*_BEHIND, 255))
    page.alpha_composite(image.convert("RGBA"))
    return page.convert("RGB")


def _bars(draw: ImageDraw.ImageDraw, prediction: Prediction, *, left: int) -> None:
    row = _SIDE / len(prediction.probabilities)
    for digit, probability in enumerate(prediction.probabilities):
        top = _GAP + digit * row
        color = (30, 110, 200) if digit == prediction.digit else (150, 170, 190)
        draw.text((left, top + row / 2 - 6), str(digit), fill="black")
        draw.rectangle((left + 16, top + 4, left + 16 + float(probability) * (_SIDE - 70), top + row - 4), fill=color)
        draw.text((left + _SIDE - 46, top + row / 2 - 6), f"{probability:.1%}", fill="black")
