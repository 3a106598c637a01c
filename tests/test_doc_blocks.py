"""Every code block of every page is run or parsed, or says why not. Keras' pages: tests/keras/test_docs_keras.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import doc_blocks
import pytest
from doc_blocks import ALL, ROOT, blocks, check


@pytest.mark.parametrize("page", sorted({block.page for block in ALL}))
def test_the_blocks_of_a_page_are_right(page):
    for block in ALL:
        if block.page == page:
            check(block)


@pytest.mark.parametrize("page", doc_blocks.PAGES)
def test_the_commands_in_the_words_of_a_page_are_right(page):
    doc_blocks.check_words(page, doc_blocks.read(page))


def test_a_wrong_command_in_the_words_is_found():
    text = "Run `mnistkit verify x.onnx --json`, `mnistkit --help` or `mnistkit serve --prot 80`."
    with pytest.raises(ValueError, match=r"page.md, `mnistkit serve --prot 80`: unknown: --prot"):
        doc_blocks.check_words("page.md", text)


@pytest.fixture
def folder(tmp_path):
    """What the pages name: pictures and exported files."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("node*"))
    (tmp_path / "exports").mkdir()
    for path in (ROOT / "exports").glob("*.onnx"):
        shutil.copy(path, tmp_path / "exports")
    return tmp_path


@pytest.mark.parametrize("page", doc_blocks.python_pages("light"))
def test_the_python_of_a_page_prints_what_it_says(page, folder):
    assert doc_blocks.run([block for block in ALL if block.page == page], folder) == []


@pytest.mark.parametrize(("file", "change", "told"), [
    ("mnist-cnn.onnx", {}, ""),
    ("mnist-jax.onnx", {}, "accuracy 0.9453 is below 0.99"),
    ("mnist-jax.onnx", {"float32 [batch, 784]": "float16 [batch, 784]"}, "inputs: "),
    ("nowhere.onnx", {}, "nowhere.onnx"),
])  # fmt: skip
def test_the_script_for_ci_checks_a_model(file, change, told, folder):
    (script,) = (block.code for block in ALL if block.page == "docs/how-to/ci-check.md" and block.language == "sh")
    for before, after in change.items():
        assert before in script
        script = script.replace(before, after)
    (folder / "check-model.sh").write_text(script)
    command = folder / "mnistkit"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m mnistkit "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        ["sh", "check-model.sh", f"exports/{file}", "0.99"],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode == 0) is (not told), ended
    assert told in ended.stderr


def test_each_room_has_pages_and_blocks_that_are_not_run_say_why():
    assert "docs/tutorial.md" in doc_blocks.python_pages("keras")
    assert "docs/digits.md" in doc_blocks.python_pages("light")
    assert doc_blocks.python_pages("serve") == ["docs/serving.md"]  # tests/serve/test_docs.py
    assert "docs/how-to/ray.md" in doc_blocks.python_pages("ray")  # tests/ray_serve/test_ray_docs.py
    reasons = {str(block): block.reason for block in ALL if block.reason is not None}
    assert all(len(reason) > 20 for reason in reasons.values())
    assert len(reasons) <= 4, reasons


WRONG = {
    "an unknown flag": ("```console\n$ mnistkit serve --prot 80\n```\n", "--prot"),
    "an unknown flag in a unit": ("```ini\n[Service]\nExecStart=/x/mnistkit serve --wokers 2\n```\n", "--wokers"),
    "an unknown flag in a container": (
        '```dockerfile\nENTRYPOINT ["mnistkit", "serve", "--hots", "x"]\n```\n',
        "--hots",
    ),
    "an unknown flag in a workflow": ("```yaml\n- run: mnistkit verify x.onnx --jsno\n```\n", "--jsno"),
    "a missing argument": ("```console\n$ mnistkit verify\n```\n", "FILE"),
    "no Python": ("```python\nprint(\n```\n", "never closed"),
    "no TOML": ("```toml\na = \n```\n", "Invalid value"),
    "no JSON": ("```json\n{'a': 1}\n```\n", "property name"),
    "no YAML": ("```yaml\na: [1\n```\n", "expected"),
    "no INI": ("```ini\nExecStart=x\n```\n", "section"),
    "a language that nothing tests": ("```nginx\nserver {}\n```\n", "nothing tests"),
    "no language": ("```\nwords\n```\n", "nothing tests"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_block_is_found(case):
    text, told = WRONG[case]
    (block,) = blocks(f"# Page\n\n{text}", "page.md")
    with pytest.raises(ValueError, match=told) as raised:
        check(block)
    assert str(raised.value).startswith("page.md:3: ")
    (excused,) = blocks(f"# Page\n\n<!-- not run: a reason -->\n{text}", "page.md")
    check(excused)


PRINTS = "```python\nprint('seven', 0.95)\n```\n"


@pytest.mark.parametrize(("said", "right"), [
    ("seven 0.95", True), ("seven 0.93", True), ("seven 0.90", False), ("eight 0.95", False), ("", False),
])  # fmt: skip
def test_a_wrong_printed_result_is_found(said, right, tmp_path):
    below = blocks(f"{PRINTS}\n```text\n{said}\n```\n", "page.md")
    beside = blocks(PRINTS.replace(")\n", f")  # {said}\n"), "page.md")
    assert (doc_blocks.run(below, tmp_path) == []) is right
    assert (doc_blocks.run(beside, tmp_path) == []) is (right or not said)  # no comment says nothing
