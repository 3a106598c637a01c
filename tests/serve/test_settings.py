"""Flags, environment and file: which wins, and what is refused."""

import argparse

import pytest

from mnistkit.core.errors import InputError
from mnistkit.serve.settings import Settings, add_flags, from_flags


def settings(*flags, environment=None):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_flags(parser.parse_args(list(flags)), environment or {})


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nmax-queue = 2\nworkers = 3\nwatch = true\ntimeout = 4\nmodel = ["a=x.onnx", "y.onnx"]\n')
    environment = {"MNISTKIT_SERVE_CONFIG": str(file), "MNISTKIT_SERVE_PORT": "5", "MNISTKIT_SERVE_MAX_QUEUE": "6"}
    found = settings("--port", "7", environment=environment)
    assert (found.port, found.max_queue, found.workers, found.watch, found.timeout) == (7, 6, 3, True, 4.0)
    assert found.models == (("a", "x.onnx"), ("y", "y.onnx"))
    assert settings("--config", str(file), "--model", "z.onnx").models == (("z", "z.onnx"),)
    assert settings() == Settings()


def test_options_of_a_provider_may_be_repeated(tmp_path):
    given = settings("--provider-option", "a=1", "--provider-option", "b=HETERO:GPU,CPU")
    assert given.provider_option == ("a=1", "b=HETERO:GPU,CPU")
    assert settings(environment={"MNISTKIT_SERVE_PROVIDER_OPTION": "a=1 b=2"}).provider_option == ("a=1", "b=2")
    file = tmp_path / "serve.toml"
    for line, expected in (('["a=1", "b=2"]', ("a=1", "b=2")), ('"a=1"', ("a=1",))):
        file.write_text(f"provider-option = {line}\n")
        assert settings("--config", str(file)).provider_option == expected
    assert settings().provider_option == ()
    file.write_text("provider-option = [1]\n")
    with pytest.raises(InputError, match="provider-option: expected text or a list of texts, got"):
        settings("--config", str(file))


def test_booleans_and_models_from_the_environment():
    found = settings(environment={"MNISTKIT_SERVE_WATCH": "1", "MNISTKIT_SERVE_MODEL": "a=x.onnx:b=y.onnx"})
    assert found.watch
    assert found.models == (("a", "x.onnx"), ("b", "y.onnx"))
    assert not settings(environment={"MNISTKIT_SERVE_WATCH": "false"}).watch


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "x"), ("TIMEOUT", ""), ("WATCH", "yes"), ("MAX_BODY", "1e3"), ("PORT", "70000")]
)
def test_a_wrong_variable_is_refused(name, value):
    with pytest.raises(InputError, match="expected"):
        settings(environment={f"MNISTKIT_SERVE_{name}": value})


@pytest.mark.parametrize(
    "line", ["port = 'x'", "nothing = 1", "watch = 1", "model = 3", "port = true", "port =", "timeout = '1'"]
)
def test_a_wrong_file_is_refused(tmp_path, line):
    (tmp_path / "serve.toml").write_text(line)
    with pytest.raises(InputError, match="--config"):
        settings("--config", str(tmp_path / "serve.toml"))


def test_the_help_has_groups():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    for group in ("address:", "model:", "limits:", "time:", "security:", "operations:"):
        assert f"\n{group}\n" in text
    assert "(default: 8000)" in text
