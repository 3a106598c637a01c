"""What the package offers is what it says."""

import importlib
import importlib.metadata
import pkgutil
import re
from pathlib import Path

import pytest

import mnistkit

LIGHT = ["mnistkit", *(f"mnistkit.{name}" for name in (
    "cli", "cli.doctor", "core", "core.comparison", "core.contract", "core.errors", "core.files", "core.fork_safety",
    "core.golden", "core.keras_backend", "core.keras_files", "core.runtime", "digits", "digits.classifier",
    "digits.data", "digits.model", "digits.numbers", "digits.optimizers", "digits.pictures", "digits.profile",
    "digits.readings", "digits.segmentation", "digits.show", "digits.train", "predict", "train", "training",
))]  # fmt: skip


def test_all_is_the_truth():
    assert mnistkit.__all__ == sorted(mnistkit.__all__)
    public = {
        name
        for name, value in vars(mnistkit).items()
        if not name.startswith("_") and not isinstance(value, type(mnistkit)) and name != "annotations"
    }
    assert set(mnistkit.__all__) == public


@pytest.mark.parametrize("name", LIGHT)
def test_modules_say_what_they_are_for(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", []):
        assert hasattr(module, public)


@pytest.mark.parametrize("name", mnistkit.__all__)
def test_public_things_are_documented(name):
    assert getattr(mnistkit, name).__doc__


def test_every_module_is_in_the_package():
    """A folder without ``__init__.py`` would be left out of the wheel without a word."""
    root = Path(mnistkit.__file__).parent
    seen = {module.name for module in pkgutil.walk_packages([str(root)], onerror=lambda _: None)}
    top = {path.name for path in root.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert top <= seen


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", mnistkit.__version__)


def test_typed():
    assert (Path(mnistkit.__file__).parent / "py.typed").is_file()


def test_the_packaged_model_is_there(asset):
    assert asset.is_file()


def test_nothing_of_any_machine_is_in_the_packaged_files(asset):
    content = asset.read_bytes()
    for secret in (str(Path.home()), str(Path.cwd()), "/tmp/", "/home/", "site-packages"):  # noqa: S108  # looked for
        assert secret.encode() not in content, secret
