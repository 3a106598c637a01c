"""Run docs/tutorial.md; write its output and plots into the page, its translation and docs/tutorial.ipynb.

KERAS_BACKEND=jax python tools/notebook.py          run it (needs Keras and matplotlib) and write
python tools/notebook.py --check                    run nothing; exit 1 if the notebook is not that of the page
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's package, whatever is installed

import committed

PAGE, TRANSLATION, NOTEBOOK = "docs/tutorial.md", "docs/tutorial.zh-CN.md", "docs/tutorial.ipynb"
_CELL = re.compile(
    r"```python\n(?P<code>.*?)```\n"
    r"(?:\n```text\n(?P<output>.*?)```\n)?"
    r"(?:\n!\[(?P<alt>[^\]]*)\]\((?P<image>[^)]+)\)\n)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of the page: prose, or code with the output and the picture that the page shows below it."""

    prose: str = ""
    code: str = ""
    output: str | None = None
    image: str | None = None


def cells(page: str) -> list[Cell]:
    """The page, in order."""
    found, end = [], 0
    for match in _CELL.finditer(page):
        found += [Cell(prose=page[end : match.start()].strip())]
        found += [Cell(code=match["code"].rstrip(), output=match["output"], image=match["image"])]
        end = match.end()
    found.append(Cell(prose=page[end:].strip()))
    return [cell for cell in found if cell.prose or cell.code]


def notebook(page: str, folder: Path) -> bytes:
    """The notebook of the page; the pictures are read from the page's folder."""
    made: list[dict[str, Any]] = []
    for number, cell in enumerate(cells(page)):
        head = {"id": f"cell-{number}", "metadata": {}}
        if cell.prose:
            made.append({"cell_type": "markdown", **head, "source": _lines(cell.prose)})
            continue
        outputs: list[dict[str, Any]] = []
        if cell.output is not None:
            outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(cell.output)})
        if cell.image is not None:
            picture = base64.b64encode((folder / cell.image).read_bytes()).decode()
            outputs.append({"data": {"image/png": picture}, "metadata": {}, "output_type": "display_data"})
        count = sum(one["cell_type"] == "code" for one in made) + 1
        made.append(
            {"cell_type": "code", **head, "execution_count": count, "outputs": outputs, "source": _lines(cell.code)}
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()


def run(page: str) -> tuple[list[str], dict[str, bytes]]:
    """Run the page's code in order, in an empty folder: what each cell printed, and each picture.

    Raises:
        ValueError: A cell draws and has no place for a picture, or the other way round.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from PIL import Image

    from mnistkit.digits import profile
    from mnistkit.export.profile import register_profile

    register_profile(profile.DigitClassifier.name, profile.digit_classifier)  # a checkout has no entry point
    mpl.use("agg")
    shown: list[bytes] = []

    def show() -> None:
        stream = io.BytesIO()
        plt.gcf().savefig(stream, dpi=110)
        small = io.BytesIO()  # 64 colors: a third of the bytes
        Image.open(stream).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "png", optimize=True)
        shown.append(small.getvalue())
        plt.close("all")

    plt.show = show
    names: dict[str, Any] = {"__name__": "tutorial"}
    printed, pictures = [], {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell in (cell for cell in cells(page) if cell.code):
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                exec(compile(cell.code, PAGE, "exec"), names)  # noqa: S102  # our own page
            printed.append(stream.getvalue())
            if len(shown) != (cell.image is not None):
                raise ValueError(
                    f"{PAGE}: this cell draws {len(shown)} pictures, the page shows {cell.image}:\n{cell.code}"
                )
            if cell.image is not None:
                pictures[cell.image] = shown.pop()
            print(f"ran {cell.code.splitlines()[0]}", file=sys.stderr)
    return printed, pictures


def filled(page: str, printed: list[str]) -> str:
    """The page with what its cells printed.

    Raises:
        ValueError: A cell prints and the page has no ``text`` block below it, or the other way round.
    """
    left = iter(printed)

    def fill(match: re.Match[str]) -> str:
        output = next(left)
        if (match["output"] is None) != (not output):
            raise ValueError(
                f"{PAGE}: this cell prints {output!r}, the page shows {match['output']!r}:\n{match['code']}"
            )
        if not output:
            return match[0]
        return match[0].replace(f"```text\n{match['output']}```", f"```text\n{output}```", 1)

    return _CELL.sub(fill, page)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> int:
    """Run and write, or check."""
    parser = committed.parser(__doc__ or "")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    options = parser.parse_args()
    docs = options.root / "docs"
    page = (options.root / PAGE).read_text(encoding="utf-8")
    contents: dict[Path, bytes] = {}
    if not options.check:
        os.environ.setdefault("KERAS_BACKEND", "jax")  # as the page says
        printed, pictures = run(page)
        page = filled(page, printed)
        translation = (options.root / TRANSLATION).read_text(encoding="utf-8")
        contents = {
            options.root / PAGE: page.encode(),
            options.root / TRANSLATION: filled(translation, printed).encode(),
        }
        contents |= {docs / name: picture for name, picture in pictures.items()}
        (docs / "tutorial").mkdir(exist_ok=True)
        committed.write_or_check(contents, check=False, tool="tools/notebook.py")
    made = {options.root / NOTEBOOK: notebook(page, docs)}
    return committed.write_or_check(made, check=options.check, tool="tools/notebook.py")


if __name__ == "__main__":
    sys.exit(main())
