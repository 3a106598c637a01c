"""The command line: results on stdout, one line for an error, the right exit codes, help that helps."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mnistkit
from mnistkit.cli import main
from mnistkit.cli.parser import VERBS, build_parser

BLOCKED = "import sys; sys.modules['keras'] = None\nfrom mnistkit.cli import main\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help(cli, verb):
    ran = cli(verb, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"usage: mnistkit {verb} ")
    assert f"\nExamples:\n  mnistkit {verb}" in ran.out.replace("KERAS_BACKEND=jax ", "")
    assert ran.err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_explained(verb):
    actions = build_parser().verbs[verb]._actions
    assert all(action.help for action in actions)


def test_help_of_all(cli):
    ran = cli("--help")
    assert ran.code == 0
    assert all(verb in ran.out for verb in VERBS)


@pytest.mark.parametrize("module", VERBS)
def test_help_of_the_modules(python, tmp_path, module):
    ran = python("-m", f"mnistkit.{module}", "--help", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: python -m mnistkit.{module} [-h]")


def test_help_of_the_package(python, tmp_path):
    ran = python("-m", "mnistkit", "verify", "--help", cwd=tmp_path)
    assert ran.code == 0
    assert ran.out.startswith("usage: python -m mnistkit verify [-h]")


def test_the_module_of_the_command_line(python, tmp_path):
    ran = python("-m", "mnistkit.cli", "verify", "--help", cwd=tmp_path)
    assert ran.code == 0
    assert ran.out.startswith("usage: mnistkit verify [-h]")


def test_version(cli):
    assert cli("--version").out == f"mnistkit {mnistkit.__version__}\n"


def test_without_a_verb_the_help_is_printed(cli):
    """Nothing was asked for, so nothing is wrong: exit code 0, as the help says."""
    assert cli() == cli("--help")


USAGE = {
    "unknown verb": (["fly"], "unknown verb 'fly' (verbs: train, "),
    "a verb, nearly": (["trian"], "unknown verb 'trian'; did you mean train? (verbs: "),
    "unknown flag": (["info", "a.onnx", "--wings"], "mnistkit info: error: unknown flag --wings ("),
    "a flag, nearly": (["train", "--optimiser", "adam"], "unknown flag --optimiser; did you mean --optimizer? ("),
    "with a value": (["train", "--epoch_s=3"], "unknown flag --epoch_s; did you mean --epochs? ("),
    "one word too many": (["train", "--hidden", "64", "32"], "unexpected argument '32' ("),
    "no file": (["verify"], "the following arguments are required: FILE"),
    "no picture": (["predict"], "the following arguments are required: PICTURE"),
    "not a number": (["train", "--epochs", "two"], "argument --epochs: invalid int value: 'two'"),
    "widths": (["train", "--hidden", "64,a"], "argument --hidden: '64,a' is no number, nor several with commas"),
    "model": (["train", "--model", "cn"], "argument --model: 'cn' is not one of mlp, cnn, reader; did you mean cnn?"),
    "backend": (["train", "--backend", "theano"], "'theano' is not one of jax, tensorflow, torch\n"),
    "export backend": (["export", "--backend", "pytorc"], "one of jax, tensorflow, torch; did you mean pytorch?"),
    "exporter": (["export", "--exporter", "onnx"], "argument --exporter: 'onnx' is not one of auto, "),
    "a flag without a verb": (["--versoin"], "unknown flag --versoin; did you mean --version? ("),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage(cli, case):
    """The usage of the verb, one line that says what was probably meant, and nothing loaded to find out."""
    words, said = USAGE[case]
    ran = cli(*words)
    assert ran.code == 2
    assert ran.out == ""
    verb = f" {words[0]}" if words[0] in VERBS else ""
    assert ran.err.startswith(f"usage: mnistkit{verb} [-h] ")
    assert said in ran.err.splitlines(keepends=True)[-1]


def parsed(*words):
    from mnistkit.cli.parser import parse

    return vars(parse(words))


def test_other_spellings():
    plain = parsed("train", "--batch-size", "64", "--learning-rate", "0.1", "--out", "a.keras", "--backend", "torch")
    assert parsed("train", "--batch_size=64", "--lr", "0.1", "-o", "a.keras", "--backend", "PyTorch") == plain
    assert parsed("train", "--backend", "tf")["backend"] == "tensorflow"
    assert parsed("export", "--exporter", "native") == parsed("export", "--exporter", "writer")


def test_hidden_layers():
    assert parsed("train", "--hidden", "128,64")["hidden"] == (128, 64)
    assert parsed("train", "--hidden", "128")["hidden"] == (128,)


def test_values_keep_their_underscores():
    assert parsed("info", "my_model.onnx")["file"] == "my_model.onnx"
    assert parsed("predict", "--", "--my_picture.png")["pictures"] == ["--my_picture.png"]
    assert parsed("train", "--out=my_model.keras")["out"] == "my_model.keras"


def test_examples_are_understood():
    """Every example in the help, as a shell would split it."""
    import importlib
    import shlex

    for verb in VERBS:
        for example in importlib.import_module(f"mnistkit.cli.{verb}").EXAMPLES:
            words = shlex.split(example.removeprefix("KERAS_BACKEND=jax "))
            assert words[:2] == ["mnistkit", verb]
            assert parsed(*words[1:])["run"]


def test_a_verb_that_is_verbose_shows_the_traceback_of_an_error(cli, tmp_path):
    ran = cli("info", tmp_path / "none.onnx", "-v")
    assert ran.code == 1
    assert ran.err.startswith("Traceback ")
    assert ran.err.splitlines()[-1].startswith("mnistkit: ")


def test_completion_needs_its_package(fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "shtab is not installed; run `pip install" in fails("--print-completion", "bash")


def test_completion(cli, monkeypatch, capsys):
    """All flags of all verbs are handed over; what the script looks like is shtab's affair."""
    from types import SimpleNamespace

    def complete(parser, *, shell):
        return f"{shell}: {parser.prog}: {' '.join(parser.verbs['train'].flags)}"

    monkeypatch.setitem(sys.modules, "shtab", SimpleNamespace(complete=complete))
    ran = cli("--print-completion", "zsh")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("zsh: mnistkit: --help --model --epochs ")
    from mnistkit.cli import main

    assert main(["--print-completion", "zsh"], prog="python -m mnistkit") == 0
    assert capsys.readouterr().out == ran.out


def test_info(cli, asset):
    ran = cli("info", asset)
    assert (ran.code, ran.err) == (0, "")
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["image", "float32", "[batch,", "784]"] in lines
    assert ["probabilities", "float32", "[batch,", "10]"] in lines
    assert ["opset", "17,", "IR", "version", "8"] in lines
    assert ["file", str(asset), f"({asset.stat().st_size:,}", "bytes)"] in lines
    assert "golden pairs" in ran.out
    assert "zlib" not in ran.out


def test_info_json(cli, asset):
    about = json.loads(cli("info", asset, "--json").out)
    assert about["inputs"] == ["image: float32 [batch, 784]"]
    assert about["outputs"] == ["probabilities: float32 [batch, 10]"]
    assert about["golden pairs"] >= 3
    assert (about["opsets"], about["ir_version"]) == ({"ai.onnx": 17}, 8)
    assert about["bytes"] == asset.stat().st_size
    assert 100_000 < about["parameters"] < 140_000
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


@pytest.mark.parametrize("verb", ["verify", "info", "bench", "evaluate"])
def test_options_of_a_provider_need_one(fails, asset, verb):
    more = ["--quiet"] if verb in {"bench", "evaluate"} else []
    words = "provider options need a device by name that takes some, such as cuda; the device is cpu"
    assert words in fails(verb, asset, *more, "--device", "cpu", "--provider-option", "a=1")


def test_an_option_of_a_provider_is_a_pair(fails, asset):
    assert "--provider-option a: expected KEY=VALUE" in fails("verify", asset, "--provider-option", "a")


@pytest.mark.parametrize("verb", ["verify", "info"])
def test_unknown_device(fails, asset, verb):
    assert "unknown device 'tpu'; use auto, cpu, cuda, tensorrt, " in fails(verb, asset, "--device", "tpu")


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

    from mnistkit.cli import info

    def warn(_):
        warnings.simplefilter("always")
        warnings.warn("running on CPU: no driver", RuntimeWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(info, "run", warn)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    ran = cli("info", asset)
    assert ran.err == "mnistkit: warning: running on CPU: no driver\n"


def test_ctrl_c(cli, monkeypatch, asset):
    from mnistkit.cli import info

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", interrupted)
    ran = cli("info", asset)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "mnistkit: interrupted; no file was half-written\n"


@pytest.mark.parametrize("verb", ["train", "export"])
def test_without_keras(python, tmp_path, verb):
    """What ``pip install mnistkit[cpu]`` gives: the heavy verbs say what to install."""
    ran = python("-c", f"{BLOCKED}sys.exit(main(['{verb}']))", cwd=tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(
        'mnistkit: Keras is not installed; run `pip install ".[jax]"` in mnistkit\'s source folder (or '
    )
    assert ran.err.count("\n") == 1
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_console_script_is_declared():
    root = Path(mnistkit.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():  # tested from an installed wheel
        from importlib.metadata import entry_points

        assert any(entry.value == "mnistkit.cli:main" for entry in entry_points(group="console_scripts"))
    else:
        assert 'mnistkit = "mnistkit.cli:main"' in (root / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize(
    ("words", "ignored"),
    [(["serve"], True), (["-v", "serve", "--port", "0"], True), (["predict", "serve"], False), ([], False)],
)
def test_a_server_told_to_reload_while_it_starts_goes_on_starting(monkeypatch, words, ignored):
    """SIGHUP ends a process by default, and reading the command line takes a while."""
    found = []

    def stop(*_, **__):
        found.append(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
        raise SystemExit(2)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    monkeypatch.setattr("mnistkit.cli.parser.parse", stop)
    try:
        with pytest.raises(SystemExit):
            main(words)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert found == [ignored]
