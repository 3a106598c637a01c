"""The site can fail to build: what is wrong in a page, a docstring's name or a link is found. Needs no mnistkit."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "mnistkit", "mnistkit.export", "mnistkit.training", "mnistkit.serve", "mnistkit.serve.ray", "mnistkit.publish",
)  # fmt: skip


SMALL = {
    "README.md": "[1](examples/digit.py) [2](docs/apps.md#part) [3](docs/reference/mnistkit.md) [4](NOTES.md)\n",
    "examples/digit.py": "print(7)\n",
    "NOTES.md": "# Notes\n",
    "docs/notes.md": '--8<-- "NOTES.md"\n',
    "docs/index.md": '--8<-- "README.md"\n',
    "docs/apps.md": "# Apps\n\n## Part\n\n[1](index.md) [2](../examples/digit.py) [`fit`][mnistkit.fit]\n",
    "docs/reference/mnistkit.md": "# mnistkit\n\n::: mnistkit.fit\n",
    "docs/assets/site.css": "",
}


@pytest.fixture
def copy(tmp_path):
    """A small site with this project's settings and package."""
    for name, text in SMALL.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(re.sub(r"^nav:\n( .*\n)+", "", settings, flags=re.MULTILINE), encoding="utf-8")
    shutil.copytree(ROOT / "mnistkit", tmp_path / "mnistkit", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    return tmp_path


def build(root):
    command = [sys.executable, ROOT / "tools" / "build_site.py", "--root", root]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def append(path, text):
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{text}\n")


def test_links_of_the_repository_lead_into_the_site(copy):
    ran = build(copy)
    assert ran.returncode == 0, ran.stderr
    site = copy / "build" / "site"
    home = (site / "index.html").read_text(encoding="utf-8")
    for link in ("repository/examples/digit.py.txt", "apps.html#part", "reference/mnistkit.html", "notes.html"):
        assert f'href="{link}"' in home
    assert (site / "repository" / "examples" / "digit.py.txt").read_text(encoding="utf-8") == "print(7)\n"
    apps = (site / "apps.html").read_text(encoding="utf-8")
    assert 'href="index.html"' in apps
    assert 'href="reference/mnistkit.html#mnistkit.fit"' in apps


def test_wrong_pages_anchors_and_names_end_the_build(copy):
    append(copy / "docs" / "apps.md", "[a](nowhere.md) [b](reference/mnistkit.md#nowhere) [c][mnistkit.nowhere]")
    ran = build(copy)
    assert ran.returncode == 1
    for told in ("apps.md:", "page does not exist", "anchor does not exist", "unresolved autoref"):
        assert told in ran.stderr, ran.stderr


def test_a_reference_to_a_name_that_is_gone_ends_the_build(copy):
    append(copy / "docs" / "reference" / "mnistkit.md", "::: mnistkit.nowhere")
    ran = build(copy)
    assert ran.returncode == 1
    assert "mnistkit.nowhere could not be found" in ran.stderr


def test_dead_links_to_the_repository_and_what_is_loaded_from_elsewhere_are_named(copy):
    """Zensical takes these; the check of the built pages does not."""
    append(copy / "README.md", "[a](examples/nowhere.py) [b](docs/nowhere.md) [c](#nowhere)")
    append(copy / "docs" / "apps.md", '<img src="https://example.com/a.png"> <a href="nowhere.html">d</a>')
    append(copy / "docs" / "assets" / "site.css", "@import 'https://example.com/font.css';")
    ran = build(copy)
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "apps.html: loads https://example.com/a.png from elsewhere",
        "apps.html: dead link nowhere.html",
        "index.html: dead link repository/examples/nowhere.py.txt",
        "index.html: dead link nowhere.html",
        "index.html: no such anchor #nowhere",
        "assets/site.css: loads https://example.com/font.css from elsewhere",
    ]


def public(package):
    """The names in ``__all__``, without importing anything."""
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    ]
    return sorted(lists[0]) if lists else []


def missing_or_extra(package, page):
    named = [name.removeprefix(f"{package}.") for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)]
    return sorted({*named} ^ {*public(package)})


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_the_public_names_and_no_others(package):
    page = (ROOT / "docs" / "reference" / f"{package.rpartition('.')[2]}.md").read_text(encoding="utf-8")
    assert missing_or_extra(package, page) == [], (
        f"::: lines that docs/reference/ lacks, or has too much, for {package}"
    )
    assert missing_or_extra(package, page + "\n::: mnistkit.nowhere\n") != []
    if public(package):
        first = re.search(rf"^::: {re.escape(package)}\.(\S+)$", page, re.MULTILINE)[1]
        assert missing_or_extra(package, page.replace("::: ", "::", 1)) == [first]


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))) - {"README.md"}
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - named == set(), "not in the nav of mkdocs.yml"
    assert named - pages == set(), "in the nav of mkdocs.yml, not in docs/"


def test_the_notebook_is_valid():
    whole = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
    nbformat.validate(whole)
    whole["cells"][0]["cell_type"] = "prose"
    with pytest.raises(nbformat.ValidationError):
        nbformat.validate(whole)
