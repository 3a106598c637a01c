"""docs/training.md, from the figures that benchmarks/train.py kept."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path

HEADS = (
    "backend",
    "way",
    "first epoch, s",
    "plain fit = 1",
    "each further epoch, s (processor time)",
    "times faster than plain fit",
    "time, hand-written = 1",
    "peak memory, MiB",
    "plain fit = 1",
)
ORDER = ("plain fit", "best fit", "mnistkit.fit", "hand-written", "NumPy by hand", "scikit-learn")


def render(text: str, root: Path) -> str:
    """The page with its two tables made anew."""
    results = json.loads((root / "benchmarks" / "results" / "train.json").read_text(encoding="utf-8"))
    for model in ("mlp", "cnn"):
        rows = [row for row in results["rows"] if row["model"] == model]
        text = fill(text, model, "\n".join([*table(rows), "", about(rows, results, model)]) + "\n" if rows else "")
    return text


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown lines of one model; ratios are to plain fit, and to the hand-written loop, of the same backend."""
    lines = [
        f"| {' | '.join(HEADS)} |",
        "|---" * len(HEADS) + "|",
    ]
    for line in summary(rows):
        name = "" if line["backend"] == "none" else line["backend"]
        if "whole" in line:
            lines.append(f"| {name} | `{line['way']}`, 2 epochs, whole process | {line['whole']:.1f} | | | | | | |")
            continue
        if "failed" in line:
            lines.append(f"| {name} | {line['way']} | {line['failed']} | | | | | | |")
            continue
        cells = [
            f"{line['first']:.2f}",
            _cell(line["first_ratio"]),
            f"{line['steady']:.3f} ({line['processor']:.3f})",
            _cell(line["speed"], line["processor_speed"], digits=1),
            _cell(line["to_hand"], line["processor_to_hand"]),
            f"{line['peak_mib']:.0f}",
            _cell(line["memory"]),
        ]
        lines.append(f"| {name} | {line['way']} | {' | '.join(cells)} |")
    return lines


def about(rows: list[dict[str, Any]], results: dict[str, Any], model: str) -> str:
    """Return the conditions of the figures in one paragraph."""
    rounds = 1 + max(row["round"] for row in rows)
    loads = [row["load"] for row in rows if "load" in row] or [0.0]
    samples, cores = results["samples"][model], results["cores"]
    return (
        f"{samples:,} images in batches of {results['batch_size']}, {cores} cores; medians of {rounds} rounds of "
        f"{results['epochs'][model]} epochs. The machine's load average while measuring was {min(loads):.1f} to "
        f"{max(loads):.1f}, and other work shared its cores where that is over {cores}: trust the ratios more than the "
        "seconds, and processor time more than the clock."
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
            for name in ("whole", "first", "steady", "processor", "peak_mib"):
                if name in good[0]:
                    line[name] = statistics.median(row[name] for row in good)
            if "steady" in line:
                plain, hand = (
                    [known.get((backend, other, row["round"]), {}) for row in good]
                    for other in ("plain fit", "hand-written")
                )
                line["first_ratio"] = _ratio(good, plain, "first")
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


def _cell(ratio: float | None, in_brackets: float | None = None, *, digits: int = 2) -> str:
    first, second = ("" if number is None else f"{number:.{digits}f}" for number in (ratio, in_brackets))
    return f"{first} ({second})" if second else first
