"""The command line: results on stdout, one line for an error, the right exit codes, help that helps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mnistkit
from mnistkit.cli import VERBS, build_parser

BLOCKED = "import sys; sys.modules['keras'] = None\nfrom mnistkit.cli import main\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help(cli, verb):
    ran = cli(verb, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"usage: mnistkit {verb} ")
    assert "Example: " in ran.out
    assert ran.err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_explained(verb):
    actions = build_parser()._subparsers._group_actions[0].choices[verb]._actions
    assert all(action.help for action in actions)


def test_help_of_all(cli):
    ran = cli("--help")
    assert ran.code == 0
    assert all(verb in ran.out for verb in VERBS)


@pytest.mark.parametrize("module", ["train", "export", "predict"])
def test_help_of_the_modules(python, tmp_path, module):
    ran = python("-m", f"mnistkit.{module}", "--help", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: python -m mnistkit.{module} [-h]")


def test_help_of_the_package(python, tmp_path):
    ran = python("-m", "mnistkit", "verify", "--help", cwd=tmp_path)
    assert ran.code == 0
    assert ran.out.startswith("usage: python -m mnistkit verify [-h]")


def test_version(cli):
    assert cli("--version").out == f"mnistkit {mnistkit.__version__}\n"


USAGE = {
    "nothing": [],
    "unknown verb": ["fly"],
    "unknown flag": ["info", "a.onnx", "--wings"],
    "no file": ["verify"],
    "no picture": ["predict"],
    "not a number": ["train", "--epochs", "two"],
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage(cli, case):
    ran = cli(*USAGE[case])
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("usage: ")


def test_info(cli, asset):
    ran = cli("info", asset)
    assert (ran.code, ran.err) == (0, "")
    assert "image: float32 [batch, 784]" in ran.out
    assert "golden pairs" in ran.out
    assert "zlib" not in ran.out


def test_info_json(cli, asset):
    about = json.loads(cli("info", asset, "--json").out)
    assert about["inputs"] == ["image: float32 [batch, 784]"]
    assert about["outputs"] == ["probabilities: float32 [batch, 10]"]
    assert about["golden pairs"] >= 3
    assert json.loads(about["metadata"]["labels"]) == list("0123456789")


def test_info_of_a_file_with_damaged_golden_pairs_still_informs(cli, model_file):
    content = model_file.read_bytes()
    place = content.index(b'[{"inputs"')
    model_file.write_bytes(content[:place] + b"!" + content[place + 1 :])
    ran = cli("info", model_file)
    assert (ran.code, ran.err) == (0, "")
    assert "damaged" in ran.out


def test_verify(cli, asset):
    ran = cli("verify", asset)
    assert (ran.code, ran.err) == (0, "")
    assert "golden pairs answered alike on CPUExecutionProvider" in ran.out
    found = json.loads(cli("verify", asset, "--json").out)
    assert found["largest"] <= found["allowed"]


BAD_FILES = {
    "missing": (None, "no such file; make it with"),
    "empty": (b"", "an empty file, not an ONNX model"),
    "html": (b"<html>", "a web page, not an ONNX model; download the file itself"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
}


@pytest.mark.parametrize("verb", ["verify", "info"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(fails, tmp_path, verb, case):
    content, words = BAD_FILES[case]
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    line = fails(verb, path)
    assert words in line
    assert str(path) in line


@pytest.mark.parametrize("verb", ["verify", "info"])
def test_unknown_device(fails, asset, verb):
    assert "unknown device 'tpu'; use auto, cpu, cuda or cuda:N" in fails(verb, asset, "--device", "tpu")


def test_an_error_of_many_lines_is_told_in_one(fails, tmp_path):
    path = tmp_path / "a\nb.onnx"
    assert "no such file" in fails("info", path)


def test_a_reader_that_goes_away_gets_no_traceback(asset, tmp_path):
    """``mnistkit info FILE | head -0``."""
    root = Path(mnistkit.__file__).parents[1]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "mnistkit", "info", str(asset)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert ended.returncode == 141
    assert ended.stderr == ""


def test_a_warning_is_one_line(cli, monkeypatch, asset):
    import warnings

    from mnistkit import cli as module

    def warn(_):
        warnings.simplefilter("always")
        warnings.warn("running on CPU: no driver", RuntimeWarning, stacklevel=1)
        return 0

    monkeypatch.setitem(module.VERBS, "info", (module._add_file, warn, "text", "example"))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    ran = cli("info", asset)
    assert ran.err == "mnistkit: warning: running on CPU: no driver\n"


def test_ctrl_c(cli, monkeypatch, asset):
    from mnistkit import cli as module

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(module.VERBS, "info", (module._add_file, interrupted, "text", "example"))
    ran = cli("info", asset)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "mnistkit: interrupted; no file was half-written\n"


@pytest.mark.parametrize("verb", ["train", "export"])
def test_without_keras(python, tmp_path, verb):
    """What ``pip install mnistkit[cpu]`` gives: the heavy verbs say what to install."""
    ran = python("-c", f"{BLOCKED}sys.exit(main(['{verb}']))", cwd=tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("mnistkit: Keras is not installed; run `pip install 'mnistkit[jax]'`")
    assert ran.err.count("\n") == 1
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_console_script_is_declared():
    root = Path(mnistkit.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():  # tested from an installed wheel
        from importlib.metadata import entry_points

        assert any(entry.value == "mnistkit.cli:main" for entry in entry_points(group="console_scripts"))
    else:
        assert 'mnistkit = "mnistkit.cli:main"' in (root / "pyproject.toml").read_text(encoding="utf-8")
