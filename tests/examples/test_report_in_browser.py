"""A report in a real browser: wide and narrow, light and dark, with the rules of accessibility and without network."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AXE = ROOT / "examples" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
SCRIPT = Path(__file__).with_name("report_in_browser.py")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = [
    told
    for is_missing, told in (
        (CHROMIUM is None, "there is no Chromium: install the package chromium"),
        (not AXE.is_file(), "axe-core is missing: run python tools/node_packages.py"),
        (find_spec("playwright") is None, "playwright is missing: pip install playwright"),
        (find_spec("matplotlib") is None, "matplotlib is missing: pip install matplotlib"),
    )
    if is_missing
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING))


def look_at(path, *schemes):
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), CHROMIUM, str(AXE), path.as_uri(), ",".join(schemes)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    from mnistkit.publish.report.write import write_report

    folder = tmp_path_factory.mktemp("report")
    for path in (ROOT / "exports").glob("mnist-jax.*"):
        shutil.copy(path, folder)
    _, (written, *_) = write_report(folder / "mnist-jax.onnx", device="cpu")
    return written


@pytest.fixture(scope="module")
def seen(page):
    return look_at(page, "light", "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("size", "width"), [("desktop", 1100), ("phone", 390)])
def test_nothing_is_cut_asked_for_or_against_the_rules(seen, size, width, scheme):
    found = seen[f"{size} {scheme}"]
    assert found["violations"] == []
    assert (found["width"], found["cut"]) == (width, [])
    assert set(found["asked"]) <= {"file", "data"}
    assert found["told"] == []


def test_figures_change_with_the_page(seen):
    light, dark = seen["desktop light"], seen["desktop dark"]
    assert light["back"] == "rgb(255, 255, 255)"
    assert dark["back"] != light["back"]
    assert dark["ink"] != light["ink"]


def test_the_policy_refuses_scripts_and_the_network(seen):
    assert seen["policy"] == {"ran": False, "refused": ["img-src", "script-src-elem"]}


def test_what_is_wrong_is_found(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    text = text.replace("default-src 'none'", "default-src 'unsafe-inline' http:").replace("img-src data:", "img-src *")
    text = text.replace("--quiet: #57606a", "--quiet: #d0d0d0").replace(' role="img"', "", 1)
    broken.write_text(text.replace("<main>", '<main style="width: 1500px; max-width: none">'), encoding="utf-8")
    found = look_at(broken, "light")
    assert found["phone light"]["width"] > 390
    assert found["phone light"]["cut"]
    assert any(line.startswith("color-contrast") for line in found["desktop light"]["violations"])
    assert found["policy"]["ran"]
