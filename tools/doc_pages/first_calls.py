"""The table of whole calls, from the figures that benchmarks/train_first.py kept; no page shows it yet."""

from __future__ import annotations

import statistics
from typing import Any

HEADS = (
    "backend",
    "calls",
    "fit, s (processor time)",
    "mnistkit.fit, s (processor time)",
    "fit = 1",
    "peak memory, MiB",
    "fit = 1",
)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown lines; a ratio is taken within its round, and its median shown."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for backend, case in dict.fromkeys((row["backend"], row["case"]) for row in rows):
        ways = {
            way: {
                row["round"]: row for row in rows if (row["backend"], row["case"], row["way"]) == (backend, case, way)
            }
            for way in ("fit", "mnistkit.fit")
        }
        failed = [row["failed"] for ones in ways.values() for row in ones.values() if "failed" in row]
        if failed or not all(ways.values()):
            lines.append(f"| {backend} | {case} | {failed[0] if failed else ''} | | | | |")
            continue
        before, now = ([*ones.values()] for ones in ways.values())
        cells = [
            _times(before),
            _times(now),
            f"{_ratio(ways, 'seconds'):.2f} ({_ratio(ways, 'processor'):.2f})",
            f"{statistics.median(row['peak_mib'] for row in now):.0f}",
            f"{_ratio(ways, 'peak_mib'):.2f}",
        ]
        lines.append(f"| {backend} | {case} | {' | '.join(cells)} |")
    return lines


def _times(rows: list[dict[str, Any]]) -> str:
    seconds, processor = (statistics.median(row[name] for row in rows) for name in ("seconds", "processor"))
    return f"{seconds:.2f} ({processor:.2f})"


def _ratio(ways: dict[str, dict[int, dict[str, Any]]], name: str) -> float:
    before, now = ways["fit"], ways["mnistkit.fit"]
    ratio: float = statistics.median(now[i][name] / before[i][name] for i in before.keys() & now.keys())
    return ratio
