"""The compact table of docs/training.md: one line for each small model and backend."""

from __future__ import annotations

from typing import Any

from doc_pages.training_summary import summary

HEADS = (
    "model",
    "backend",
    "plain fit, each further epoch, s",
    "best fit",
    "keras-nightly's best fit",
    "mnistkit.fit",
    "hand-written",
    "mnistkit.fit's time, hand-written = 1",
    "five epochs in all, mnistkit.fit",
)


def table(rows: list[dict[str, Any]], titles: dict[str, str]) -> list[str]:
    """Markdown lines; how many times faster than plain fit, in brackets by processor time.

    Args:
        rows: kept figures of any models.
        titles: by the names of the models to show, in this order, what to call them.
    """
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for model, title in titles.items():
        found = summary([row for row in rows if row["model"] == model])
        for backend in dict.fromkeys(line["backend"] for line in found):
            ways = {line["way"]: line for line in found if line["backend"] == backend}
            plain, ours = ways.get("plain fit", {}), ways.get("mnistkit.fit", {})
            cells = [
                f"{plain['steady']:.3f}" if "steady" in plain else plain.get("failed", ""),
                *(_speed(ways.get(way)) for way in ("best fit", "best fit, keras-nightly", "mnistkit.fit")),
                _speed(ways.get("hand-written")),
                _pair(ours.get("to_hand"), ours.get("processor_to_hand"), digits=2),
                _pair(ours.get("total_speed"), None),
            ]
            lines.append(f"| {title} | {backend} | {' | '.join(cells)} |")
    return lines


def about(rows: list[dict[str, Any]], results: dict[str, Any]) -> str:
    """Return the conditions of the figures in one paragraph."""
    names = dict.fromkeys(row["model"] for row in rows)
    samples = sorted({results["samples"][name] for name in names})
    rounds = 1 + max(row["round"] for row in rows)
    loads = [row["load"] for row in rows if "load" in row] or [0.0]
    sizes, epochs = " or ".join(f"{n:,}" for n in samples), results["epochs"][next(iter(names))]
    return (
        f"Times faster than plain `fit`, by processor time in brackets. {sizes} samples in batches of "
        f"{results['batch_size']}, {epochs} epochs, rounds: {rounds}, {results['cores']} cores; load "
        f"average {min(loads):.1f} to {max(loads):.1f}."
    )


def _speed(line: dict[str, Any] | None) -> str:
    if line is None:
        return ""
    return line.get("failed") or _pair(line.get("speed"), line.get("processor_speed"))


def _pair(ratio: float | None, in_brackets: float | None, *, digits: int = 1) -> str:
    first, second = ("" if number is None else f"{number:.{digits}f}" for number in (ratio, in_brackets))
    return f"{first} ({second})" if second else first
