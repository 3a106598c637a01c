"""What the package offers is what it says."""

import importlib
import importlib.metadata
import pkgutil
import re
from pathlib import Path

import pytest

import mnistkit

LIGHT = [
    "mnistkit",
    "cli",
    "bench",
    "cli.bench",
    "cli.common",
    "cli.doctor",
    "cli.evaluate",
    "cli.examine",
    "cli.export",
    "cli.info",
    "cli.parser",
    "cli.predict",
    "cli.report",
    "cli.serve",
    "cli.train",
    "cli.verify",
    "core",
    "core.about",
    "core.comparison",
    "core.contract",
    "core.errors",
    "core.files",
    "core.fork_safety",
    "core.golden",
    "core.install",
    "core.keras_backend",
    "core.keras_files",
    "core.keras_names",
    "core.modules",
    "core.runtime",
    "core.startup_lines",
    "core.stateful",
    "core.tensors",
    "digits",
    "digits.classifier",
    "digits.data",
    "digits.evaluate",
    "digits.model",
    "digits.numbers",
    "digits.optimizers",
    "digits.pictures",
    "digits.profile",
    "digits.readings",
    "digits.segmentation",
    "digits.settings",
    "digits.show",
    "digits.train",
    "doctor",
    "errors",
    "evaluate",
    "info",
    "predict",
    "publish",
    "publish.bench",
    "publish.deploy",
    "publish.report",
    "publish.report.write",
    "publish.shrink",
    "report",
    "train",
    "training",
    "verify",
]
LIGHT = [name if name == "mnistkit" else f"mnistkit.{name}" for name in LIGHT]


def test_all_is_the_truth():
    assert mnistkit.__all__ == sorted(mnistkit.__all__)
    assert {name for name in dir(mnistkit) if not name.startswith("_")} == set(mnistkit.__all__)
    with pytest.raises(AttributeError, match="module 'mnistkit' has no attribute 'trian'"):
        _ = mnistkit.trian


def test_what_a_type_checker_sees_is_what_there_is():
    """The names are found without running the code: all of them imported under TYPE_CHECKING."""
    import ast

    tree = ast.parse(Path(mnistkit.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(seen) == set(mnistkit.__all__)
    for public, (module, name) in seen.items():
        if public not in {"errors", "export_onnx", "verify", "evaluate"}:  # a module, and three that are forwarded
            assert getattr(importlib.import_module(module), name) is getattr(mnistkit, public)


@pytest.mark.parametrize(
    "order",
    [("from mnistkit import {0}", "import mnistkit.{0}"), ("import mnistkit.{0}", "from mnistkit import {0}")],
    ids=["name first", "module first"],
)
@pytest.mark.parametrize("name", ["verify", "evaluate"])
def test_a_function_with_the_name_of_a_command(python, tmp_path, asset, name, order):
    """One object, whichever is imported first; and still a command."""
    code = "\n".join(line.format(name) for line in order)
    code += f"\nimport mnistkit\nassert mnistkit.{name} is {name}\nprint({name}({str(asset)!r}))"
    ran = python("-W", "error", "-c", code, cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert "accuracy" in ran.out if name == "evaluate" else "pairs=" in ran.out
    ran = python("-W", "error", "-m", f"mnistkit.{name}", asset, cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")


def test_a_called_function_raises_its_own_errors(tmp_path):
    with pytest.raises(mnistkit.errors.ModelFileError, match="no such file"):
        mnistkit.verify(tmp_path / "none.onnx")


@pytest.mark.parametrize(("name", "words"), [("train", "from mnistkit.digits.train import train"),
                                             ("predict", "mnistkit.Classifier")])  # fmt: skip
def test_calling_a_command_leads_to_the_function(name, words):
    with pytest.raises(TypeError, match=words) as caught:
        getattr(mnistkit, name)()
    assert "not callable" not in str(caught.value)


OLD = [
    ("mnistkit", "verify_file", "mnistkit.verify"),
    ("mnistkit.train", "train", "mnistkit.digits.train.train"),
    ("mnistkit.train", "Settings", "mnistkit.digits.train.Settings"),
    ("mnistkit.train", "TrainReport", "mnistkit.digits.train.TrainReport"),
    ("mnistkit.predict", "read_files", "mnistkit.digits.readings.read_files"),
    ("mnistkit.predict", "Reading", "mnistkit.digits.readings.Reading"),
]


@pytest.mark.parametrize(("module", "name", "new"), OLD)
def test_old_names_lead_to_new_ones(module, name, new):
    with pytest.warns(DeprecationWarning, match=f"{module}.{name} is now {new}; ") as caught:
        found = getattr(importlib.import_module(module), name)
    assert caught[0].filename == __file__
    home, _, there = new.rpartition(".")
    assert found is getattr(importlib.import_module(home), there)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = importlib.import_module(module).nothing


def test_the_public_errors_are_all_of_them():
    from mnistkit import errors
    from mnistkit.core import errors as core

    every = {name for name, value in vars(core).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert set(errors.__all__) == every
    assert errors.InputError is core.InputError


@pytest.mark.parametrize("words", ["import mnistkit.export, mnistkit.core.errors", "import mnistkit.training",
                                   "from mnistkit import fit, errors"])  # fmt: skip
def test_export_and_training_do_without_digits_and_server(python, tmp_path, words):
    import shutil

    root = Path(mnistkit.__file__).parent
    shutil.copytree(root, tmp_path / "mnistkit", ignore=shutil.ignore_patterns("digits", "serve", "__pycache__"))
    ran = python("-c", f"{words}\nimport mnistkit\nprint(mnistkit.__file__)", cwd=tmp_path,
                 env={"PYTHONPATH": str(tmp_path)})  # fmt: skip
    assert (ran.code, ran.out.strip()) == (0, str(tmp_path / "mnistkit" / "__init__.py")), ran.err
    assert python("-c", "import mnistkit.digits", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}).code == 1


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
    assert top <= set(mnistkit._PACKAGES)  # `mnistkit.NAME` without an import of its own
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
