"""Draw ten digits on the server's page in headless Chromium, and take its picture.

    python benchmarks/page.py PORT [PICTURE.png]

Prints what each was read as, and writes the page with the 5 drawn, light and dark side by side. Drives Chromium through
its debugging pipe, so it needs nothing but a Chromium and Pillow.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

Stroke = list[tuple[float, float]]
SIDE = 560  # of the pad, in its own pixels
_PAD = "document.querySelectorAll('#bars li').length === 10"


def chromium() -> str | None:
    """The browser, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def _arc(center: tuple[int, int], radii: tuple[int, int], degrees: tuple[int, int]) -> Stroke:
    """Part of an ellipse; degrees clockwise from the right."""
    (x, y), (rx, ry), (start, end) = center, radii, degrees
    turns = [math.radians(start + (end - start) * step / 24) for step in range(25)]
    return [(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns]


STROKES: dict[int, list[Stroke]] = {
    0: [_arc((280, 280), (105, 160), (-90, 270))],
    1: [[(300, 110), (265, 450)]],
    2: [[*_arc((275, 200), (95, 85), (190, 400)), (180, 440), (395, 430)]],
    3: [[*_arc((265, 195), (95, 80), (200, 440)), *_arc((265, 355), (105, 85), (-80, 160))]],
    4: [[(200, 110), (180, 290), (390, 280)], [(370, 130), (335, 460)]],
    5: [[(380, 115), (220, 120), (205, 255), *_arc((265, 340), (100, 95), (-110, 140))]],
    6: [[(350, 105), (250, 190), *_arc((280, 355), (90, 85), (190, 550))]],
    7: [[(170, 130), (390, 125), (320, 280), (265, 455)]],
    8: [[*_arc((280, 195), (75, 75), (90, -90)), *_arc((280, 195), (75, 75), (-90, -270))[1:],
         *_arc((280, 360), (92, 90), (-90, 270))[1:]]],
    9: [[*_arc((275, 200), (85, 80), (0, -360)), (360, 200), (350, 330), (325, 455)]],
}  # fmt: skip


class Browser(AbstractContextManager["Browser"]):
    """A headless Chromium with one tab."""

    def __init__(self, binary: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        flags = ["--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--force-prefers-reduced-motion", "--remote-debugging-pipe",
                 f"--user-data-dir={self._folder.name}"]  # fmt: skip
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # which root cannot have
        # Chromium reads commands from descriptor 3 and writes answers to 4; the shell puts ours there.
        shell = f"exec {binary} {' '.join(flags)} 3<&{to_read} 4>&{to_write}"
        self._process = subprocess.Popen(
            ["bash", "-c", shell], pass_fds=[to_read, to_write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._received = b""
        self._numbers = itertools.count(1)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.problems: list[str] = []
        """What the page wrote to its console as an error, and exceptions in it."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._to)
        os.close(self._from)
        self._folder.cleanup()

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the DevTools protocol, and its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(20)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            about = answer.get("params", {})
            if answer.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(about["exceptionDetails"]))
            if answer.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
                self.problems.append(about["entry"]["text"])

    def open(self, address: str, *, ready: str = _PAD) -> None:
        """Go there, and wait until an expression in the page is true."""
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && ({ready})")

    def value(self, script: str) -> Any:
        """Of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.value(f"!!({condition})"):
            if time.monotonic() > deadline:
                raise TimeoutError(condition)
            time.sleep(0.02)

    def key(self, key: str, *, control: bool = False) -> None:
        """Press and release."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=2 if control else 0)

    def draw(self, strokes: list[Stroke], *, touch: bool = False) -> None:
        """Draw on the pad with the mouse or a finger."""
        box = self.value("(b => [b.left, b.top, b.width])(document.getElementById('pad').getBoundingClientRect())")
        left, top, width = box
        for stroke in strokes:
            places = [(left + x * width / SIDE, top + y * width / SIDE) for x, y in stroke]
            for at, (x, y) in enumerate(places):
                if touch:
                    kind = "touchMove" if at else "touchStart"
                    self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
                else:
                    kind = "mouseMoved" if at else "mousePressed"
                    self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
            if touch:
                self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            else:
                x, y = places[-1]
                self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)

    def answer(self) -> str:
        """The digit that the page shows once it has asked for what is drawn now."""
        self.wait("document.body.dataset.state === 'settled'")
        return str(self.value("document.getElementById('digit').textContent"))

    def picture(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _next(self, seconds: float) -> Any:
        while b"\0" not in self._received:
            if not select.select([self._from], [], [], seconds)[0]:
                raise TimeoutError("Chromium does not answer")
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise RuntimeError("Chromium has ended")
            self._received += piece
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)


def read_all(browser: Browser, *, touch: bool = False) -> dict[int, str]:
    """What each of the ten drawn digits is read as."""
    found = {}
    for digit, strokes in STROKES.items():
        browser.value("document.getElementById('clear').click()")
        browser.draw(strokes, touch=touch)
        found[digit] = browser.answer()
    return found


def main() -> int:
    """Draw and print."""
    from PIL import Image

    binary = chromium()
    if binary is None:
        print("no Chromium; install one", file=sys.stderr)
        return 1
    with Browser(binary) as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=1000, height=760, deviceScaleFactor=1, mobile=False)
        browser.open(f"http://127.0.0.1:{sys.argv[1]}/")
        found = read_all(browser)
        for digit, read in found.items():
            print(f"{digit} read as {read}")
        if len(sys.argv) > 2:
            shots = []
            for scheme in ("light", "dark"):
                browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                browser.value("document.getElementById('clear').click()")
                browser.draw(STROKES[5])
                browser.answer()
                shots.append(Image.open(io.BytesIO(browser.picture())).convert("RGB"))
            both = Image.new("RGB", (shots[0].width + shots[1].width, shots[0].height))
            both.paste(shots[0], (0, 0))
            both.paste(shots[1], (shots[0].width, 0))
            both.quantize(128).save(Path(sys.argv[2]), optimize=True)
        for problem in browser.problems:
            print(problem, file=sys.stderr)
    return 0 if sum(read == str(digit) for digit, read in found.items()) >= 9 and not browser.problems else 1


if __name__ == "__main__":
    sys.exit(main())
