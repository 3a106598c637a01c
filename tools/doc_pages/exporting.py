"""docs/exporting.md: the speed of exported files, from the figures that benchmarks/export_speed.py kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path


def render(text: str, root: Path) -> str:
    """The page with its table made anew."""
    rows = json.loads((root / "benchmarks" / "results" / "export_speed.json").read_text(encoding="utf-8"))
    return fill(text, "speed", table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown lines, one for each model."""
    lines = [
        "| model | mnistkit, ms | tf2onnx, ms | torch, ms | mnistkit, fastest other = 1 |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        ran = {key: f"{value:.2f}" for key, value in row["milliseconds"].items()}
        cells = [ran.get(key) or "no file that runs" for key in ("native", "tensorflow", "torch")]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"| {row['model']} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines) + "\n"
