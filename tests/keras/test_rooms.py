"""`training` and `export` stand on `core` alone: they work in a package that has neither digits nor a server."""

import shutil
from pathlib import Path

import pytest
from one_backend import once

import mnistkit

pytestmark = once
ROOMS = {"core", "export", "training"}
CODE = """
import sys
import mnistkit.export, mnistkit.training
from mnistkit.core.keras_backend import load_keras
keras = load_keras()
import numpy as np

model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
model.compile(loss="mse", optimizer="sgd")
x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
history = mnistkit.training.fit(model, x, x[:, :1], epochs=2, batch_size=16, verbose=0)
assert history.history["loss"][1] < history.history["loss"][0]
report = mnistkit.export.export_onnx(model, "m.onnx", labels=["size"])
assert report.exporter == "native"
model.save("m.keras")
assert mnistkit.export.export_onnx("m.keras").sha256 != ""
print(*sorted({name.split(".")[1] for name in sys.modules if name.startswith("mnistkit.")}))
"""


@pytest.fixture
def alone(tmp_path):
    """The package with the rooms of `ROOMS` and a front door that offers nothing."""
    source, target = Path(mnistkit.__file__).parent, tmp_path / "alone" / "mnistkit"
    for room in ROOMS:
        shutil.copytree(source / room, target / room, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "__init__.py").write_text("")
    return target.parent


def test_export_and_fit_without_digits_and_serve(alone, tmp_path, python_here):
    ran = python_here("-c", CODE, cwd=tmp_path, env={"PYTHONPATH": str(alone)})
    assert ran.code == 0, ran.err
    assert set(ran.out.split()) == ROOMS
    assert (tmp_path / "m.onnx").is_file()


def test_a_room_that_is_missed_is_noticed(alone, tmp_path, python_here):
    """The twin: the process above really runs the copy."""
    shutil.rmtree(alone / "mnistkit" / "core")
    ran = python_here("-c", CODE, cwd=tmp_path, env={"PYTHONPATH": str(alone)})
    assert ran.code == 1
    assert "No module named 'mnistkit.core'" in ran.err
