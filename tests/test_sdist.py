"""The source distribution holds what its tests read."""

import re
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAD = re.compile(r'(?:ROOT|parents\[\d\]|parent\.parent) / "([^"/]+)')


@pytest.fixture(scope="module")
def packed(python, tmp_path_factory):
    """Names of the files in a fresh sdist, without its own folder."""
    folder = tmp_path_factory.mktemp("dist")
    ran = python("-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    assert ran.code == 0, ran
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        return {name.split("/", 1)[1] for name in tar.getnames()}


def read_by_tests():
    """Files and folders at the top of the checkout that tests name."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    return {name for source in sources for name in HEAD.findall(source)}


def test_everything_that_tests_name_is_there(packed):
    named = {name for name in read_by_tests() if (ROOT / name).exists()}
    assert {"README.md", "README.zh-CN.md", "benchmarks", "exports", "tools", "docs"} <= named
    assert named <= {name.split("/")[0] for name in packed}


def test_folders_are_whole(packed):
    for folder in ("docs", "tools", "benchmarks", "examples", "tests", ".ci"):
        files = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and not {"__pycache__", "node_modules"} & {*path.parts}
        }
        assert files
        assert files - packed == set()


def test_every_document_that_readme_links_to_is_there(packed):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert {link for link in links if (ROOT / link).is_file()} - packed == set()


def test_caches_and_what_is_no_part_of_the_project_are_not_there(packed):
    assert not [name for name in packed if "__pycache__" in name or name.endswith(".pyc")]
    assert "shared" not in {name.split("/")[0] for name in packed}
