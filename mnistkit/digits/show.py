"""What the classifier saw, for people: a PNG beside the picture, and characters in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw

from mnistkit.core.files import check_writable, replacing
from mnistkit.digits.contract import SHOWN
from mnistkit.digits.pictures import decode

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from mnistkit.digits.classifier import Prediction
    from mnistkit.digits.digit_string import DigitString
    from mnistkit.digits.readings import NumberReading, Reading

_SIDE: Final = 280  # of each panel, in pixels
_GAP: Final = 16
_WIDEST: Final = 1600  # longest side of the picture with boxes
_CAPTION: Final = 40  # pixels a digit's caption needs
_BEHIND: Final = (160, 160, 160)
_SHADES: Final = " .:-=+*#%@"


def show(reading: Reading | NumberReading) -> str:
    """Write the PNG of a reading without error and return what to print about it.

    Raises:
        OutputError: The PNG cannot be written.
    """
    from mnistkit.digits.readings import Reading

    if isinstance(reading, Reading) and reading.number is None:
        assert reading.prediction is not None
        assert reading.image28 is not None
        path = save(reading.source, reading.image28, reading.prediction)
        return f"{as_characters(reading.image28)}\n{path}"
    assert reading.number is not None
    return str(save_digits(reading.source, reading.number))


def as_characters(image28: npt.NDArray[np.float32]) -> str:
    """The 28x28 as lines of text, two characters a pixel so that it is as wide as it is high.

    Args:
        image28: float32 ``[28, 28]`` in [0, 1].
    """
    levels = np.rint(image28 * (len(_SHADES) - 1)).astype(int).clip(0, len(_SHADES) - 1)
    return "\n".join("".join(_SHADES[level] * 2 for level in row).rstrip() for row in levels)


def shown_path(source: str | os.PathLike[str]) -> Path:
    """Where `save` puts the PNG for a picture: ``digit.jpg`` is shown in ``digit.shown.png``."""
    return Path(source).with_suffix(SHOWN)


def save(source: str | os.PathLike[str], image28: npt.NDArray[np.float32], prediction: Prediction) -> Path:
    """Write a PNG with the picture, the 28x28 that was made of it, and the probabilities as bars.

    Args:
        source: The picture file; the PNG goes beside it.
        image28: What `mnistkit.digits.pictures.read_picture` made of it.
        prediction: What the classifier made of that.

    Raises:
        OutputError: The PNG cannot be written.
    """
    target = shown_path(source)
    check_writable(target)
    panel = Image.new("RGB", (3 * _SIDE + 4 * _GAP, _SIDE + 2 * _GAP), "white")
    panel.paste(_picture(source), (_GAP, _GAP))
    small = Image.fromarray(np.rint(image28 * 255).astype(np.uint8))
    panel.paste(small.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (_SIDE + 2 * _GAP, _GAP))
    _bars(ImageDraw.Draw(panel), prediction, left=2 * _SIDE + 3 * _GAP)
    with replacing(target) as temporary:
        panel.save(temporary, format="PNG")
    return target


def save_digits(source: str | os.PathLike[str], number: DigitString) -> Path:
    """Write a PNG of the picture with a box around each digit, its reading and its confidence.

    Args:
        source: The picture file; the PNG goes beside it.
        number: What was read on it.

    Raises:
        OutputError: The PNG cannot be written.
    """
    target = shown_path(source)
    check_writable(target)
    image = _flat(source)
    image.thumbnail((_WIDEST, _WIDEST))
    scale = image.width / number.width
    # Small pictures are enlarged so that the captions can be read.
    enlarge = max(1, round(_CAPTION / max(scale * max(digit.box.width for digit in number.digits), 1)))
    enlarge = min(enlarge, max(_WIDEST // max(image.size), 1))
    image = image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST)
    scale *= enlarge
    panel = Image.new("RGB", (image.width + 2 * _GAP, image.height + 4 * _GAP), "white")
    panel.paste(image, (_GAP, 2 * _GAP))
    draw = ImageDraw.Draw(panel)
    for digit in number.digits:
        x, y = _GAP + digit.box.x * scale, 2 * _GAP + digit.box.y * scale
        draw.rectangle(
            (x, y, x + digit.box.width * scale, y + digit.box.height * scale), outline=(30, 110, 200), width=2
        )
        caption = f"{digit.label} {digit.confidence:.0%}"
        left, top, right, bottom = draw.textbbox((x, max(y - _GAP, 0)), caption)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill="white")
        draw.text((x, max(y - _GAP, 0)), caption, fill="black")
    with replacing(target) as temporary:
        panel.save(temporary, format="PNG")
    return target


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
