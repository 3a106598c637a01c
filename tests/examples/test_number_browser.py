"""The file that reads numbers in a real browser: the reader's strings."""

import io
import shutil

import pytest
from browsing import PACKAGES, ROOT, hosting, needs_browser
from PIL import Image

from mnistkit.digits.number_graph.examples import example_pages

needs_browser()


@pytest.fixture(scope="module")
def opened(browser, number_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("host")
    for name in ("number.html", "number.mjs"):
        shutil.copy(ROOT / "examples" / "browser" / name, folder / name)
    (folder / "node_modules").symlink_to(PACKAGES)
    shutil.copy(number_file, folder / "number.onnx")
    with hosting(folder) as address:
        page = browser.new_page()
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(f"{address}number.html?model=number.onnx")
        page.get_by_text("No picture yet.").wait_for(timeout=120_000)
        yield page
        page.close()
    assert problems == []


def png(picture):
    stream = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(stream, "PNG")
    return stream.getvalue()


READ = """async (bytes) => {
    const { read } = await import("./number.mjs");
    return read(new File([new Uint8Array(bytes)], "picture.png"));
}"""


def test_the_readers_strings(opened, reader_text):
    contents = [png(picture) for picture in example_pages()[:8]]  # the last one is larger than a canvas is worth here
    answers = [opened.evaluate(READ, list(content)) for content in contents]
    assert [answer["text"] for answer in answers] == [reader_text(content) for content in contents]
    assert not any(answer["in_doubt"] for answer in answers)


def test_the_page_shows_them(opened):
    opened.locator("#file").set_input_files(
        [{"name": "a.png", "mimeType": "image/png", "buffer": png(example_pages()[0])}]
    )
    opened.get_by_text("72104 (").or_(opened.get_by_text("72104  (")).wait_for(timeout=120_000)
    opened.locator("#file").set_input_files(
        [{"name": "b.png", "mimeType": "image/png", "buffer": png(example_pages()[3])}]
    )
    opened.get_by_text("no digit found").wait_for(timeout=120_000)
    opened.locator("#file").set_input_files([{"name": "c.png", "mimeType": "image/png", "buffer": b"no picture"}])
    opened.get_by_text("c.png: ").wait_for(timeout=120_000)
