"""An interrupted run goes on after its last finished epoch and ends as if nothing had happened."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from one_backend import once

import mnistkit
from mnistkit.core.errors import ModelFileError
from mnistkit.digits.train import Settings, train

LONG = Settings(epochs=3)


class StopError(Exception):
    """Stands for whatever ends a run early."""


@pytest.fixture(scope="session")
def whole(tmp_path_factory, small):
    """The run that is never interrupted."""
    return train(LONG, out=tmp_path_factory.mktemp("whole") / "mnist.keras", data=small)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, small):
    """What a run leaves that ends after its first epoch was saved."""
    from mnistkit.digits import train as module

    folder = tmp_path_factory.mktemp("stopped")
    saved = module._save_checkpoint

    def save_and_stop(*arguments):
        saved(*arguments)
        raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_save_checkpoint", save_and_stop)
        with pytest.raises(StopError):
            train(LONG, out=folder / "mnist.keras", data=small)
    assert [path.name for path in folder.iterdir()] == ["mnist.resume.keras"]
    return folder / "mnist.resume.keras"


@pytest.fixture
def stopped(checkpoint, tmp_path):
    """Such a run in a folder of its own; returns where its model was to go."""
    shutil.copy(checkpoint, tmp_path)
    return tmp_path / "mnist.keras"


def test_resuming_ends_with_the_same_bits(whole, stopped, small):
    report = train(LONG, out=stopped, data=small, resume=True)
    assert report.provenance["weights_sha256"] == whole.provenance["weights_sha256"]
    assert report.provenance["history"]["loss"] == pytest.approx(whole.provenance["history"]["loss"], abs=1e-6)
    assert report.provenance["seconds"]["resumed"] is True
    assert sorted(path.name for path in stopped.parent.iterdir()) == ["mnist.keras", "mnist.train.json"]


def test_the_history_is_told_after_each_epoch_the_resumed_ones_included(whole, stopped, small):
    """What `--plot` draws; listening changes no weight."""
    told = []
    report = train(LONG, out=stopped, data=small, resume=True, on_epoch=lambda history: told.append(history["loss"][:]))
    assert [len(losses) for losses in told] == [1, 2, 3]
    assert told[-1] == report.provenance["history"]["loss"]
    assert report.provenance["weights_sha256"] == whole.provenance["weights_sha256"]


def test_more_epochs_may_be_asked_for(stopped, small):
    report = train(dataclasses.replace(LONG, epochs=2), out=stopped, data=small, resume=True)
    assert len(report.provenance["history"]["loss"]) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "seed 1337 -> 1"),
        ({"batch_size": 64, "hidden": 16}, "batch_size 32 -> 64; hidden 32 -> 16"),
        ({"optimizer": "adam"}, "optimizer rmsprop -> adam"),
    ],
)
def test_other_settings_are_refused(stopped, small, changes, words):
    with pytest.raises(ModelFileError, match=rf"made with other settings \({words}\); leave --resume out"):
        train(dataclasses.replace(LONG, **changes), out=stopped, data=small, resume=True)


def test_other_data_are_refused(stopped, small):
    other = dataclasses.replace(small, name="other.npz", x_train=255 - small.x_train)
    with pytest.raises(ModelFileError, match=r"data small\.npz -> other\.npz"):
        train(LONG, out=stopped, data=other, resume=True)


def test_a_keras_file_that_is_no_checkpoint(trained, tmp_path, small):
    (tmp_path / "mnist.resume.keras").write_bytes(trained.path.read_bytes())
    with pytest.raises(ModelFileError, match="not a checkpoint of mnistkit; remove it, or leave --resume out"):
        train(LONG, out=tmp_path / "mnist.keras", data=small, resume=True)


def test_a_damaged_checkpoint(stopped, small):
    checkpoint = stopped.with_suffix(".resume.keras")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-200])
    with pytest.raises(ModelFileError, match=r"mnist\.resume\.keras"):
        train(LONG, out=stopped, data=small, resume=True)


def test_nothing_to_resume_starts_from_the_beginning(tmp_path, small, trained):
    report = train(Settings(), out=tmp_path / "mnist.keras", data=small, resume=True)
    assert report.provenance["weights_sha256"] == trained.provenance["weights_sha256"]
    assert report.provenance["seconds"]["resumed"] is False


# --- real signals to real processes ---------------------------------------------------------------------------------


# A shell starts what runs in its background with SIGINT ignored, and children inherit that; a terminal does not.
AT_A_TERMINAL = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "mnistkit.train"
runpy.run_module("mnistkit.train", run_name="__main__")
"""


def start(folder, here, *arguments):
    environment = {
        **os.environ,
        "KERAS_BACKEND": here.name,
        "PYTHONPATH": str(Path(mnistkit.__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-c", AT_A_TERMINAL, "--out", "mnist.keras", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path, process, seconds=180):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, f"{path.name} does not appear"
        time.sleep(0.02)


def assert_no_half_file(folder):
    """Under the final names there is nothing, or something whole."""
    assert not (folder / "mnist.keras").exists()
    assert not (folder / "mnist.train.json").exists()


MANY = ("--epochs", "40")


@once
def test_kill_9_then_resume(tmp_path, large_npz, here):
    """The acceptance test of the road: killed in a later epoch, resumed, the same weights as the run in one go."""
    process = start(tmp_path, here, "--data", large_npz, *MANY)
    wait_for(tmp_path / "mnist.resume.keras", process)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert_no_half_file(tmp_path)

    data = mnistkit.load_data(large_npz)
    from mnistkit.digits.train import _load_checkpoint

    progress = _load_checkpoint(tmp_path / "mnist.resume.keras", Settings(epochs=40), data)[1]
    epochs = progress.epochs_done + 1
    resumed = train(Settings(epochs=epochs), out=tmp_path / "mnist.keras", data=data, resume=True)
    in_one_go = train(Settings(epochs=epochs), out=tmp_path / "other.keras", data=data)
    assert resumed.provenance["weights_sha256"] == in_one_go.provenance["weights_sha256"]


def test_ctrl_c(tmp_path, large_npz, here):
    process = start(tmp_path, here, "--data", large_npz, *MANY)
    wait_for(tmp_path / "mnist.resume.keras", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1].startswith("mnistkit: interrupted; ")
    assert "Traceback" not in err
    assert_no_half_file(tmp_path)
    assert (tmp_path / "mnist.resume.keras").is_file()
    assert not list(tmp_path.glob(".*")), "a temporary file is left"
