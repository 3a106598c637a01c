"""docs/scaling.md: what benchmarks/capacity.py measured and predicted, and how many replicas that makes."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path

RATES = (10_000, 100_000, 1_000_000)
SURE = 0.5
"""Share of the highest rate up to which p99 can be told."""
FAULTS = 0.8
"""Of what a worker is good for: the rest is for a replica that is being replaced and for bursts beyond Poisson's."""

_HEADS = ("requests", "workers", "highest rate", "load", "requests/s", "p50 predicted", "measured", "p99 predicted",
          "measured", "off")  # fmt: skip


def render(text: str, root: Path) -> str:
    """The page with its two tables made anew."""
    report = json.loads((root / "benchmarks" / "results" / "capacity.json").read_text(encoding="utf-8"))
    return fill(fill(text, "capacity", f"{table(report)}\n"), "replicas", f"{replicas(report)}\n")


def table(report: dict[str, Any]) -> str:
    """Measured and predicted milliseconds at each load."""
    lines = [f"| {' | '.join(_HEADS)} |", "|---" * len(_HEADS) + "|"]
    for cell in report["cells"]:
        for load in cell["loads"]:
            said, found = load["predicted"], load["measured"]
            lines.append(
                f"| {cell['kind']} | {cell['workers']} | {cell['capacity']:,.0f} "
                f"| {load['share']:.0%} | {load['rate']:,.0f} "
                f"| {said['p50']:.2f} | {found['p50']:.2f} | {said['p99']:.2f} | {found['p99']:.2f} "
                f"| {said['p99'] / found['p99'] - 1:+.0%} |"
            )
    return "\n".join(lines)


def replicas(report: dict[str, Any]) -> str:
    """Workers and network for each rate, from the cells of one worker."""
    lines = [
        "| requests/s | as | one worker is good for | workers | requests' bytes | in | out |",
        "|---" * 7 + "|",
    ]
    for rate in RATES:
        for cell in report["cells"]:
            if cell["workers"] == 1:
                good = good_for(cell, report["target"])
                size = report["bytes"][cell["kind"]]
                lines.append(
                    f"| {rate:,} | {cell['kind']} | {good:,.0f}/s | {workers(rate, good):,} "
                    f"| {size['request']:,} | {_network(rate * size['request'])} | {_network(rate * size['answer'])} |"
                )
    return "\n".join(lines)


def good_for(cell: dict[str, Any], target: float) -> float:
    """The highest rate, up to `SURE`, at which the measured p99 is at most the target, in requests a second."""
    loads = [load for load in cell["loads"] if load["share"] <= SURE]
    rates = (load["rate"] for load in loads if load["measured"]["p99"] <= 1000 * target)
    return float(max(rates))


def workers(rate: float, good_for: float) -> int:
    """Processes for a rate."""
    return math.ceil(rate / (FAULTS * good_for))


def _network(bytes_a_second: float) -> str:
    bits = 8 * bytes_a_second
    return f"{bits / 1e9:.1f} Gbit/s" if bits >= 1e9 else f"{bits / 1e6:.0f} Mbit/s"
