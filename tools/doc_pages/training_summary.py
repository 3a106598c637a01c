"""Medians over the rounds of benchmarks/train.py, and ratios between its contenders."""

from __future__ import annotations

import statistics
from typing import Any

ORDER = (
    "plain fit",
    "best fit",
    "best fit, keras-nightly",
    "mnistkit.fit",
    "hand-written",
    "NumPy by hand",
    "scikit-learn",
)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the rounds, one line a contender; a ratio is taken within its round first."""
    known = {(row["backend"], row["way"], row["round"]): row for row in rows}
    found = []
    for backend in ("jax", "tensorflow", "torch", "none"):
        ways = dict.fromkeys(row["way"] for row in rows if row["backend"] == backend)
        for way in sorted(ways, key=lambda way: ORDER.index(way) if way in ORDER else len(ORDER)):
            line = {"backend": backend, "way": way}
            mine = [row for row in rows if row["backend"] == backend and row["way"] == way]
            good = [row for row in mine if "failed" not in row]
            if not good:
                found.append({**line, "failed": mine[0]["failed"]})
                continue
            for name in ("whole", "first", "total", "steady", "processor", "peak_mib"):
                if all(name in row for row in good):
                    line[name] = statistics.median(row[name] for row in good)
            if "steady" in line:
                plain, hand = (
                    [known.get((backend, other, row["round"]), {}) for row in good]
                    for other in ("plain fit", "hand-written")
                )
                line["first_ratio"] = _ratio(good, plain, "first")
                line["total_speed"] = _ratio(plain, good, "total")
                line["memory"] = _ratio(good, plain, "peak_mib")
                line["speed"] = _ratio(plain, good, "steady")
                line["to_hand"] = _ratio(good, hand, "steady")
                line["processor_speed"] = _ratio(plain, good, "processor")
                line["processor_to_hand"] = _ratio(good, hand, "processor")
            found.append(line)
    return found


def _ratio(above: list[dict[str, Any]], below: list[dict[str, Any]], name: str) -> float | None:
    pairs = [(a[name], b[name]) for a, b in zip(above, below, strict=True) if name in a and name in b]
    return statistics.median(a / b for a, b in pairs) if pairs else None
