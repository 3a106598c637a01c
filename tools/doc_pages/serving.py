"""docs/serving.md: the flags, and the figures that benchmarks/serve.py kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path

CONCURRENCY = (1, 16, 64)


def render(text: str, root: Path) -> str:
    """The page with its two tables made anew."""
    from mnistkit.serve.settings import flag_table

    report = json.loads((root / "benchmarks" / "results" / "serve.json").read_text(encoding="utf-8"))
    return fill(fill(text, "flags", f"{flag_table()}\n"), "speed", f"{table(report)}\n")


def table(report: dict[str, Any]) -> str:
    """The report as Markdown: requests a second, with p50 / p99 in milliseconds."""
    heads = [f"{kind} {count}" for kind in ("json", "binary") for count in CONCURRENCY]
    lines = ["| server | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, cells in report["cells"].items():
        row = []
        for head in heads:
            cell = cells.get(head)
            row.append(f"{cell['rate']:,.0f} ({cell['p50']:.2f} / {cell['p99']:.2f})" if cell else "")
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)
