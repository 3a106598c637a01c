"""The Python of the documentation runs, prints what it says, and exports what Keras computes."""

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
HANDLERS = re.findall(r"```python\n(.*?)```", (DOCS / "writing-a-handler.md").read_text(encoding="utf-8"), re.DOTALL)


def run(code):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "writing-a-handler.md", "exec"), {"__name__": "docs"})  # noqa: S102  # our own page
    return printed.getvalue().splitlines()


@pytest.mark.parametrize("code", HANDLERS, ids=range(len(HANDLERS)))
def test_the_handlers_export(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(code) == re.findall(r"print\(.*\)  # (.+)", code)


def test_a_wrong_handler_is_refused(monkeypatch, tmp_path):
    """The twin: the page's own handler with another operation."""
    from mnistkit.core.errors import ParityError

    monkeypatch.chdir(tmp_path)
    code = next(code for code in HANDLERS if '"Mul"' in code)
    with pytest.raises(ParityError):
        run(code.replace('"Mul"', '"Add"'))
    assert not list(tmp_path.glob("*.onnx"))
