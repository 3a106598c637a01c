"""Every generated file that is committed is what its tool would write, and a tool notices when it is not."""

import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools"
SOURCES = ("README.md", "docs", "benchmarks/results", "exports")  # what the pages hold and are made from


@pytest.fixture
def tool(python, tmp_path):
    return lambda name, *arguments: python(TOOLS / f"{name}.py", *arguments, cwd=tmp_path)


@pytest.fixture
def checkout(tmp_path):
    """A copy of the pages and of what they are made from."""
    root = tmp_path / "checkout"
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("*.keras"))
        else:
            root.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    return root


def outdated(ran, root):
    """The files that a check named, as paths in the checkout."""
    return [str(Path(line.split(" is out of date")[0]).relative_to(root)) for line in ran.err.splitlines()]


def test_the_tables_in_readme_and_docs_are_those_of_the_measured_figures(tool):
    ran = tool("docs_tables", "--check")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


EDITS = {
    "README.md": "| jax ",
    "docs/apps.md": "| `session.run` |",
    "docs/coverage.md": "| Dense |",
    "docs/exporting.md": "| VGG16 |",
    "docs/pictures.md": "| cnn |",
    "docs/serving.md": "| starlette |",
    "docs/training.md": "| plain fit |",
}


def test_an_edited_page_is_named_and_mended(tool, checkout):
    for name, words in EDITS.items():
        page = checkout / name
        text = page.read_text(encoding="utf-8")
        assert words in text
        page.write_text(text.replace(words, "| abacus |", 1), encoding="utf-8")
    ran = tool("docs_tables", "--check", "--root", checkout)
    assert ran.code == 1
    assert outdated(ran, checkout) == list(EDITS)
    assert tool("docs_tables", "--root", checkout).code == 0
    for name in EDITS:
        assert (checkout / name).read_bytes() == (ROOT / name).read_bytes()


FIGURES = {
    "exports/mnist-jax*.json": ("README.md", r'"onnxruntime": 0\.\d+', '"onnxruntime": 0.1234'),
    "exports/mnist-cnn.train.json": ("README.md", r'"training": \d+', '"training": 60000'),
    "benchmarks/results/calls.json": ("docs/apps.md", r'"ratio": 1\.\d+', '"ratio": 8.4'),
    "benchmarks/results/coverage.json": ("docs/coverage.md", r'"native": "ok"', '"native": "wrong"'),
    "benchmarks/results/export_speed.json": ("docs/exporting.md", r'"ratio": \d', '"ratio": 7'),
    "benchmarks/results/pictures.json": ("docs/pictures.md", r'"right": \d+', '"right": 1'),
    "benchmarks/results/serve.json": ("docs/serving.md", r'"rate": \d+', '"rate": 1'),
    "benchmarks/results/train.json": ("docs/training.md", r'"first": \d+', '"first": 90'),
}


@pytest.mark.parametrize("source", FIGURES)
def test_a_changed_figure_is_noticed(tool, checkout, source):
    page, pattern, replacement = FIGURES[source]
    count = 0
    for path in checkout.glob(source):
        text, changes = re.subn(pattern, replacement, path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
        count += changes
    assert count
    assert outdated(tool("docs_tables", "--check", "--root", checkout), checkout) == [page]


def test_a_page_without_its_markers_is_an_error(tool, checkout):
    page = checkout / "docs" / "exporting.md"
    page.write_text(page.read_text(encoding="utf-8").replace("<!-- table: speed -->", ""), encoding="utf-8")
    ran = tool("docs_tables", "--check", "--root", checkout)
    assert ran.code == 1
    assert "no place for the table 'speed'" in ran.err


def test_the_notebook_is_that_of_the_tutorial(tool):
    ran = tool("notebook", "--check")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_the_notebook_is_executed_and_has_nothing_of_any_machine():
    path = ROOT / "docs" / "tutorial.ipynb"
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
    assert kinds.count("display_data") == len(list((ROOT / "docs" / "tutorial").glob("*.png"))) == 6
    assert kinds.count("stream") >= 8
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert path.stat().st_size < 500_000
    for secret in ("/home", "/tmp", "/opt", "site-packages", str(Path.home())):  # noqa: S108  # looked for
        assert secret not in path.read_text(encoding="utf-8"), secret


TUTORIAL_EDITS = {
    "a line of code": ("keras.utils.set_random_seed(0)", "keras.utils.set_random_seed(1)"),
    "a word": ("Always look at data", "Never look at data"),
    "an output": ("labels [5 0 4 1 9 2 1 3]", "labels [5 0 4 1 9 2 1 4]"),
    "a picture": ("(tutorial/samples.png)", "(tutorial/mistakes.png)"),
}


@pytest.mark.parametrize("case", TUTORIAL_EDITS)
def test_a_changed_tutorial_is_noticed(tool, checkout, case):
    page = checkout / "docs" / "tutorial.md"
    text = page.read_text(encoding="utf-8")
    before, after = TUTORIAL_EDITS[case]
    assert text.count(before) == 1
    page.write_text(text.replace(before, after), encoding="utf-8")
    ran = tool("notebook", "--check", "--root", checkout)
    assert (ran.code, outdated(ran, checkout)) == (1, ["docs/tutorial.ipynb"])


def test_a_case_is_a_line_of_the_coverage_figures():
    path = ROOT / "benchmarks" / "results" / "coverage.json"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(json.loads("\n".join(lines))["cases"]) + 2


def test_the_packages_model_is_the_exported_one(asset):
    """One object in the repository under two names: exports/ is a promise, and the wheel needs it too."""
    assert asset.read_bytes() == (ROOT / "exports" / "mnist-cnn.onnx").read_bytes()


def test_check_all_knows_every_tool(tool):
    checking = {path.stem for path in TOOLS.glob("*.py") if "--check" in path.read_text(encoding="utf-8")}
    checking -= {"check_all", "committed"}
    ran = tool("check_all", "--help")
    assert ran.code == 0
    assert set(re.search(r"of (.+?) \(default", " ".join(ran.out.split()))[1].split(", ")) == checking
    assert tool("check_all", "no_such_tool").code == 2


def test_check_all_fails_when_one_tool_does(tool, tmp_path):
    folder = tmp_path / "tools"
    shutil.copytree(TOOLS, folder)
    for name in ("docs_tables", "notebook", "package_model", "picture_graphs"):
        (folder / f"{name}.py").write_text("")
    assert tool(str(folder / "check_all")).code == 0
    (folder / "package_model.py").write_text("raise SystemExit(1)")
    assert tool(str(folder / "check_all")).code == 1
