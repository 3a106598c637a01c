"""Tests that need Keras: one backend for the process, chosen by KERAS_BACKEND as everywhere.

A backend that was asked for and cannot be imported fails here, before any test; it never skips.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

# Keras writes a configuration on its first import; a machine's own must neither be changed nor decide anything.
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras-home-"))
sys.path.insert(0, str(Path(__file__).parent))

from mnistkit.core import keras_backend as backends
from mnistkit.digits import profile
from mnistkit.digits.data import load_data
from mnistkit.digits.train import Settings, train
from mnistkit.export.profile import register_profile

backends.quiet_startup_logs()
keras = backends.load_keras()
register_profile(profile.DigitClassifier.name, profile.digit_classifier)  # a checkout has no entry point


@pytest.fixture(autouse=True)
def _no_determinism_left():
    """Training turns TensorFlow's deterministic kernels on for its process; other tests of the process want XLA."""
    yield
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.framework import config  # there is no public way back

        config.disable_op_determinism()


@pytest.fixture(scope="session")
def here():
    """The backend of this process."""
    return backends.active_backend()


def save_part(path, *, train, test):
    """Save the first images of MNIST as a data set of their own."""
    whole = load_data()
    np.savez(
        path,
        x_train=whole.x_train[:train],
        y_train=whole.y_train[:train],
        x_test=whole.x_test[:test],
        y_test=whole.y_test[:test],
    )
    return path


@pytest.fixture(scope="session")
def small_npz(tmp_path_factory):
    """A small data set: 1,500 training and 300 test images of MNIST."""
    return save_part(tmp_path_factory.mktemp("data") / "small.npz", train=1500, test=300)


@pytest.fixture(scope="session")
def large_npz(tmp_path_factory):
    """Enough images for a signal to arrive in the middle of an epoch."""
    return save_part(tmp_path_factory.mktemp("data") / "large.npz", train=20000, test=100)


@pytest.fixture(scope="session")
def small(small_npz):
    return load_data(small_npz)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, small):
    """One model, trained once for all tests: two epochs of the small set."""
    return train(Settings(), out=tmp_path_factory.mktemp("trained") / "mnist.keras", data=small)


@pytest.fixture(scope="session")
def exported(tmp_path_factory, trained, small):
    """Its verified file."""
    from mnistkit.export import export_onnx

    return export_onnx(trained.path, tmp_path_factory.mktemp("exported") / "mnist.onnx", data=small)


@pytest.fixture(scope="session")
def python_here(python, here):
    """Run Python in a process of its own under this backend."""

    def run(*arguments, cwd, env=None, timeout=240):
        return python(*arguments, cwd=cwd, env={"KERAS_BACKEND": here.name, **(env or {})}, timeout=timeout)

    return run


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def pytest_configure(config):
    # Keras' integer lookups and MixUp ask JAX for 64 bits, which it has only by another configuration
    config.addinivalue_line("filterwarnings", "ignore:Explicitly requested dtype:UserWarning")
    # Keras under torch converts by np.array(tensor), which NumPy 2 tells torch off for
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    )
