"""The rules about the layout can fail: an import against the arrows is found, wherever it stands."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
AGAINST = {
    "a lazy import of digits in export": (
        "export/pipeline.py",
        "\n\ndef _late():\n    from mnistkit.digits import data\n\n    return data\n",
        "core <- training",
    ),
    "a type of serve in digits": (
        "digits/classifier.py",
        "\n\nif TYPE_CHECKING:\n    from mnistkit.serve.http import Response\n",
        "core <- training",
    ),
    "training for export": ("export/plugin.py", "\nfrom mnistkit.training import fit\n", "core <- training"),
    "a framework in a pass": ("export/samples.py", "\nimport torch\n", "a framework is imported"),
    "Keras in core": ("core/contract.py", "\nimport keras\n", "core needs"),
    "the front door from inside": ("digits/data.py", "\nimport mnistkit\n", "nothing below"),
    "a circle": ("core/errors.py", "\nfrom mnistkit.core.files import replacing\n", "no circles"),
}


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "mnistkit", tmp_path / "mnistkit", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder):
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run(
        [*command, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_layout_is_kept(copy):
    ended = lint(copy)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("case", AGAINST)
def test_an_import_against_it_is_found(copy, case):
    name, code, contract = AGAINST[case]
    with (copy / "mnistkit" / name).open("a") as stream:
        stream.write(code)
    ended = lint(copy)
    assert ended.returncode == 1
    broken = [line for line in ended.stdout.splitlines() if line.endswith("BROKEN") or "BROKEN (" in line]
    assert any(line.startswith(contract) for line in broken), broken
