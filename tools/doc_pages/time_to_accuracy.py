"""The table of docs/training.md about the time to 99 %, from the figures of benchmarks/time_to_accuracy.py."""

from __future__ import annotations

import statistics
from typing import Any

GOAL = 0.99
HEADS = (
    "backend",
    "way",
    "seeds at 99 %",
    "whole process, s: median (lowest to highest)",
    "processor time, s",
    "imports, s",
    "training and test, s",
    "test accuracy, lowest to highest",
)
_BACKENDS = ("jax", "tensorflow", "torch")
_WAYS = ("fit", "mnistkit.fit", "hand-written")


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown lines; a contender that was not measured has none, seconds are of the seeds that reached 99 %."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for backend in _BACKENDS:
        for way in _WAYS:
            mine = [row for row in rows if (row["backend"], row["way"]) == (backend, way)]
            if mine:
                lines.append(f"| {backend} | {way} | {' | '.join(_cells(mine))} |")
    return lines


def _cells(rows: list[dict[str, Any]]) -> list[str]:
    ran = [row for row in rows if "failed" not in row]
    good = [row for row in ran if row["accuracy"] >= GOAL]
    cells = [f"{len(good)} of {len(rows)}"]
    if good:
        whole = [row["whole"] for row in good]
        cells.append(f"{statistics.median(whole):.1f} ({min(whole):.1f} to {max(whole):.1f})")
        cells += [f"{statistics.median(row[key] for row in good):.1f}" for key in ("processor", "imports", "training")]
    else:
        cells += ["", "", "", ""]
    if ran:
        accuracies = [row["accuracy"] for row in ran]
        cells.append(f"{min(accuracies):.2%} to {max(accuracies):.2%}")
    else:
        cells.append(rows[0]["failed"])
    return cells


def about(results: dict[str, Any]) -> str:
    """Return the conditions of the figures in one paragraph."""
    loads = [row["load"] for row in results["rows"] if "load" in row] or [0.0]
    cores = results["cores"]
    return (
        f"60,000 images in batches of {results['recipe']['batch_size']}, {cores} cores. The machine's load average "
        f"while measuring was {min(loads):.1f} to {max(loads):.1f}, and other work shared its cores where that is over "
        f"{cores}: trust processor time more than the clock."
    )
