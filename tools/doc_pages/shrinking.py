"""docs/shrinking.md: what smaller files lose and gain, from what benchmarks/shrink.py kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path


def render(text: str, root: Path) -> str:
    """The page with its table made anew."""
    rows = json.loads((root / "benchmarks" / "results" / "shrink.json").read_text(encoding="utf-8"))
    return fill(text, "shrink", table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown lines, one for each file."""
    heads = ("model", "file", "kB", "float32 = 1", "accuracy", "largest change", "time at 1 row", "at 32", "")
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---|" * (len(heads) - 1)]
    for row in rows:
        chosen = "auto takes it" if row["picked"] == "float32" else ""
        first = [row["model"], "float32", f"{row['size'] / 1000:,.0f}", "1.00", _accuracy(row), "", "1.00", "1.00"]
        lines.append(f"| {' | '.join(first)} | {chosen} |")
        lines += [_line(one, picked=row["picked"]) for one in row["candidates"]]
    versions = sorted({row["onnxruntime"] for row in rows})
    processors = sorted({row["processor"] for row in rows if row["processor"]})
    lines += ["", f"onnxruntime {', '.join(versions)}; {', '.join(processors)}."]
    return "\n".join(lines) + "\n"


def _line(one: dict[str, Any], *, picked: str | None) -> str:
    times = one["times"]
    measured = [f"{times[size]:.2f}" if times and size in times else "" for size in ("1", "32")]
    if times is None and not one["refused"]:
        measured = ["not measured yet"] * 2
    cells = [
        "",
        one["name"],
        "" if one["size"] is None else f"{one['size'] / 1000:,.0f}",
        "" if one["size_ratio"] is None else f"{one['size_ratio']:.2f}",
        _accuracy(one),
        "" if one["change"] is None else f"{100 * one['change']:.2f} %",
        *measured,
        "auto takes it" if one["name"] == picked else one["refused"] and f"not kept: {one['refused']}",
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy(row: dict[str, Any]) -> str:
    return "" if row["accuracy"] is None else f"{row['accuracy']:.4f}"
