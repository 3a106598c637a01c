"""The README is true: its Python runs and its commands parse. For its tables see test_tools.py."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from mnistkit.cli.parser import VERBS, build_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
ALL = re.findall(r"```python\n(.*?)```", README + CHINESE, re.DOTALL)
PYTHON = [code for code in ALL if "keras" not in code]  # the rest runs in tests/keras/test_readme_keras.py
VERB = "|".join(VERBS)
COMMANDS = sorted(
    set(
        re.findall(rf"(?:python -m mnistkit\.|mnistkit )((?:{VERB})\b.*?)(?= &&|;|$|`)", README + CHINESE, re.MULTILINE)
    )
)


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_its_python_prints_what_it_says(code, monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102  # our own README
    said = re.findall(r"print\(.*\)  # (.+)", code)
    assert printed.getvalue().splitlines()[: len(said)] == said


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_understood(command):
    build_parser().parse_args(shlex.split(command))


def test_there_is_python_and_there_are_commands():
    assert PYTHON
    assert len(COMMANDS) > 5


def test_its_links_lead_somewhere():
    """What the translation must have is in test_translations.py."""
    for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README + CHINESE):
        assert (ROOT / link.partition("#")[0]).exists(), link
