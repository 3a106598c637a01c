"""Look at a picture as the net sees it: at several sizes, since nothing says how large the digits are."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from mnistkit.core.runtime import Runtime
from mnistkit.digits.reader.confidence import LEAST_SEEN
from mnistkit.digits.reader.peaks import MOST_PEAKS, Found, overlaps, without_overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

FILE: Final = Path(__file__).parents[1] / "assets" / "reader.onnx"
_SIDES: Final = (112, 336)  # pixels along the longest side, for the first looks
_LARGE_SIDE: Final = 1000  # where these find nothing, or only small digits
_SMALL: Final = 20.0  # pixels high
_WANTED: Final = 38.0  # pixels high, for the last look
_READ: Final = (13.0, 120.0)  # heights that the net has learned
_TURNED: Final = 1.5  # by so much another way up must be likelier, as a logarithm
_UNLIKELY: Final = 12.0  # a way up that is less likely than the best by so much is not tried
_DOUBTED: Final = 6.0  # nor one that is less likely than upright by so much
_SECOND: Final = 0.74  # of the wanted size: the second of the last looks
_NEAR: Final = (0.87, 1.15)  # a look at so much of it is good enough
_SAME: Final = 0.4  # of the union of two boxes: one digit
_ALONE: Final = 0.7  # of the chance of what only one of the two sees
_FAINTEST: Final = 0.15  # chance in one look, of what two looks may find together
_MOST_SIDE: Final = 1300
_MOST_PIXELS: Final = 1_200_000
_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_LEAST_SIDE: Final = 32
_UPRIGHT: Final = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_90}


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What was found at one size; boxes in the picture's own pixels.

    Attributes:
        found: The digits.
        scale: Pixels seen for each of the picture.
    """

    found: Found
    scale: float


class TooManyDigitsError(ValueError):
    """More than the net's file gives back: some would be left out without a word."""


def is_there() -> bool:
    """Whether the reader's file is in the package."""
    return FILE.is_file()


@functools.cache
def _runtime() -> Runtime:
    return Runtime(FILE, device="cpu")


def smaller(picture: Pixels) -> Pixels:
    """A large picture by a whole factor smaller, which no look sees all pixels of."""
    factor = max(picture.shape[0], picture.shape[1]) // _MOST_SIDE
    if factor < 2:  # noqa: PLR2004
        return picture
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture, _MODES[picture.shape[2]])
    reduced = np.asarray(image.reduce(factor))
    return reduced if reduced.ndim == 3 else reduced[:, :, None]  # noqa: PLR2004


def find_digits(picture: Pixels) -> tuple[Found, int]:
    """All digits of a decoded picture.

    Args:
        picture: uint8 ``[rows, columns, channels]``, as `mnistkit.digits.pictures.decode` returns it.

    Returns:
        The digits, boxes in pixels of the picture turned upright; and by how many quarter turns
        counterclockwise it lay.
    """
    planes = to_planes(picture)
    found = _at_best_size(planes)
    votes = _votes(found)
    read = [(found, 0)]
    for turns in _turns(votes) if len(found) else ():
        upright = [planes[0].transpose(_UPRIGHT[turns])] * 2
        if planes[0] is not planes[1]:
            upright[1] = planes[1].transpose(_UPRIGHT[turns])
        other = _at_best_size(upright)
        if max(votes[turns], _votes(other)[0]) > votes[0] + _TURNED:  # so the page says, as it lies or turned
            read.append((other, turns))
    return max(read, key=lambda one: float(one[0].confidences.sum()))


def to_planes(picture: Pixels) -> list[Image.Image]:
    """The smallest and the largest of the colors of each pixel; one image where they are the same."""
    channels = picture.shape[2]
    colors = picture[:, :, : 1 if channels <= 2 else 3]  # noqa: PLR2004  # gray, or gray and alpha
    each = [colors[:, :, channel] for channel in range(colors.shape[2])]  # ten times as fast as along an axis
    low, high = functools.reduce(np.minimum, each), functools.reduce(np.maximum, each)
    if len(each) == 1:
        high = low
    if channels in {2, 4}:
        alpha = picture[:, :, -1].astype(np.uint16)
        shown = int((high.astype(np.uint64) * alpha).sum()) / max(int(alpha.sum(dtype=np.uint64)), 1)
        see_through = (alpha < 128).mean() > 0.3  # noqa: PLR2004
        page = 0 if see_through and shown > 160 else 255  # noqa: PLR2004  # light ink would not be seen on white
        low, high = (((v * alpha + page * (255 - alpha)) // 255).astype(np.uint8) for v in (low, high))
    first = Image.fromarray(np.ascontiguousarray(low))
    return [first, first if high is low else Image.fromarray(np.ascontiguousarray(high))]


def _at_best_size(planes: list[Image.Image]) -> Found:
    longest = max(planes[0].size)
    looks = [_look(planes, side / longest) for side in _SIDES]
    height = _height(looks)
    if height is None or height * looks[-1].scale < _SMALL:
        scale = min(_LARGE_SIDE / longest, _largest(planes))
        if scale > 1.3 * looks[-1].scale:
            looks.append(_look(planes, scale))
            height = _height(looks)
    if height is None:
        return looks[-1].found.only(looks[-1].found.chances >= LEAST_SEEN)
    wanted = min(_WANTED / height, _largest(planes))
    first = _near(looks, planes, wanted)
    if wanted < _NEAR[0] * _WANTED / height:  # small digits on a large page: a second look would see less
        return _joined(first, [look for look in looks if look is not first])
    pair = [first, _near(looks, planes, wanted * _SECOND)]
    best = Look(_agreed(*(look.found for look in pair)), pair[0].scale)
    return _joined(best, [look for look in looks if all(look is not one for one in pair)])


def _near(looks: list[Look], planes: list[Image.Image], wanted: float) -> Look:
    """The look at about this scale, made if there is none."""
    best = min(looks, key=lambda look: abs(math.log(look.scale / wanted)))
    if not _NEAR[0] <= best.scale / wanted <= _NEAR[1]:
        best = _look(planes, wanted)
        looks.append(best)
    return best


def _agreed(first: Found, second: Found) -> Found:
    """What two looks find together: their probabilities averaged, less sure where only one of them sees a digit."""
    found = first.only(np.ones(len(first), bool))
    free = np.ones(len(second), bool)
    for place in range(len(first)):
        overlap = np.where(free, overlaps(first.boxes[place], second.boxes), 0)
        if not overlap.max(initial=0) > _SAME:
            found.chances[place] *= _ALONE
            continue
        other = int(overlap.argmax())
        free[other] = False
        found.chances[place] = (first.chances[place] + second.chances[other]) / 2
        both = np.sqrt(first.classes[place] * second.classes[other])
        found.classes[place] = both / both.sum()
        found.turns[place] = (first.turns[place] + second.turns[other]) / 2
        found.boxes[place] = (first.boxes[place] + second.boxes[other]) / 2
    alone = second.only(free)
    return _merged([found, Found(alone.boxes, alone.chances * np.float32(_ALONE), alone.classes, alone.turns)])


def _largest(planes: list[Image.Image]) -> float:
    return math.sqrt(_MOST_PIXELS / (planes[0].width * planes[0].height))


def _look(planes: list[Image.Image], scale: float) -> Look:
    width, height = (max(round(side * scale), _LEAST_SIDE) for side in planes[0].size)
    seen = [
        np.asarray(_resized(plane, (width, height))) for plane in (planes[:1] if planes[0] is planes[1] else planes)
    ]
    answer = _runtime().run({"pixels": np.stack([seen[0], seen[-1]], axis=2)})
    if len(answer["chances"]) >= MOST_PEAKS:
        raise TooManyDigitsError(f"more than {MOST_PEAKS} digits")
    across, down = planes[0].width / width, planes[0].height / height
    boxes = answer["boxes"] * np.array([across, down, across, down], np.float32)
    found = Found(boxes, answer["chances"], answer["classes"], answer["turns"])
    return Look(without_overlaps(found.only(found.chances >= _FAINTEST)), height / planes[0].height)


def _resized(plane: Image.Image, size: tuple[int, int]) -> Image.Image:
    larger = size[0] > plane.width or size[1] > plane.height
    method = Image.Resampling.BICUBIC if larger else Image.Resampling.BILINEAR
    return plane.resize(size, method, reducing_gap=None if larger else 2.0)


def _good(look: Look) -> NDArray[np.bool_]:
    high = look.found.boxes[:, 3:].max(1, initial=0) * look.scale
    return np.asarray((look.found.chances >= LEAST_SEEN) & (high >= _READ[0]) & (high <= _READ[1]))


def _height(looks: list[Look]) -> float | None:
    """The usual height of a digit in the picture's pixels, from all looks."""
    found = _merged([look.found.only(_good(look)) for look in looks])
    if not len(found):
        return None
    return float(np.median(found.boxes[:, 3]))


def _joined(best: Look, others: list[Look]) -> Found:
    """What the best look finds, and digits of other sizes that it could not see."""
    sure = best.found.only(best.found.chances >= LEAST_SEEN)
    parts = [sure]
    for look in others:
        chosen = _good(look)
        high = look.found.boxes[:, 3] * best.scale
        parts.append(look.found.only(chosen & ((high < _READ[0]) | (high > _READ[1]))))
    return _merged(parts)


def _merged(parts: list[Found]) -> Found:
    return without_overlaps(
        Found(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("boxes", "chances", "classes", "turns")
            )
        )
    )


def _votes(found: Found) -> NDArray[np.float32]:
    """How likely each number of quarter turns is to all digits together, as a logarithm; 0 for all where none is."""
    return np.asarray(np.log(found.turns.clip(1e-4)).sum(0), np.float32)


def _turns(votes: NDArray[np.float32]) -> list[int]:
    """By how many quarter turns the page may lie; nothing where it is upright without doubt."""
    likely = [turns for turns in _UPRIGHT if votes[turns] > max(votes[0] - _DOUBTED, votes.max() - _UNLIKELY)]
    return sorted(likely, key=lambda turns: -votes[turns])[:2]
