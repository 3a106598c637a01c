"""What is said about installing: a command that works, from one place."""

import re
import tomllib
from pathlib import Path

import pytest

import mnistkit
from mnistkit.core import install
from mnistkit.core.devices import DEVICES

ROOT = Path(mnistkit.__file__).parent


def test_the_command():
    assert install.install_command("cpu") == 'pip install ".[cpu]"'
    assert install.install_command("cpu", "serve", force=True) == 'pip install --force-reinstall ".[cpu,serve]"'


def test_the_hint_says_where():
    assert install.install_hint("jax") == '`pip install ".[jax]"` in mnistkit\'s source folder'


def test_release_day_changes_two_constants(monkeypatch):
    monkeypatch.setattr(install, "_SOURCE", "mnistkit")
    monkeypatch.setattr(install, "WHERE", "")
    assert install.install_hint("jax") == '`pip install "mnistkit[jax]"`'


def named_extras():
    """Every extra that a message of the package names."""
    for path in ROOT.rglob("*.py"):
        for words in re.findall(
            r"install_(?:hint|command)\(((?:[\"'][\w-]+[\"'](?:, )?)+)", path.read_text(encoding="utf-8")
        ):
            yield from re.findall(r"[\w-]+", words)
    yield from filter(None, (device.extra for device in DEVICES.values()))


def test_every_extra_that_is_named_is_one():
    project = ROOT.parent / "pyproject.toml"
    if not project.is_file():
        pytest.skip("tested from an installed wheel")
    known = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = set(named_extras())
    assert {"cpu", "gpu", "jax", "serve", "grpc"} <= named <= set(known)


def test_no_message_names_the_package_by_itself():
    """It is not on the index: such a command would fail, or install what somebody else put there."""
    by_name = re.compile(r"pip install [^\n]*mnistkit\[")
    assert by_name.search("run `pip install 'mnistkit[cpu]'`")
    found = [path.name for path in ROOT.rglob("*.py") if by_name.search(path.read_text(encoding="utf-8"))]
    assert found == []
