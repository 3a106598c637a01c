"""What docs/serving.md says is what the code says."""

import json
import re
import sys
from pathlib import Path

import pytest

from mnistkit.serve.openapi import document
from mnistkit.serve.settings import Settings, flag_table

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def text():
    return (ROOT / "docs" / "serving.md").read_text()


def test_the_flags(text):
    assert flag_table() in text


def test_the_python(text, tmp_path, asset):
    import shutil

    from doc_blocks import blocks, run

    (tmp_path / "exports").mkdir()
    shutil.copy(asset, tmp_path / "exports" / "mnist.onnx")
    assert run(blocks(text, "docs/serving.md"), tmp_path) == []
    with pytest.raises(ModuleNotFoundError):
        run(blocks(text.replace("mnistkit.serve.asgi", "mnistkit.serve.asgii"), "docs/serving.md"), tmp_path)


def test_the_speed(text):
    from serve import table

    assert table(json.loads((ROOT / "benchmarks" / "results" / "serve.json").read_text())) in text


def test_every_status_of_the_openapi_document_is_explained(text):
    paths = document(Settings(token_file="x")).get("paths").values()  # noqa: S106 - a path
    statuses = {
        status for path in paths for way in path.values() if isinstance(way, dict) for status in way["responses"]
    }
    explained = set(re.findall(r"\b[1-5]\d\d\b", "\n".join(re.findall(r"^\| [\d, ]+ \|", text, re.MULTILINE))))
    assert statuses - {"200"} <= explained


def test_every_limit_has_a_test():
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    flags = re.findall(r"`(--[a-z-]+)`", flag_table())
    assert flags
    assert [flag for flag in flags if flag not in tests] == []
