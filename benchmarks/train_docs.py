"""Render docs/training.md and docs/training.svg from the figures that benchmarks/train.py kept."""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
PAGE, PLOT = ROOT / "docs" / "training.md", ROOT / "docs" / "training.svg"
COLOURS = {"mnistkit.fit": "#2a78b8"}  # the others are grey
GREY = "#b4b4b4"


def render(results: dict) -> None:
    """Fill the page's tables and draw the plot."""
    import train

    text = PAGE.read_text(encoding="utf-8")
    for model in ("mlp", "cnn"):
        rows = [row for row in results["rows"] if row["model"] == model]
        pattern = re.compile(rf"(<!-- table: {model} -->\n).*?(<!-- end: {model} -->)", re.DOTALL)
        made = "\n".join(train.table(rows)) + "\n" if rows else ""
        text = pattern.sub(lambda match, made=made: f"{match[1]}{made}{match[2]}", text)
    PAGE.write_text(text, encoding="utf-8")
    PLOT.write_text(
        plot([row for row in results["rows"] if row["model"] == "mlp" and "steady" in row]), encoding="utf-8"
    )


def plot(rows: list[dict]) -> str:
    """One bar a contender: seconds of an epoch in the steady state."""
    left, width, bar, gap = 210, 420, 16, 6
    longest = max(row["steady"] for row in rows)
    height = len(rows) * (bar + gap) + 30
    size = f'viewBox="0 0 {left + width + 70} {height}" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<text x="{left}" y="14">seconds an epoch after the first, shorter is better</text>',
    ]
    for i, row in enumerate(rows):
        y = 24 + i * (bar + gap)
        name = row["way"] if row["backend"] == "none" else f"{row['backend']}: {row['way']}"
        length = max(1.0, width * row["steady"] / longest)
        parts += [
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{COLOURS.get(row["way"], GREY)}"/>',
            f'<text x="{left + length + 5:.1f}" y="{y + 12}">{row["steady"]:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
