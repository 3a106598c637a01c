"""The README's Python that needs Keras runs, and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "keras" in code]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_its_python_prints_what_it_says(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102  # our own README
    said = re.findall(r"print\(.*\)  # (.+)", code)
    assert printed.getvalue().splitlines()[: len(said)] == said


def test_its_handler_writes_the_layer(tmp_path):
    import keras

    from mnistkit.export import export_onnx

    names = {"__name__": "readme"}
    exec(compile(next(code for code in PYTHON if "register_layer" in code), "README.md", "exec"), names)  # noqa: S102  # our own README
    model = keras.Sequential([keras.Input((3,)), names["Scale"]()])
    model.layers[0].set_weights([np.float32(2.5)])
    assert export_onnx(model, tmp_path / "scale.onnx", exporter="native").largest == 0
