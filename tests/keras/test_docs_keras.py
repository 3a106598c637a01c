"""The Python of the documentation runs, prints what it says, and exports what Keras computes."""

import shutil

import doc_blocks
import pytest
from doc_blocks import ALL, ROOT

HANDLERS = [block for block in ALL if block.page == "docs/writing-a-handler.md" and block.language == "python"]
PAGES = [
    page for page in doc_blocks.python_pages("keras") if ".zh-CN" not in page
]  # the same code: test_translations.py


@pytest.fixture
def drawn(monkeypatch):
    """How many pictures were drawn; none is shown."""
    mpl = pytest.importorskip("matplotlib", reason="pip install matplotlib")
    mpl.use("agg")
    import matplotlib.pyplot as plt

    seen = []

    def show():
        seen.append(len(plt.get_fignums()))
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    return seen


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/tutorial.md"])
def test_the_python_of_a_page_prints_what_it_says(page, tmp_path):
    for name in ("exports/mnist-jax.onnx", "exports/mnist-cnn.onnx", "examples/digit.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert doc_blocks.run([block for block in ALL if block.page == page], tmp_path) == []


def test_the_tutorial_prints_what_it_says_on_every_backend(drawn, tmp_path):
    assert doc_blocks.run([block for block in ALL if block.page == "docs/tutorial.md"], tmp_path) == []
    assert drawn == [1] * doc_blocks.read("docs/tutorial.md").count("](tutorial/")
    assert (tmp_path / "tutorial.onnx").is_file()


def test_a_wrong_handler_is_refused(tmp_path):
    """The twin: the page's own handler with another operation."""
    from dataclasses import replace

    from mnistkit.core.errors import ParityError

    block = next(block for block in HANDLERS if '"Mul"' in block.code)
    with pytest.raises(ParityError):
        doc_blocks.run([replace(block, code=block.code.replace('"Mul"', '"Add"'))], tmp_path)
    assert not list(tmp_path.glob("*.onnx"))
