"""The picture graph: the same digit whatever was done to the picture, and MNIST itself nearly untouched."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mnistkit
from mnistkit.digits.classifier import Classifier
from mnistkit.digits.data import load_data
from mnistkit.digits.pictures import WORKING_SIDE, center_digit, find_foreground, normalize, read_picture

ASSETS = Path(mnistkit.__file__).parent / "digits" / "assets"
TOOL = Path(__file__).parents[2] / "tools" / "picture_graphs.py"
PER_WAY = 24  # pictures for each of the ways below: more than 500 together
SIDE = 280  # of the pages, so that a tenth of it is MNIST's own size


@pytest.fixture(scope="module")
def classifier(asset):
    return Classifier(asset, device="cpu")


@pytest.fixture(scope="module")
def digits():
    """MNIST digits drawn large on white, with smooth strokes."""
    images = load_data().x_test
    order = np.random.default_rng(5).permutation(len(images))
    pages = []
    for image in images[order[:PER_WAY]]:
        large = np.asarray(Image.fromarray(image).resize((220, 220), Image.Resampling.BICUBIC), np.float32)
        ink = (255 / (1 + np.exp(-(large - 110) / 12))).astype(np.uint8)
        pages.append(255 - np.pad(ink, 30))
    return pages


@pytest.fixture(scope="module")
def expected(digits, classifier):
    return [classifier.predict(normalize(page[..., None]))[0].digit for page in digits]


def scaled(page, factor):
    size = max(round(page.shape[1] * factor), 1), max(round(page.shape[0] * factor), 1)
    return np.asarray(
        Image.fromarray(page).resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC)
    )


def moved(page, down, right):
    canvas = np.full((2 * SIDE, 2 * SIDE), 255, np.uint8)
    top, left = round((0.5 + down) * SIDE), round((0.5 + right) * SIDE)
    canvas[top : top + SIDE, left : left + SIDE] = page
    return canvas


def through(page, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(page).save(stream, kind, **options)
    return stream.getvalue()


def in_alpha(page, level):
    picture = np.full((*page.shape, 4), level, np.uint8)
    picture[..., 3] = 255 - page
    return picture


def erased(page, level):
    """Ink on a transparent canvas, and the stripe of an eraser that paints in the color of the page."""
    picture = in_alpha(page, level)
    picture[-8:-2, : SIDE // 2] = [255 - level, 255 - level, 255 - level, 255]
    return picture


INVERSE = {  # of what a reader does for each EXIF orientation
    1: lambda page: page,
    2: np.fliplr,
    3: lambda page: np.rot90(page, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda page: np.rot90(page, 1),
    7: lambda page: np.rot90(page.T, 2),
    8: lambda page: np.rot90(page, -1),
}


def exif(page, orientation):
    tag = Image.Exif()
    tag[0x112] = orientation
    return through(np.ascontiguousarray(INVERSE[orientation](page)), "JPEG", quality=90, exif=tag)


WAYS = {
    "negative": lambda page: 255 - page,
    **{f"scale {factor}": lambda page, factor=factor: scaled(page, factor) for factor in (0.1, 0.3, 1.7, 6, 20)},
    "up left": lambda page: moved(page, -0.4, -0.4),
    "down right": lambda page: moved(page, 0.4, 0.4),
    "up right": lambda page: moved(page, -0.4, 0.4),
    "dark ink in alpha": lambda page: in_alpha(page, 0),
    "light ink in alpha": lambda page: in_alpha(page, 255),
    "dark ink and a white eraser": lambda page: erased(page, 0),
    "light ink and a black eraser": lambda page: erased(page, 255),
    **{f"EXIF {turn}": lambda page, turn=turn: exif(page, turn) for turn in INVERSE},
    "8 bit": lambda page: through(page, "PNG"),
    "16 bit": lambda page: through(page.astype(np.uint16) * 257, "PNG"),
    "JPEG": lambda page: through(page, "JPEG", quality=60),
    "WebP": lambda page: through(page, "WEBP", quality=70),
    "BMP": lambda page: through(page, "BMP"),
    "TIFF": lambda page: through(page, "TIFF"),
    "pale": lambda page: 255 - (255 - page) // 8,
    "half dark": lambda page: page // 3 + 40,
}


def test_same_digit_whatever_was_done(digits, expected, classifier):
    wrong = [
        (way, digit)
        for way, change in WAYS.items()
        for page, digit in list(zip(digits, expected, strict=True))[
            :: 4 if way == "scale 20" else 1
        ]  # 31 megapixels each
        if classifier.predict(read_picture(change(page)))[0].digit != digit
    ]
    count = (len(WAYS) - 1) * len(digits) + len(digits) // 4
    assert count >= 500
    assert len(wrong) <= 0.005 * count, wrong


def test_a_change_of_the_digit_is_seen(digits, expected, classifier):
    """The test above could not fail if the answer did not depend on the picture."""
    answers = [classifier.predict(read_picture(np.rot90(page, 2)))[0].digit for page in digits]
    assert answers != expected


def test_an_eraser_is_no_ink(digits):
    """Its stripe below the digit leaves the digit as it was; a stripe of ink does not."""
    for page in digits[:10]:
        plain = normalize(in_alpha(page, 0))
        assert np.abs(normalize(erased(page, 0)) - plain).mean() < 0.02
        inked = in_alpha(page, 0)
        inked[-8:-2] = [0, 0, 0, 255]
        inked[40:-2, :8] = [0, 0, 0, 255]
        assert np.abs(normalize(inked) - plain).mean() > 0.05


def test_negative_is_exact(digits):
    for page in digits[:10]:
        assert np.abs(normalize(page[..., None]) - normalize(255 - page[..., None])).max() < 1e-3


def test_mnist_stays_as_it_is(classifier):
    data = load_data()
    images, labels = data.x_test[:200], data.y_test[:200]
    image28 = np.stack([normalize(image[..., None]) for image in images])
    assert np.abs(image28 - images / 255).mean() < 0.03
    plain = (classifier.probabilities(images).argmax(1) == labels).mean()
    assert (classifier.probabilities(image28).argmax(1) == labels).mean() >= plain - 0.02


def test_placed_as_mnist_places(digits):
    for page in digits:
        image28 = normalize(page[..., None])
        rows, columns = np.flatnonzero(image28.max(1) > 0.1), np.flatnonzero(image28.max(0) > 0.1)
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
        middle = (image28.sum(1) @ np.arange(28) / image28.sum(), image28.sum(0) @ np.arange(28) / image28.sum())
        assert np.abs(np.subtract(middle, 14)).max() < 1.6


def shadow(page):
    rows, columns = np.mgrid[: page.shape[0], : page.shape[1]]
    light = 1 - 0.5 / (1 + np.exp(-12 * ((rows + columns) / SIDE - 1.06)))
    return np.clip((60 + page * 0.7) * light, 0, 255).astype(np.uint8)


def ruled(page):
    lined = np.minimum(page, 255)
    lined[15::40] = np.minimum(lined[15::40], 190)
    return lined


def squared(page):
    lined = ruled(page)
    lined[:, 25::40] = np.minimum(lined[:, 25::40], 190)
    return lined


def grain(page):
    noise = np.random.default_rng(0).normal(0, 12, page.shape)
    return np.clip(page * 0.8 + 20 + noise, 0, 255).astype(np.uint8)


def frame(page):
    framed = page.copy()
    framed[:2] = framed[-2:] = 0
    framed[:, :2] = framed[:, -2:] = 0
    return framed


@pytest.mark.parametrize("spoil", [shadow, ruled, squared, grain, frame])
def test_photographs(digits, expected, classifier, spoil):
    answers = [classifier.predict(normalize(spoil(page)[..., None]))[0].digit for page in digits]
    assert np.mean(np.equal(answers, expected)) >= 0.9


@pytest.mark.parametrize("ink", [(20, 30, 160), (180, 20, 30), (250, 240, 30), (110, 110, 110)])
def test_colored_pens(digits, expected, classifier, ink):
    share = (255 - digits[0][..., None]) / 255
    picture = (share * np.array(ink) + (1 - share) * 255).astype(np.uint8)
    assert classifier.predict(normalize(picture))[0].digit == expected[0]


@pytest.fixture(scope="module")
def tool(python, tmp_path_factory):
    """Run ``tools/picture_graphs.py`` from another folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return lambda *arguments: python(TOOL, *arguments, cwd=folder)


def test_committed_graphs_are_what_the_tool_writes(tool):
    ran = tool("--check")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_changed_a_missing_and_a_right_file_are_told_apart(tool, tmp_path):
    shutil.copytree(ASSETS, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.npz"))
    content = (tmp_path / "picture.onnx").read_bytes()
    (tmp_path / "picture.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (tmp_path / "center_digit.onnx").unlink()
    ran = tool("--check", "--assets", tmp_path)
    assert ran.code == 1
    assert [line.split(" is out of date")[0] for line in ran.err.splitlines()] == [
        str(tmp_path / "picture.onnx"),
        str(tmp_path / "center_digit.onnx"),
    ]
    assert tool("--assets", tmp_path).code == 0
    assert tool("--check", "--assets", tmp_path).code == 0
    assert (tmp_path / "picture.onnx").read_bytes() == content


def test_the_halves_and_the_whole_find_the_same_digit(digits):
    """On a page with one digit alone the two graphs for many digits do what the one for a single digit does."""
    page = digits[0][..., None]
    foreground, confident = find_foreground(page, side=WORKING_SIDE)
    assert foreground.shape == confident.shape
    assert (confident <= foreground).all()
    assert np.abs(center_digit(foreground) - normalize(page)).max() < 0.05
    assert np.abs(center_digit(foreground[::-1].copy()) - normalize(page)).max() > 0.5
