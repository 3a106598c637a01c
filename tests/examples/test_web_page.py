"""The page to draw on of ``mnistkit export --web``, in a real browser."""

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from browsing import PACKAGES, ROOT, SIZES, STROKES, draw, give, hosting, needs_browser, settled, violations, watched
from PIL import Image, PngImagePlugin
from same_answers import assert_same

from mnistkit.publish.web import web_folder

needs_browser()

PICTURE_FILE = ROOT / "exports" / "mnist-cnn-picture.onnx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return web_folder(PICTURE_FILE, tmp_path_factory.mktemp("web") / "site", ort=PACKAGES).path


@pytest.fixture(scope="module")
def host(folder):
    with hosting(folder) as address:
        yield address


@pytest.fixture(scope="module")
def opened(browser, host):
    """The page, ready; nothing was wrong with it, and it asked for nothing outside its folder."""
    context = browser.new_context(viewport=SIZES["desktop"], has_touch=True)
    page, asked, problems = watched(context, host)
    yield page
    context.close()
    assert problems == []
    assert len(asked) >= 5
    assert {url for url in asked if not url.removeprefix("blob:").startswith(host)} == set()


@pytest.fixture
def page(opened):
    opened.locator("#clear").click()
    settled(opened)
    return opened


def answer(page):
    """What the page shows, with the probabilities that its model gave."""
    digit = settled(page)
    shares = page.locator("#bars [role=meter]").evaluate_all("all => all.map(one => +one.ariaValueNow)")
    return digit, shares


def test_ten_digits_drawn_with_the_mouse(page):
    found = {}
    for digit, strokes in STROKES.items():
        page.locator("#clear").click()
        draw(page, strokes)
        found[digit] = settled(page)
    assert sum(read == str(digit) for digit, read in found.items()) >= 9, found


def test_the_answer_is_shown_in_full(page):
    draw(page, STROKES[7])
    digit, shares = answer(page)
    assert digit == "7"
    assert sum(shares) == pytest.approx(100, abs=0.6)
    assert shares[7] == max(shares)
    assert page.locator("#status").inner_text() == f"{shares[7]:.1f} % sure"
    ink = page.locator("#seen").evaluate(
        "seen => [...seen.getContext('2d').getImageData(0, 0, 28, 28).data].filter((v, at) => at % 4 === 0 && v > 128)"
        ".length"
    )
    assert 20 < ink < 200
    page.locator("#undo").click()
    assert settled(page) == "?"


def test_keyboard_and_finger(page):
    page.locator("#pad").focus()
    for key in (" ", *["ArrowDown"] * 18, " "):
        page.keyboard.press(key)
    assert settled(page) == "1"
    page.keyboard.press("Escape")
    assert settled(page) == "?"
    box = page.locator("#pad").bounding_box()
    session = page.context.new_cdp_session(page)
    for at, (x, y) in enumerate(STROKES[0][0]):
        place = {"x": box["x"] + x * box["width"] / 560, "y": box["y"] + y * box["width"] / 560}
        kind = "touchMove" if at else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert settled(page) == "0"


def read(page, path):
    """The answer to a picture file, with the model's own numbers."""
    page.evaluate(
        "() => { const run = Model.prototype.run; window.last = null;"
        "model.run = async (feeds) => { const all = await run.call(model, feeds);"
        "window.last = [...all.probabilities.data]; return all; }; }"
    )
    give(page, Path(path).read_bytes(), Path(path).name)
    page.wait_for_timeout(50)
    while page.evaluate("window.last") is None:
        page.wait_for_timeout(50)
    return {"digit": int(settled(page)), "probabilities": page.evaluate("window.last")}


def test_pictures_are_read_as_in_python(page, pictures, expected):
    chosen = [*range(0, len(pictures), 6), len(pictures) - 1]
    answers = [read(page, pictures[at]) for at in chosen]
    assert len(answers) == 13
    assert_same(answers, [expected[at] for at in chosen])
    with pytest.raises(AssertionError):
        assert_same(answers, [expected[at - 1] for at in chosen])


@pytest.fixture(scope="module")
def odd_pictures(tmp_path_factory, mnist):
    """What browsers and Pillow could decode otherwise."""
    folder = tmp_path_factory.mktemp("odd")
    noise = np.random.default_rng(0)
    ink = np.kron(mnist.x_test[3], np.ones((3, 3), np.uint8))
    red = np.clip(ink.astype(int) // 2 + noise.integers(0, 60, ink.shape), 0, 255)
    color = np.stack([red, 255 - ink, noise.integers(0, 90, ink.shape)], -1).astype(np.uint8)
    soft = np.clip(ink.astype(int) + noise.integers(0, 40, ink.shape), 0, 255).astype(np.uint8)
    dark = PngImagePlugin.PngInfo()
    dark.add(b"gAMA", (100_000).to_bytes(4, "big"))
    Image.fromarray(np.dstack([color, soft])).save(folder / "half-transparent.png")
    Image.fromarray(color).save(folder / "another-gamma.png", pnginfo=dark)
    Image.fromarray(color).save(folder / "photo.jpg", quality=60)
    Image.fromarray(color).save(folder / "photo.webp", quality=80)
    Image.fromarray(color).quantize(16).save(folder / "palette.png", transparency=0)
    Image.fromarray(ink.astype(np.uint16) * 257).save(folder / "sixteen-bits.png")
    return sorted(folder.iterdir())


PIXELS = """async ([bytes, exact]) => {
    const file = new Blob([new Uint8Array(bytes)]);
    const picture = exact ? await readPicture(file) : await createImageBitmap(file);
    const data = exact ? picture.data : drawnPixels(picture);
    return [picture.height, picture.width, btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""))];
}"""


def test_the_pixels_are_those_of_the_file(page, odd_pictures):
    from mnistkit.digits.pictures import decode

    def pixels(path, *, exact=True):
        height, width, values = page.evaluate(PIXELS, [list(path.read_bytes()), exact])
        return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)

    def largest(path, **options):
        wanted = np.asarray(Image.fromarray(decode(path).squeeze()).convert("RGBA"), int)
        return np.abs(pixels(path, **options) - wanted).max()

    assert {path.name: largest(path) for path in odd_pictures} == {path.name: 0 for path in odd_pictures}
    # what a browser does by itself differs, so the comparison can fail
    by_name = {path.name: path for path in odd_pictures}
    assert largest(by_name["another-gamma.png"], exact=False) > 10
    assert largest(by_name["half-transparent.png"], exact=False) > 10


def test_what_cannot_be_read_is_said(page):
    give(page, b"no picture", "letter.txt")
    page.get_by_text("letter.txt is not a picture that this browser can show.").wait_for()
    empty = io.BytesIO()
    Image.new("L", (50, 50), 200).save(empty, "PNG")
    give(page, empty.getvalue())
    page.get_by_text("Nothing found").wait_for()
    assert settled(page) == "?"


def test_the_folder_is_small_and_says_the_license(folder):
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    assert sum(files.values()) <= 14e6
    assert max(files.values()) < 25 * 2**20
    assert "Microsoft" in (folder / "onnxruntime-web.LICENSE.txt").read_text()
    policy = (folder / "index.html").read_text()
    assert "default-src 'none'" in policy
    assert "http:" not in policy
    assert "https:" not in policy


def test_it_can_be_drawn_on_before_the_model_is_there(browser, host):
    page = browser.new_page(service_workers="block")
    held = []
    page.route("**/runtime-*.js", lambda route: held.append(route))  # noqa: PLW0108  # it writes on it
    page.goto(host)
    page.get_by_text("Loading the model: ").wait_for()
    draw(page, STROKES[7])
    assert page.locator("#digit").inner_text() == "?"
    assert page.locator("#status").inner_text().startswith("Loading the model: ")
    (waiting,) = held
    waiting.continue_()
    assert settled(page) == "7"
    page.close()


def test_the_second_visit_needs_no_network(browser, folder):
    context = browser.new_context()
    try:
        with hosting(folder) as address:
            page, *_ = watched(context, address)
            page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
        page.reload()  # the host is gone
        page.locator("body[data-model=ready]").wait_for(timeout=120_000)
        draw(page, STROKES[3])
        assert settled(page) == "3"
    finally:
        context.close()


def test_it_opens_from_a_disk(browser, folder, tmp_path):
    context = browser.new_context()
    try:
        page, asked, problems = watched(context, (folder / "index.html").as_uri())
        draw(page, STROKES[2])
        assert settled(page) == "2"
        assert problems == []
        assert {url.partition(":")[0] for url in asked} == {"file", "blob"}
        broken = shutil.copytree(folder, tmp_path / "broken")
        next(broken.glob("model-*.js")).unlink()
        page.goto((broken / "index.html").as_uri())
        page.get_by_text("is missing. Copy the whole folder").wait_for()
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_accessible(page, size, scheme):
    page.set_viewport_size(SIZES[size])
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    draw(page, STROKES[7])
    assert settled(page) == "7"
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    assert violations(page) == []


def test_axe_finds_what_is_wrong(browser):
    page = browser.new_page()
    page.set_content("<html><body><input><img src='data:,'></body></html>")
    found = violations(page)
    assert {line.partition(":")[0] for line in found} >= {"label", "image-alt", "document-title"}
    page.close()
