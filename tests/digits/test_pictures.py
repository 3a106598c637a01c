"""Decoding: every kind of picture is read as a person sees it, every bad file gives one line."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistkit.core.errors import InputError, NoDigitError, PictureError
from mnistkit.digits.pictures import decode, normalize, read_picture


@pytest.fixture
def gray():
    """A thick four, dark on white, higher than wide."""
    picture = np.full((70, 50), 255, np.uint8)
    picture[8:40, 8:14] = picture[34:40, 8:42] = picture[20:62, 30:36] = 0
    return picture


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width, height, *, data=b"", depth=8):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "ICO"])
def test_lossless_formats(gray, kind):
    options = {"lossless": True} if kind == "WEBP" else {"sizes": [(50, 70)]} if kind == "ICO" else {}
    pixels = decode(encoded(Image.fromarray(gray), kind, **options))
    assert pixels.dtype == np.uint8
    assert pixels.shape[:2] == gray.shape
    assert np.array_equal(pixels[..., 0], gray)


def test_jpeg(gray):
    pixels = decode(encoded(Image.fromarray(gray), "JPEG", quality=95))
    assert np.abs(pixels[..., 0].astype(int) - gray).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(gray, orientation):
    inverse = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.T, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(inverse(gray)))
    assert np.array_equal(decode(encoded(stored, "PNG", exif=exif))[..., 0], gray)


def test_damaged_exif_is_ignored(gray):
    assert decode(encoded(Image.fromarray(gray), "PNG", exif=b"Exif\0\0garbage")).shape == (70, 50, 1)


def test_palette_with_transparency(gray):
    image = Image.fromarray(np.where(gray == 0, 1, 0).astype(np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 10, 20, 30])
    pixels = decode(encoded(image, "PNG", transparency=0))
    assert pixels.shape == (70, 50, 4)
    assert pixels[0, 0, 3] == 0
    assert pixels[36, 20].tolist() == [10, 20, 30, 255]


def test_gray_with_a_transparent_level(gray):
    pixels = decode(encoded(Image.fromarray(gray), "PNG", transparency=255))
    assert pixels.shape[2] in {2, 4}
    assert pixels[0, 0, -1] == 0
    assert pixels[36, 20, -1] == 255


def test_one_bit(gray):
    assert np.array_equal(decode(encoded(Image.fromarray(gray).convert("1"), "PNG"))[..., 0], gray)


def test_cmyk(gray):
    pixels = decode(encoded(Image.fromarray(gray).convert("CMYK"), "TIFF"))
    assert pixels.shape == (70, 50, 3)
    assert pixels[0, 0, 0] == 255
    assert pixels[36, 20, 0] == 0


@pytest.mark.parametrize("top", [255, 1023, 4095, 65535])
def test_sixteen_bits(gray, top):
    deep = np.rint(gray.astype(float) / 255 * top).astype(np.uint16)
    assert np.array_equal(decode(encoded(Image.fromarray(deep), "PNG"))[..., 0], gray)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (-3, 5)])
def test_float_tiff(gray, low, high):
    real = (gray / 255 * (high - low) + low).astype(np.float32)
    assert np.array_equal(decode(encoded(Image.fromarray(real), "TIFF"))[..., 0], gray)


def test_float_tiff_with_nan(gray):
    real = (gray / 255).astype(np.float32)
    real[0, 0] = np.nan
    assert decode(encoded(Image.fromarray(real), "TIFF"))[1, 1, 0] == 255


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animation_is_its_first_frame(gray, kind):
    frames = [Image.fromarray(np.full_like(gray, 255)) for _ in range(2)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(gray), kind, save_all=True, append_images=frames, **options)
    assert np.array_equal(decode(content)[..., 0], gray)


def test_sources_agree(gray, tmp_path):
    path = tmp_path / "four.jpg"  # judged by content: it is a PNG
    path.write_bytes(encoded(Image.fromarray(gray), "PNG"))
    for source in (path, str(path), path.read_bytes(), Image.fromarray(gray), gray, gray[..., None]):
        assert np.array_equal(decode(source)[..., 0], gray)


def test_arrays_of_another_kind_are_refused(gray):
    with pytest.raises(InputError, match="uint8"):
        decode(gray.astype(np.float32))
    with pytest.raises(InputError, match="got \\(2, 2, 5\\)"):
        decode(np.zeros((2, 2, 5), np.uint8))
    with pytest.raises(PictureError, match="no pixels"):
        decode(np.zeros((0, 0), np.uint8))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "it is text"),
        (LFS, "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        (bytes(range(256)), "no known picture format"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC|damaged|not a picture"),
        (png_header(0, 0), "no pixels|damaged|not a picture"),
        (png_header(100_000, 100_000), "limit of"),
        (png_header(12_000, 12_000), "limit of"),
        (png_header(9_000, 9_000), "limit of"),
        (png_header(10, 10, data=b"nonsense"), "damaged"),
    ],
)
def test_bad_files_give_one_line_with_name_and_cause(tmp_path, content, cause):
    path = tmp_path / "digit.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=cause) as caught:
        read_picture(path)
    assert "digit.png" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files(kind, share):
    noise = np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    with pytest.raises(PictureError):
        decode(content[: int(len(content) * share)])


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(PictureError, match="no such file"):
        decode(tmp_path / "none.png")
    with pytest.raises(PictureError, match="is a folder"):
        decode(tmp_path)
    with pytest.raises(PictureError):
        decode("nul\0byte.png")


def test_limit_can_be_set(gray):
    with pytest.raises(PictureError, match="limit of 100"):
        decode(gray, max_pixels=100)


@pytest.mark.parametrize("level", [0, 77, 255])
@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (1, 10_000), (10_000, 1), (300, 200, 3), (40, 40, 4)])
def test_nothing_drawn(level, shape):
    with pytest.raises(NoDigitError, match="no digit found"):
        normalize(decode(np.full(shape, level, np.uint8)))


def test_an_error_about_nothing_drawn_names_the_file(tmp_path):
    path = tmp_path / "blank.png"
    Image.new("L", (30, 30), 255).save(path)
    with pytest.raises(NoDigitError, match=r"blank\.png"):
        read_picture(path)


def test_a_large_picture_reads_as_its_small_self(gray):
    large = np.kron(gray, np.ones((70, 70), np.uint8))  # 4900 x 3500, above the exact limit
    small, reduced = read_picture(gray), read_picture(encoded(Image.fromarray(large), "PNG"))
    assert np.abs(small - reduced).mean() < 0.02


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16", "CMYK"])
def test_every_mode_can_be_reduced(gray, mode):
    large = Image.fromarray(np.kron(gray, np.ones((70, 70), np.uint8)))
    if mode == "I;16":
        large = Image.fromarray(np.asarray(large).astype(np.uint16) * 257)
    content = encoded(large.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    pixels = decode(content)
    assert pixels.shape[0] < 4900
    assert np.abs(read_picture(gray) - normalize(pixels)).mean() < 0.02


def test_a_reduced_picture_keeps_its_transparent_level(gray):
    large = Image.fromarray(np.kron(gray, np.ones((70, 70), np.uint8)))
    pixels = decode(encoded(large, "PNG", transparency=255))
    assert pixels.shape[2] == 4
    assert pixels[0, 0, 3] == 0
    assert pixels[36 * 35, 20 * 35, 3] == 255


def test_a_reduced_picture_is_upright(gray):
    large = np.kron(gray, np.ones((70, 70), np.uint8))
    tag = Image.Exif()
    tag[0x112] = 6
    lying = Image.fromarray(np.ascontiguousarray(np.rot90(large)))
    for kind in ("PNG", "JPEG", "TIFF"):
        assert np.abs(read_picture(gray) - read_picture(encoded(lying, kind, exif=tag))).mean() < 0.02


MEMORY = """
import re, sys
from pathlib import Path
from mnistkit.digits.pictures import decode
def peak():  # of this program alone, as Linux counts it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
before = peak()
decode(sys.argv[1])
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux' /proc")
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_the_largest_pictures_take_less_than_300_mb(python, tmp_path, mode):
    Image.new(mode, (8000, 8000)).save(tmp_path / "large.png", compress_level=1)
    ran = python("-c", MEMORY, tmp_path / "large.png", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert 10 < int(ran.out) < 300


def test_decoders_that_hold_more_get_smaller_limits():
    wide = Image.new("RGB", (8000, 6000))
    with pytest.raises(PictureError, match="limit of 16000000"):
        decode(encoded(wide, "WEBP", method=0))
    with pytest.raises(PictureError, match="limit of 42666666"):
        decode(encoded(wide, "JPEG", progressive=True, subsampling=0))
    assert decode(encoded(wide, "JPEG", progressive=True, subsampling=2)).shape == (1500, 2000, 3)


def test_a_long_thin_picture_of_few_bytes_is_refused(gray):
    content = png_header(1_000_000, 1)
    for source in (content, np.zeros((1, 100_001), np.uint8)):
        with pytest.raises(PictureError, match="has a side of more than 100000 pixels"):
            decode(source)
    strip = np.pad(gray, ((0, 0), (0, 40_000)), constant_values=255)
    for source in (strip, encoded(Image.fromarray(strip), "PNG")):
        assert max(decode(source).shape) <= 16_384
    assert decode(np.pad(gray, ((0, 0), (0, 9_000)), constant_values=255)).shape == (70, 9_050, 1)


def test_a_progressive_jpeg_of_hundreds_of_scans_is_refused(gray):
    jpeg = encoded(Image.fromarray(gray), "JPEG", progressive=True)
    assert decode(jpeg).shape == (70, 50, 1)
    last = jpeg.rindex(b"\xff\xda")
    many = jpeg[:last] + 200 * jpeg[last:-2] + jpeg[-2:]
    with pytest.raises(PictureError, match=r"progressive JPEG of 2\d\d scans"):
        decode(many)


def test_an_icon_is_measured_before_it_is_decoded(gray):
    for inner in (png_header(20_000, 20_000), struct.pack("<IiiHHIIiiII", 40, 20_000, 40_000, 1, 32, 0, 0, 0, 0, 0, 0)):
        entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
        with pytest.raises(PictureError, match="20000 x 20000 is more than the limit"):
            decode(b"\0\0\1\0\1\0" + entry + inner)
    assert decode(encoded(Image.fromarray(gray), "ICO", sizes=[(50, 70)])).shape[:2] == (70, 50)
