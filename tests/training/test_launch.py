"""Several processes of one command on this machine: one output, one message, one exit code."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import mnistkit
from mnistkit.training.distributed import launch as module
from mnistkit.training.distributed.launch import LOST, launch


def test_the_first_process_prints_for_all(asset, capfd):
    assert launch(["verify", str(asset)], backend="torch", count=2) == 0
    assert capfd.readouterr().out.count("pairs") == 1


def test_an_error_of_all_is_said_once(capfd, tmp_path):
    assert launch(["verify", str(tmp_path / "none.onnx")], backend="jax", count=2) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("mnistkit: ") == 1
    assert "no such file" in err


class Ended:
    def __init__(self, returncode):
        self.returncode = returncode

    def poll(self):
        return self.returncode


@pytest.fixture
def children():
    made = []
    yield lambda *ends: _children(made, ends)
    for child in made:
        if child.said is not None:
            child.said.close()


def _children(made, ends):
    for rank, (code, said) in enumerate(ends):
        stream = None
        if rank:
            stream = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the test
            stream.write(said.encode())
        made.append(module._Child(rank, Ended(code), stream))
    return made


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([(LOST, ""), (-9, "")], "process 1 of 2 was ended by SIGKILL; the others were stopped"),
        ([(-15, ""), (1, "some\nmnistkit: no room\n")], "process 1 of 2: no room; the others"),
        ([(1, ""), (LOST, "mnistkit: lost\n")], ""),  # process 0 has said it
        ([(1, ""), (1, "mnistkit: the same\n")], ""),
        ([(LOST, ""), (3, "")], "process 1 of 2: ended with code 3"),
        ([(-6, ""), (LOST, "")], "process 0 of 2 was ended by SIGABRT"),
    ],
)
def test_the_one_that_ended_by_itself_is_named(ends, words, children, capsys):
    made = children(*ends)
    first = next((one for one in made if one.process.returncode == LOST), made[1])
    if ends[0][0] == -15:  # stopped by the launcher because of the other
        first = made[1]
    assert module._report(made, first, []) == 1
    err = capsys.readouterr().err
    assert words in err
    assert bool(err) == bool(words)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_all(tmp_path, number, code):
    """Through a parent of its own, because signals go to processes; the command waits for a connection forever."""
    command = "import os, pathlib, time; pathlib.Path(str(os.getpid())).touch(); time.sleep(600)"
    script = (
        "import sys\n"
        "from mnistkit.training.distributed import launch as module\n"
        "real = module.subprocess.Popen\n"
        f"module.subprocess.Popen = lambda _, **options: real([sys.executable, '-c', {command!r}], **options)\n"
        "sys.exit(module.launch([], backend='torch', count=2))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(mnistkit.__file__).parents[1])}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    while len(list(tmp_path.iterdir())) < 2:
        assert parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(number)
    err = parent.communicate(timeout=120)[1]
    assert parent.returncode == code
    assert err.splitlines()[-1] == "mnistkit: interrupted; no file was half-written"
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)
