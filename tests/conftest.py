"""What the light tests share. They need NumPy, Pillow, onnxruntime and pytest, and no Keras."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import mnistkit

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules beside the tests

ASSET = Path(mnistkit.__file__).parent / "digits" / "assets" / "mnist.onnx"


@pytest.fixture(scope="session")
def asset():
    """The model file inside the package."""
    return ASSET


@pytest.fixture(scope="session")
def mnist():
    return mnistkit.load_data()


@pytest.fixture(scope="session")
def classifier(asset):
    return mnistkit.Classifier(asset, device="cpu")


@pytest.fixture(scope="session")
def images(mnist):
    """Eight test images, float32 ``[8, 28, 28]`` in [0, 1]."""
    return mnist.x_test[:8].astype(np.float32) / np.float32(255)


@pytest.fixture
def model_file(asset, tmp_path):
    """A copy of the package's model that a test may damage."""
    return Path(shutil.copy(asset, tmp_path / "model.onnx"))


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run a verb in this process, as the console script does, without the lines of progress that a slow machine has."""
    from mnistkit.cli import common, main

    monkeypatch.setattr(common, "QUIET_SECONDS", 1e6)

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def fails(cli):
    """Run a verb that must fail: exit code 1, nothing on stdout, and one line on stderr, which is returned."""

    def run(*arguments):
        ran = cli(*arguments)
        assert ran.code == 1, ran
        assert ran.out == ""
        assert ran.err.startswith("mnistkit: ")
        assert ran.err.count("\n") == 1, ran.err
        return ran.err

    return run


@pytest.fixture(scope="session")
def python():
    """Run Python in a process of its own with this checkout importable; ``cwd`` is never the checkout by default."""
    root = str(Path(mnistkit.__file__).parents[1])

    def run(*arguments, cwd, env=None, timeout=240):
        import os

        path = os.pathsep.join(part for part in ((env or {}).get("PYTHONPATH"), root) if part)
        environment = {**os.environ, **(env or {}), "PYTHONPATH": path}
        ended = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture(scope="session")
def seven(mnist):
    """A picture as a person would draw it: the first test image, dark on white, 140 pixels wide."""
    from PIL import Image

    return Image.fromarray(255 - mnist.x_test[0]).resize((140, 140), Image.Resampling.BICUBIC)
