"""What can be said of an application in Ray, without Ray."""

import argparse
import json

import pytest

from mnistkit.core.errors import InputError
from mnistkit.serve.ray.options import for_replicas, read
from mnistkit.serve.scale import Scale
from mnistkit.serve.settings import Settings


def test_arguments_of_an_application(asset):
    settings, scale = read(
        {"model": [f"a={asset}", f"b={asset}"], "max_queue": 7, "max-batch": "8", "watch": True,
         "proxy_headers": "false", "replicas": "2", "max_replicas": 4, "cpus": 0.5},
        {"MNISTKIT_SERVE_MAX_QUEUE": "9", "MNISTKIT_SERVE_TIMEOUT": "3"},
    )  # fmt: skip
    assert [name for name, _ in settings.models] == ["a", "b"]
    assert (settings.max_queue, settings.max_batch, settings.timeout) == (7, 8, 3.0)
    assert (settings.watch, settings.proxy_headers) == (True, False)
    assert settings.access_log == "none"  # Ray has one
    assert scale == Scale(2, 4, 0.5)
    assert read({"access_log": "-"}, {})[0].access_log == "-"
    assert read({}, {})[0].models[0][0] == "mnist"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_quue": 1}, "max_quue: expected the name of a flag of mnistkit serve; did you mean max-queue?"),
        ({"ray": "1"}, "ray: expected the name of a flag"),
        ({"max_queue": "many"}, "--max-queue: invalid int value: 'many'"),
        ({"max_queue": None}, "--max-queue: expected text or a number, got None"),
        ({"max_queue": True}, "--max-queue: expected text or a number, got True"),
        ({"watch": "perhaps"}, "--watch: expected true or false, got 'perhaps'"),
        ({"replicas": 0}, "--replicas: expected at least 1, got 0"),
        ({"replicas": 3, "max_replicas": 2}, "--max-replicas: expected at least --replicas, 3, got 2"),
        ({"cpus": "-1"}, "--cpus: expected a number from 0, got -1.0"),
        ({"gpus": "nan"}, "--gpus: expected a number from 0, got nan"),
        ({"port": 9000}, "--port 9000: with `serve run` it is Ray's"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError) as caught:
        read(arguments, {})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("given", [{"workers": 2}, {"uds": "x"}, {"grpc_port": 1}, {"admin_port": 1}, {"http2": True},
                                   {"tls_cert": "a", "tls_key": "b"}, {"model_repository": "x"}])  # fmt: skip
def test_settings_that_are_rays(given):
    with pytest.raises(InputError, match=f"--{next(iter(given)).replace('_', '-')}: not with Ray"):
        for_replicas(Settings(**given), Scale())


def test_paths_and_threads_of_replicas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = for_replicas(Settings(models=(("m", "m.onnx"),), token_file="t", access_log="none"), Scale(cpus=2.5))  # noqa: S106 - a path
    assert made.models == (("m", str(tmp_path / "m.onnx")),)
    assert (made.token_file, made.access_log, made.threads) == (str(tmp_path / "t"), "none", 2)
    assert for_replicas(Settings(threads=3), Scale(cpus=0)).threads == 3
    assert for_replicas(Settings(), Scale(cpus=0)).threads == 1


WITHOUT_RAY = "import sys; sys.modules['ray'] = None; from mnistkit.cli import main; sys.exit(main(sys.argv[1:]))"


def test_without_ray(python, tmp_path):
    ran = python("-c", WITHOUT_RAY, "serve", "--ray", cwd=tmp_path)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1), ran
    assert "ray[serve] is not installed" in ran.err
    assert 'pip install ".[ray]"' in ran.err


def test_imported_without_ray(python, tmp_path):
    code = "import sys, json; import mnistkit.serve.ray; print(json.dumps('ray' in sys.modules))"
    assert json.loads(python("-c", code, cwd=tmp_path).out) is False


@pytest.mark.parametrize(
    ("flag", "told"),
    [("--replicas", "--replicas goes with --ray; without it see --workers"),
     ("--ray-address", "--ray-address goes with --ray")],
)  # fmt: skip
def test_flags_of_ray_alone(python, tmp_path, flag, told):
    ran = python("-m", "mnistkit.serve", flag, "2", cwd=tmp_path)
    assert (ran.code, ran.err) == (1, f"mnistkit: {told}\n")


def test_a_scale_from_flags():
    from mnistkit.serve.scale import add_scale_flags, scale_from

    parser = argparse.ArgumentParser()
    add_scale_flags(parser)
    assert scale_from(parser.parse_args(["--replicas", "2", "--gpus", "0.5"])) == Scale(2, None, 1.0, 0.5)
    assert scale_from(parser.parse_args([])) == Scale()
