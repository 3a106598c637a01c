"""docs/how-to/processes.md, from the figures that benchmarks/processes.py kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path

HEADS = (
    "backend",
    "model",
    "batch",
    "gradients of a step, MB",
    "processes",
    "epoch, s (processor time of one)",
    "one process = 1",
)


def render(text: str, root: Path) -> str:
    """The page with its table made anew."""
    kept = root / "benchmarks" / "results" / "processes.json"
    if not kept.exists():  # not measured yet on a machine that does nothing else
        return text
    results = json.loads(kept.read_text(encoding="utf-8"))
    return fill(text, "processes", "\n".join([*_table(results["rows"]), "", _about(results)]) + "\n")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    alone = {(row["backend"], row["model"]): row["seconds"] for row in rows if row["processes"] == 1}
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for row in rows:
        ratio = row["seconds"] / alone[row["backend"], row["model"]]
        lines.append(
            f"| {row['backend']} | {row['model']} | {row['batch_size']} | {row['gradient_bytes_per_step'] / 1e6:.2f} | "
            f"{row['processes']} | {row['seconds']:.2f} ({row['processor_seconds']:.2f}) | {ratio:.2f} |"
        )
    return lines


def _about(results: dict[str, Any]) -> str:
    loads = [row["load"] for row in results["rows"]]
    threads = f"{results['threads']} thread and one processor for each process" if results["threads"] else "all threads"
    processors = results["processors"]
    return (
        f"{results['images']:,} images, {processors} processors, {threads}; medians of the epochs after the first. "
        "`tutorial` is 784 → 32 → 10, `wide` 784 → 1024 → 1024 → 10. The machine's load average was "
        f"{min(loads)} to {max(loads)}: over {processors}, other work shared the processors, and the ratios say little."
    )
