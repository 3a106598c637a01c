"""``mnistkit serve --ray`` and ``serve run``: started for real, and refused in one line."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, free_port
from served import ROOT, Served, wait_for

MODULE = "mnistkit.serve.ray:app"


def environment(**more):
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), **more}


def mnistkit(*words, cwd, **more):
    command = [sys.executable, "-m", "mnistkit.serve", "--ray", *map(str, words)]
    ended = subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def test_the_command_serves_and_ends_with_everything_that_it_started(tmp_path, asset):
    import psutil

    port, talk = free_port(), tmp_path / "talk"
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder, talk.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "mnistkit.serve", "--ray", "--port", str(port), "--cpus", "0.5",
             "--model", f"mnist={asset}"],
            cwd=tmp_path, env=environment(RAY_TMPDIR=folder), stdout=stderr, stderr=stderr,
        )  # fmt: skip
        children = []
        try:
            wait_for(lambda: b"with Ray at" in talk.read_bytes() or process.poll() is not None, seconds=300)
            said = talk.read_text()
            assert said == f"mnistkit: serving mnist with Ray at http://127.0.0.1:{port}, 1 replica\n"
            assert Served(process, port, None, None).get("/v2/models/mnist/ready").json["ready"]
            children = psutil.Process(process.pid).children(recursive=True)
            assert any("raylet" in " ".join(child.cmdline()) for child in children)  # a Ray of its own, to end with it
            # A replica has one port more, on all addresses, where Ray asks for its token; no setting changes that.
            assert _listened_on(child for child in children if "ServeReplica" not in child.name()) <= {
                "127.0.0.1", "::ffff:127.0.0.1"}  # fmt: skip
            process.send_signal(signal.SIGTERM)
            assert process.wait(300) == 0, talk.read_text()
            _, left = psutil.wait_procs(children, timeout=120)
            assert left == []
            assert "Traceback" not in talk.read_text()
        finally:
            for left in (process, *children):
                with contextlib.suppress(psutil.Error, OSError):
                    left.kill()
            process.wait()


def _listened_on(processes):
    import psutil

    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {link.laddr.ip for link in process.net_connections("tcp") if link.status == psutil.CONN_LISTEN}
    return found


def test_a_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = mnistkit("--port", taken.getsockname()[1], cwd=tmp_path)
    assert (code, said.count("\n")) == (1, 1), said
    assert "cannot listen there (Address already in use); choose another port" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "none.onnx"), "none.onnx: no such file"),
        (("--replicas", "0"), "--replicas: expected at least 1, got 0"),
        (("--workers", "2"), "--workers: not with Ray"),
        (("--model-repository", "."), "--model-repository: not with Ray"),
    ],
)
def test_refused_before_ray_starts(tmp_path, words, message):
    code, said = mnistkit(*words, cwd=tmp_path)
    assert (code, said.count("\n")) == (1, 1), said
    assert message in said


def test_a_cluster_that_is_not_there(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    code, said = mnistkit("--port", free_port(), cwd=tmp_path, RAY_ADDRESS=address)
    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith(f"mnistkit: {address}: no Ray cluster answers")
    assert said == mnistkit("--ray-address", address, "--port", free_port(), cwd=tmp_path)[1]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model=none.onnx", "none.onnx: no such file"),
        ("replica=2", "replica: expected the name of a flag of mnistkit serve; did you mean replicas?"),
        ("port=9000", "--port 9000: with `serve run` it is Ray's"),
    ],
)
def test_serve_run_refuses_in_one_line(tmp_path, word, message):
    ended = subprocess.run(
        [Path(sys.executable).parent / "serve", "run", MODULE, word], cwd=tmp_path, env=environment(),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("Error: mnistkit: ")
    assert message in last


def test_another_file_on_a_node_is_refused(asset, tmp_path):
    from mnistkit.core.errors import ModelFileError
    from mnistkit.core.folders import digest
    from mnistkit.serve.ray.replica import check_same_files

    path = Path(shutil.copy(asset, tmp_path / "m.onnx"))
    digests = {str(path): digest(path)}
    check_same_files(digests)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ModelFileError, match="got another on this node; deploy the application again"):
        check_same_files(digests)
    path.unlink()
    with pytest.raises(ModelFileError, match="cannot be read on this node"):
        check_same_files(digests)


def test_what_ray_is_told(asset):
    from mnistkit.serve.ray import app, application

    def deployment(**scale):
        return application({"m": asset}, **scale)._bound_deployment

    fixed = deployment(replicas=3, cpus=2, gpus=0.5)
    assert (fixed.name, fixed.num_replicas, fixed.max_ongoing_requests) == ("mnistkit", 3, 1024)
    assert fixed.max_queued_requests == 1024
    assert (fixed.ray_actor_options["num_cpus"], fixed.ray_actor_options["num_gpus"]) == (2, 0.5)
    elastic = deployment(replicas=2, max_replicas=5)._deployment_config.autoscaling_config
    built = app({"model": f"m={asset}", "replicas": "2"})._bound_deployment
    assert built.num_replicas == 2
    assert (elastic.min_replicas, elastic.max_replicas, elastic.target_ongoing_requests) == (2, 5, 32)
