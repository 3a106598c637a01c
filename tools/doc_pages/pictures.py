"""docs/pictures.md, from the figures that benchmarks/pictures.py kept."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def render(text: str, root: Path) -> str:
    """The page made anew, whatever it held."""
    del text
    return page(json.loads((root / "benchmarks" / "results" / "pictures.json").read_text(encoding="utf-8")))


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    lines = [
        "# What is read on people's pictures",
        "",
        "Written by `python tools/docs_tables.py` from `benchmarks/results/pictures.json`, which",
        "`python benchmarks/pictures.py FOLDER --write` keeps; do not edit.",
        f"Python {results['versions']['python']}, onnxruntime {results['versions']['onnxruntime']}, CPU.",
    ]
    for part, write in WRITERS.items():
        if part in results:
            lines += ["", *write(results[part])]
    return "\n".join(lines) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _people(found: dict[str, Any]) -> list[str]:
    rows = [
        [name, str(one["pictures"]), str(one["right"]), f"{one['right'] / one['pictures']:.1%}"]
        for name, one in found.items()
    ]
    lines = ["## Pictures that people drew or photographed", ""]
    lines += _table(["model", "pictures", "right", "share"], rows)
    for name, one in found.items():
        named = "; ".join(f"`{w['path']}` ({w['label']} as {w['read']}, {w['confidence']:.0%})" for w in one["wrong"])
        lines += ["", f"Wrong by {name}: {named or 'none'}."]
    return lines


def _made(found: dict[str, Any]) -> list[str]:
    shares = found["shares"]
    kinds = next(iter(shares.values()))
    rows = [[kind, *(f"{one[kind]:.1%}" for one in shares.values())] for kind in kinds]
    rows.append(["all", *(f"{statistics.mean(one.values()):.1%}" for one in shares.values())])
    text = f"{found['count']} of each kind (a third as many huge ones)."
    return ["## Pictures made from MNIST's test images", "", text, "", *_table(["kind", *shares], rows)]


def _numbers(found: dict[str, Any]) -> list[str]:
    rows = [
        [
            kind,
            f"{one['numbers right']:.1%} of {one['numbers']}",
            f"{one['digits right']:.2%} of {one['digits']}" if one["digits"] else "",
        ]
        for kind, one in found.items()
    ]
    text = (
        "`predict --number`, rows of 1 to 12 digits; digits by edit distance. Where there is nothing to read, "
        "finding no digit is right. The rules were tuned on pictures of other seeds."
    )
    return ["## Numbers", "", text, "", *_table(["kind", "numbers right", "digits right"], rows)]


def _confidence(found: dict[str, Any]) -> list[str]:
    text = (
        f"{found['digits']} digits on {found['pages']} pages composed from MNIST's test images, with print, scribbles "
        f"and tables around them: expected calibration error {found['calibration error']:.3f}; of the answers above .9 "
        f"{found['wrong above .9']:.1%} are wrong."
    )
    return ["## Confidence", "", text]


def _signs(found: dict[str, Any]) -> list[str]:
    rows = [
        [f"`{sign}`", f"{one['told']} of {one['there']}", str(one["invented"])] for sign, one in found["signs"].items()
    ]
    text = (
        f"`predict --signs`, {found['rows']} rows of digits with drawn signs between them. All of a row is right in "
        f"{found['rows right']}, its digits alone in {found['digits right']}."
    )
    return ["## Signs", "", text, "", *_table(["sign", "told", "said where it is not"], rows)]


def _speed(found: dict[str, Any]) -> list[str]:
    rows = [
        [name, f"{one['wall']:.3f} s", f"{one['cpu']:.3f} s", f"{one['wall'] / found['bare imports']['wall']:.2f}"]
        for name, one in found.items()
    ]
    text = "The whole process, from the shell's point of view; the median of interleaved runs."
    return ["## Time", "", text, "", *_table(["command", "wall", "CPU", "times the bare imports"], rows)]


def _memory(found: dict[str, Any]) -> list[str]:
    rows = [
        [name, *(f"{way['code']}, {way['above idle']} MB, {way['lines']} line" for way in ways.values())]
        for name, ways in found["files"].items()
    ]
    text = f"Exit code, peak memory above the idle process ({found['idle']} MB), lines printed."
    ways = list(next(iter(found["files"].values())))
    return ["## Files that are no pictures of digits", "", text, "", *_table(["file", *ways], rows)]


WRITERS = {
    "people": _people,
    "made": _made,
    "numbers": _numbers,
    "confidence": _confidence,
    "signs": _signs,
    "speed": _speed,
    "memory": _memory,
}
