"""Any picture to what MNIST would have shown: decoding here, everything else in one ONNX graph.

Python only decodes. What ink is, where it lies and how it is placed is decided by ``assets/picture.onnx``, the same
graph that the exported picture models carry inside, so an app without mnistkit sees exactly the same 28x28.
"""

from __future__ import annotations

import functools
import os
import threading
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from mnistkit.core.errors import InputError, NoDigitError, PictureError, one_line
from mnistkit.core.files import sniff_kind
from mnistkit.core.runtime import Runtime

if TYPE_CHECKING:
    import numpy.typing as npt

    _Sized = tuple[npt.NDArray[np.uint8], tuple[int, int]]
    Source = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]

MAX_PIXELS: Final = 64_000_000
"""Larger pictures are refused from their header, before anything is decoded."""

MAX_SIDE: Final = 100_000
"""Pictures that are wider or higher are refused: looking at them takes memory by the side, not by the pixel."""

WORKING_SIDE: Final = 336
"""Cells along the longest side at which the picture graph looks at a picture: 12 x 28, so that a real MNIST image is
enlarged and reduced again without loss."""

# No EPS (it starts Ghostscript), no TGA (anything may look like one), no formats that stand for documents or video.
_COMMON: Final = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM")  # those Pillow knows without importing all its plug-ins
_FORMATS: Final = (*_COMMON, "AVIF", "HEIF", "ICO", "JPEG2000", "MPO", "QOI", "TIFF", "WEBP")
_ORIENTATION: Final = 0x0112  # EXIF 2.3, table 4
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING: Final = (5, 6, 7, 8)  # width and height change places
_EXACT_PIXELS: Final = 16_000_000  # above this, decoding may reduce: no digit is drawn in that much detail
_EXACT_SIDE: Final = 16_384  # longer ones are reduced: scaling takes 4 KB for each column, however few rows there are
_MOST_SCANS: Final = 100  # of a progressive JPEG, which has about ten; each goes over the whole picture
_SCANNED_PIXELS: Final = 1_000_000_000  # of all scans together
_MEMORY: Final = 256_000_000  # bytes for decoding the largest pictures: 64 million pixels of four channels
_WHOLE_FRAME: Final = ("AVIF", "JPEG2000", "WEBP")  # their decoders hold several copies


def read_picture(source: Source) -> npt.NDArray[np.float32]:
    """Read a picture the way a person would: ``(28, 28)`` in [0, 1], ink bright, as MNIST has it.

    Args:
        source: A path, the bytes of a picture file, a Pillow image, or a uint8 array ``[h, w]`` or ``[h, w, 1..4]``.

    Raises:
        NoDigitError: Nothing is drawn on the picture.
        PictureError: The picture cannot be read.
        InputError: An array has the wrong type or shape.
    """
    return normalize(decode(source), name=name_of(source))


def decode(source: Source, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """The pixels of a picture as a person sees them: uint8 ``[height, width, channels]``.

    One channel is gray, two are gray and alpha, three RGB, four RGBA. EXIF orientation is applied, palettes are
    resolved, of an animation the first frame is taken. The file is judged by its content, not by its name.

    Args:
        source: See `read_picture`.
        max_pixels: Pictures with more pixels are refused before they are decoded.

    Raises:
        PictureError: Not a picture, damaged, empty, or too large.
        InputError: An array has the wrong type or shape.
    """
    return decode_sized(source, max_pixels=max_pixels)[0]


def decode_sized(source: Source, *, max_pixels: int = MAX_PIXELS) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """As `decode`, and the picture's own width and height, upright: very large pictures are decoded smaller."""
    if isinstance(source, np.ndarray):
        array = _from_array(source, max_pixels)
        return array, (array.shape[1], array.shape[0])
    if isinstance(source, Image.Image):
        return _pixels(source, name_of(source), max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_stream(BytesIO(source), name_of(source), max_pixels)
    name = name_of(source)
    try:
        with open(source, "rb") as stream:  # noqa: PTH123 - also takes PathLike objects that pathlib does not
            return _from_stream(stream, name, max_pixels)
    except FileNotFoundError:
        raise PictureError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise PictureError(f"{name}: is a folder; give the pictures in it") from None
    except (OSError, ValueError, TypeError) as error:
        raise PictureError(f"{name}: cannot be opened ({one_line(error, limit=200)})") from None


def normalize(picture: npt.NDArray[np.uint8], *, name: str = "picture") -> npt.NDArray[np.float32]:
    """Make a decoded picture look like MNIST: ``(28, 28)`` float32 in [0, 1], ink bright.

    Args:
        picture: What `decode` returns.
        name: How error messages call the picture.

    Raises:
        NoDigitError: Nothing is drawn on it.
        MissingExtraError: onnxruntime is not installed.
    """
    found = _graph("picture").run({"picture": np.ascontiguousarray(picture)})
    if not found["ink_fraction"] > 0:
        raise NoDigitError(f"{name}: no digit found; nothing stands out from the background")
    return found["image28"]


def find_foreground(
    picture: npt.NDArray[np.uint8], *, side: float, name: str = "picture"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """All ink of a decoded picture, for pictures with many digits: the first half of what `normalize` does.

    Args:
        picture: What `decode` returns.
        side: Cells along the longest side of the result.
        name: How error messages call the picture.

    Returns:
        float32 ``[rows, columns]`` in [0, 1], ink bright; and the same without what may be noise.

    Raises:
        NoDigitError: Nothing is drawn on it.
        MissingExtraError: onnxruntime is not installed.
    """
    found = _graph("foreground").run({"picture": np.ascontiguousarray(picture), "side": np.array(side, np.float32)})
    if not found["confident_foreground"].any():
        raise NoDigitError(f"{name}: no digit found; nothing stands out from the background")
    return found["foreground"], found["confident_foreground"]


def center_digit(foreground: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """One digit's ink as MNIST would have shown it: the second half of what `normalize` does.

    Args:
        foreground: float32 ``[rows, columns]`` in [0, 1], one digit of `find_foreground` with some room around it.

    Returns:
        float32 ``[28, 28]`` in [0, 1].
    """
    return _graph("center_digit").run({"foreground": np.ascontiguousarray(foreground, np.float32)})["image28"]


@functools.cache
def _graph(name: str) -> Runtime:
    # Optimizing a thousand small nodes takes longer than running them; the answers are the same to the bit.
    return Runtime(Path(__file__).parent / "assets" / f"{name}.onnx", device="cpu", optimize=False)


# --- decoding -------------------------------------------------------------------------------------------------------


def name_of(source: object) -> str:
    """How messages call a picture: its path, or ``picture`` where it has none."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source) if isinstance(os.fspath(source), str) else repr(source)
    return str(getattr(source, "filename", "") or "picture")


def _from_array(array: npt.NDArray[Any], max_pixels: int) -> npt.NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise InputError(f"a picture array must be uint8 with 0..255, got {array.dtype}; scale and cast it first")
    if array.ndim == 2:  # noqa: PLR2004 - a gray plane
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4:  # noqa: PLR2004 - [height, width, channels]
        raise InputError(f"a picture array must be [height, width] or [height, width, 1..4], got {array.shape}")
    _check_size((array.shape[1], array.shape[0]), "picture", max_pixels)
    if max(array.shape) > _EXACT_SIDE:
        factor = -(-max(array.shape) // _EXACT_SIDE)
        planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(array, 2, 0)]
        return np.stack([np.asarray(plane.reduce(factor)) for plane in planes], axis=2)
    return array


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PictureError(f"{name}: has no pixels ({width} x {height}); save it again")
    if max(width, height) > MAX_SIDE:
        raise PictureError(
            f"{name}: {width} x {height} has a side of more than {MAX_SIDE} pixels; cut out what is to be read"
        )
    if width * height > max_pixels:
        raise PictureError(f"{name}: {width} x {height} is more than the limit of {max_pixels} pixels; make it smaller")


_opening = threading.Lock()  # the warnings filter is global


def _from_stream(stream: IO[bytes], name: str, max_pixels: int) -> _Sized:
    head = stream.read(1024)
    stream.seek(0)
    if not head:
        raise PictureError(f"{name}: is empty (0 bytes); get the file again")
    if head[4:8] == b"ftyp" and head[8:12] in {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}:
        _register_heif(name)
    if head.startswith(b"\0\0\1\0"):
        for size in _sizes_in_icon(stream, head):
            _check_size(size, name, max_pixels)
        stream.seek(0)
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = _open(stream)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"{name}: has more pixels than the limit of {max_pixels}; make it smaller") from None
    except UnidentifiedImageError:
        raise PictureError(f"{name}: is not a picture, {_guess(head)}") from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything at all on damaged files
        raise PictureError(f"{name}: is damaged ({one_line(error, limit=200)}); save it again") from None
    with image:
        if image.format in {"JPEG", "MPO"} and image.info.get("progressive"):
            _check_scans(stream, image.size, name)
        return _pixels(image, name, max_pixels)


def _sizes_in_icon(stream: IO[bytes], head: bytes) -> list[tuple[int, int]]:
    """The sizes of the pictures inside an ICO file, from their own headers: its directory says 256 at most."""
    sizes = []
    for number in range(int.from_bytes(head[4:6], "little")):
        entry = head[6 + 16 * number : 22 + 16 * number]
        if len(entry) < 16:  # noqa: PLR2004 - of the format
            break
        stream.seek(int.from_bytes(entry[12:16], "little"))
        start = stream.read(24)
        if len(start) < 24:  # noqa: PLR2004 - as much as both headers need
            continue
        if start.startswith(b"\x89PNG"):
            sizes.append((int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")))
        else:  # a bitmap and its mask, one above the other
            height = abs(int.from_bytes(start[8:12], "little", signed=True)) // 2
            sizes.append((int.from_bytes(start[4:8], "little", signed=True), height))
    return sizes


def _check_scans(stream: IO[bytes], size: tuple[int, int], name: str) -> None:
    """Refuse a progressive JPEG whose scans are made to take time: a few bytes each, all pixels again."""
    here = stream.tell()
    stream.seek(0)
    scans, last = 0, b""
    while chunk := stream.read(1 << 20):
        scans += (last + chunk).count(b"\xff\xda")  # in the data of a scan, FF is followed by 00 or a restart
        last = chunk[-1:]
    stream.seek(here)
    if scans > _MOST_SCANS or scans * size[0] * size[1] > _SCANNED_PIXELS:
        raise PictureError(f"{name}: is a progressive JPEG of {scans} scans; save it again, as baseline JPEG or PNG")


def _open(stream: IO[bytes]) -> Image.Image:
    Image.preinit()
    try:
        return Image.open(stream, formats=_COMMON)
    except UnidentifiedImageError:
        Image.init()
        stream.seek(0)
        return Image.open(stream, formats=[known for known in _FORMATS if known in Image.OPEN])


def _register_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise PictureError(f"{name}: is a HEIC picture; run: pip install pillow-heif, or save it as JPEG") from None
    pillow_heif.register_heif_opener()


def _guess(head: bytes) -> str:
    """What a file that is no picture seems to be, and what to do."""
    kind = sniff_kind(b"<svg" if b"<svg" in head.lower() else head)  # before its root, SVG may have any XML prologue
    if kind:
        return f"it is {kind.name}; {kind.cure or 'give a picture file'}"
    if head.startswith((b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")):
        return "its header is damaged or cut off; save it again"
    with suppress(UnicodeDecodeError):
        head[:256].decode("ascii")
        return "it is text; give a picture file"
    return "its content is of no known picture format; save it as PNG or JPEG"


def _pixels(image: Image.Image, name: str, max_pixels: int) -> _Sized:
    size = image.size
    _check_size(size, name, min(max_pixels, _most_pixels(image)))
    try:
        if image.width * image.height > _EXACT_PIXELS:
            image.draft(None, (image.width // 4, image.height // 4))  # JPEG decodes to a half or a quarter by itself
        image.load()
        _check_size(image.size, name, max_pixels)
        orientation = 1
        with suppress(Exception):  # a damaged EXIF block says nothing about the pixels
            orientation = image.getexif().get(_ORIENTATION, 1)
        factor = 1
        if image.width * image.height > _EXACT_PIXELS:
            factor = 2 if image.width * image.height <= 2 * _EXACT_PIXELS else 4
        factor = max(factor, -(-max(image.size) // _EXACT_SIDE))
        if factor > 1:
            image = _reduced(image, factor)
        if orientation in _TURNS:
            image = image.transpose(_TURNS[orientation])
            size = size[::-1] if orientation in _LYING else size
        return _to_uint8(image), size
    except PictureError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything at all on damaged files
        raise PictureError(f"{name}: is damaged or cut off ({one_line(error, limit=200)}); save it again") from None


def _most_pixels(image: Image.Image) -> int:
    """How many pixels of this kind of file can be decoded within the memory that any picture may take."""
    if image.format in _WHOLE_FRAME:
        return _EXACT_PIXELS
    if image.format in {"JPEG", "MPO"} and image.info.get("progressive"):
        # All coefficients are held until the last scan, two bytes each, for every component as finely as it is sampled.
        areas = [across * down for _, across, down, _ in getattr(image, "layer", [])] or [1, 1, 1]
        return int(_MEMORY / (2 * sum(areas) / max(areas)))
    return MAX_PIXELS


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """The picture that many times smaller, strip by strip: converted whole it would be in memory several times."""
    whole: Image.Image | None = None
    for top in range(0, image.height, 16 * factor):
        strip = image.crop((0, top, image.width, min(top + 16 * factor, image.height)))
        if image.has_transparency_data:
            strip = strip.convert("RGBA")
        elif strip.mode in {"P", "1"}:
            strip = strip.convert("RGB" if strip.mode == "P" else "L")
        elif strip.mode.startswith("I;"):
            strip = strip.convert("I")
        small = strip.reduce(factor)
        if whole is None:
            whole = Image.new(small.mode, (small.width, -(-image.height // factor)))
        whole.paste(small, (0, top // factor))
    assert whole is not None
    return whole


def _to_uint8(image: Image.Image) -> npt.NDArray[np.uint8]:
    mode = image.mode
    if mode in {"F", "I"} or mode.startswith("I;"):
        return _to_eight_bits(np.asarray(image))[..., None]
    if image.has_transparency_data:
        wanted = "LA" if mode in {"L", "LA", "La", "1"} else "RGBA"
    else:
        wanted = "L" if mode in {"L", "1"} else "RGB"
    array = np.asarray(image if mode == wanted else image.convert(wanted))
    return array[..., None] if array.ndim == 2 else array  # noqa: PLR2004 - a gray plane


def _to_eight_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Deep gray: white is the top of the smallest usual range that holds the values (1.0, 8, 10, 12 or 16 bits)."""
    plane = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(plane.min()), float(plane.max())
    ranges = (1, 255, 1023, 4095, 65535) if values.dtype.kind == "f" else (255, 1023, 4095, 65535)
    white = float(next((top for top in ranges if low >= 0 and high <= top), 0))
    if not white:  # no usual range: from darkest to brightest
        plane, white = plane - low, max(high - low, 1e-6)
    return np.asarray(np.rint(plane * (255 / white)), dtype=np.uint8)
