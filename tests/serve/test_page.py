"""The page in a real browser: drawn on with mouse, finger and keyboard."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from page import STROKES, Browser, chromium, read_all

pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no Chromium to open the page with")


SETTLED = "document.body.dataset.state === 'settled'"


@pytest.fixture(scope="module")
def tab(server):
    with Browser(chromium()) as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=1000, height=760, deviceScaleFactor=1, mobile=False)
        browser.open(f"http://127.0.0.1:{server.port}/")
        yield browser
        # Neither an exception nor anything that the policy forbids. 422 is the answer to a stroke that is no digit yet.
        assert [problem for problem in browser.problems if "status of 422" not in problem] == []


@pytest.fixture
def browser(tab):
    tab.value("document.getElementById('clear').click()")
    tab.wait(SETTLED)
    return tab


def test_the_docs_show_every_path(browser, server):
    paths = server.get("/openapi.json").json["paths"]
    try:
        browser.open(f"http://127.0.0.1:{server.port}/docs#schema-InferRequest", ready=SETTLED)
        found = browser.value("[...document.querySelectorAll('#paths summary code')].map((one) => one.textContent)")
        assert sorted(set(found)) == sorted(paths)
        assert "mnistkit" in shown(browser, "title")
        assert browser.value("document.getElementById('schema-InferRequest').open")
        assert browser.value("document.querySelectorAll('#predict dt').length") > 10
    finally:
        browser.open(f"http://127.0.0.1:{server.port}/")


def shown(browser, part):
    return browser.value(f"document.getElementById('{part}').textContent")


def test_digits_drawn_with_the_mouse(browser):
    found = read_all(browser)
    assert sum(read == str(digit) for digit, read in found.items()) >= 9, found


def test_several_digits_are_read_one_by_one(browser):
    for digit, left in ((7, 0), (2, 270)):
        browser.draw([[(left + x / 2, 120 + y / 2) for x, y in stroke] for stroke in STROKES[digit]])
    assert browser.answer() == "72"
    assert shown(browser, "status").startswith("2 digits, ")
    browser.value("document.getElementById('clear').click()")
    assert browser.answer() == "?"


def test_the_answer_is_shown_in_full(browser):
    browser.draw(STROKES[7])
    assert browser.answer() == "7"
    shares = browser.value("[...document.querySelectorAll('[role=meter]')].map((m) => +m.ariaValueNow)")
    assert sum(shares) == pytest.approx(100, abs=0.6)
    assert shares[7] == max(shares)
    widths = browser.value("[...document.querySelectorAll('.meter div')].map((m) => parseFloat(m.style.width))")
    assert widths == pytest.approx(shares, abs=0.1)
    assert shown(browser, "status") == f"{shares[7]:.1f} % sure"
    ink = browser.value(
        "[...document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data]"
        ".filter((v, at) => at % 4 === 0 && v > 128).length"
    )
    assert 20 < ink < 200


def test_undo_and_clear(browser):
    browser.draw(STROKES[4])
    assert browser.answer() == "4"
    browser.value("document.getElementById('undo').click()")
    assert browser.answer() != "?"
    browser.value("document.getElementById('undo').click()")
    assert browser.answer() == "?"
    browser.draw(STROKES[0])
    assert browser.answer() == "0"
    browser.value("document.getElementById('clear').click()")
    assert browser.answer() == "?"
    assert shown(browser, "status") == "Nothing drawn yet."


def test_the_keyboard_draws_takes_back_and_clears(browser):
    def one():
        browser.key(" ")
        for _ in range(18):
            browser.key("ArrowDown")
        browser.key(" ")

    browser.value("document.getElementById('pad').focus()")
    one()
    assert browser.answer() == "1"
    browser.key("z", control=True)
    assert browser.answer() == "?"
    for _ in range(18):
        browser.key("ArrowUp")
    one()
    assert browser.answer() == "1"
    browser.key("Escape")
    assert browser.answer() == "?"


def test_a_finger_draws_on_a_telephone(browser):
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        browser.draw(STROKES[3], touch=True)
        assert browser.answer() == "3"
        assert browser.value("document.documentElement.scrollWidth") <= 390
        assert browser.value("scrollY") == 0  # the finger drew and did not scroll
    finally:
        browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
        browser.call("Emulation.setDeviceMetricsOverride", width=1000, height=760, deviceScaleFactor=1, mobile=False)


def test_dark_mode_is_dark_and_reads_the_same(browser):
    back = "getComputedStyle(document.body).backgroundColor"
    light = browser.value(back)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    try:
        assert browser.value(back) != light
        browser.draw(STROKES[2])
        assert browser.answer() == "2"
    finally:
        browser.call("Emulation.setEmulatedMedia", features=[])
