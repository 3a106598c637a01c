"""docs/training.md, from the figures that benchmarks/train.py kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doc_pages import time_to_accuracy, training_rows
from doc_pages.markers import fill
from doc_pages.training_summary import summary

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
TITLES = {
    "text": "text classifier, 5,000 words",
    "wide": "wide and deep, 10 embeddings",
    "autoencoder": "autoencoder 784-256-64-256-784",
    "conv1d": "two `Conv1D`",
    "depthwise": "two `DepthwiseConv2D`",
    "transformer": "transformer, 2 blocks, length and width 64",
    "lstm": "`LSTM(64)` over 28 rows",
}
"""Of the small models; `benchmarks/train_models.py` says what they are."""


def render(text: str, root: Path) -> str:
    """The page with its tables made anew; a table without figures stays as it is."""
    results = json.loads((root / "benchmarks" / "results" / "train.json").read_text(encoding="utf-8"))
    for model in ("mlp", "cnn"):
        rows = [row for row in results["rows"] if row["model"] == model]
        text = fill(text, model, "\n".join([*table(rows), "", about(rows, results, model)]) + "\n" if rows else "")
    rows = [row for row in results["rows"] if row["model"] in TITLES]
    if rows:
        lines = [*training_rows.table(rows, TITLES), "", training_rows.about(rows, results)]
        text = fill(text, "rows", "\n".join(lines) + "\n")
    return fill(text, "time_to_accuracy", _time_to_accuracy(root / "benchmarks" / "results" / "time_to_accuracy.json"))


def _time_to_accuracy(path: Path) -> str:
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    if not results["rows"]:
        return "Not measured yet.\n"
    return "\n".join([*time_to_accuracy.table(results["rows"]), "", time_to_accuracy.about(results)]) + "\n"


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


def _cell(ratio: float | None, in_brackets: float | None = None, *, digits: int = 2) -> str:
    first, second = ("" if number is None else f"{number:.{digits}f}" for number in (ratio, in_brackets))
    return f"{first} ({second})" if second else first
