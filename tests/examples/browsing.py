"""A Chromium to open pages with, a web host for them, and the pen."""

import functools
import http.server
import shutil
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from page import SIDE, STROKES, chromium

__all__ = [
    "PACKAGES", "ROOT", "SIZES", "STROKES", "draw", "give", "hosting", "needs_browser", "open_browser", "settled",
    "violations", "watched",
]  # fmt: skip
ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "examples" / "browser" / "node_modules"


def _missing():
    if chromium() is None:
        return "there is no Chromium to open the page with: install the package chromium"
    if not PACKAGES.is_dir():
        return "the packages of examples/browser are missing: run python tools/node_packages.py"
    if shutil.which("npm") is None:
        return "npm is missing: install Node.js"
    return ""


def needs_browser():
    """Leave a test module out where there is no browser, and say what to install."""
    pytest.importorskip("playwright", reason="playwright is missing: pip install playwright")
    if _missing():
        pytest.skip(_missing(), allow_module_level=True)


SIZES = {"desktop": {"width": 1000, "height": 760}, "phone": {"width": 390, "height": 844}}


@contextmanager
def open_browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def hosting(folder):
    """A static web host; gives its address."""
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def draw(page, strokes):
    """With the mouse."""
    box = page.locator("#pad").bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"] / SIDE, box["y"] + y * box["width"] / SIDE) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()


def violations(page):
    """What axe-core finds against the rules of accessibility, one line each."""
    page.evaluate((PACKAGES / "axe-core" / "axe.min.js").read_text(encoding="utf-8") + "\n;0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")["violations"]
    return [f"{one['id']}: {one['help']} {[node['target'] for node in one['nodes']]}" for one in found]


def watched(context, address):
    """A page whose model is ready, the addresses that it asks for, and what goes wrong on it."""
    page = context.new_page()
    asked, problems = [], []
    context.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.locator("body[data-model=ready]").wait_for(timeout=120_000)
    return page, asked, problems


def settled(page):
    """What the page shows when it has answered."""
    page.locator("body[data-state=settled]").wait_for(timeout=120_000)
    return page.locator("#digit").inner_text()


def give(page, content, name="picture.png"):
    """Drop a file on the page."""
    page.evaluate(
        """([bytes, name]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name));
            dispatchEvent(new DragEvent("drop", { dataTransfer: data }));
        }""",
        [list(content), name],
    )
