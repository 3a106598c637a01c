"""Render docs/training.md and docs/training.svg from the figures that benchmarks/train.py kept."""

from __future__ import annotations

import statistics
from pathlib import Path
from xml.sax.saxutils import escape

from tables import fill

ROOT = Path(__file__).parent.parent
PAGE, PLOT = ROOT / "docs" / "training.md", ROOT / "docs" / "training.svg"
COLOURS = {"mnistkit.fit": "#2a78b8"}  # the others are grey
GREY = "#b4b4b4"
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


def render(results: dict) -> None:
    """Fill the page's tables and draw the plot."""
    text = PAGE.read_text(encoding="utf-8")
    for model in ("mlp", "cnn"):
        rows = [row for row in results["rows"] if row["model"] == model]
        made = "\n".join([*table(rows), "", about(rows, results, model)]) + "\n" if rows else ""
        text = fill(text, model, made)
    PAGE.write_text(text, encoding="utf-8")
    bars = [line for line in summary([row for row in results["rows"] if row["model"] == "mlp"]) if "steady" in line]
    if bars:
        PLOT.write_text(plot(bars), encoding="utf-8")


def table(rows: list[dict]) -> list[str]:
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


def about(rows: list[dict], results: dict, model: str) -> str:
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


def summary(rows: list[dict]) -> list[dict]:
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


def _ratio(above: list[dict], below: list[dict], name: str) -> float | None:
    pairs = [(a[name], b[name]) for a, b in zip(above, below, strict=True) if name in a and name in b]
    return statistics.median(a / b for a, b in pairs) if pairs else None


def _cell(ratio: float | None, in_brackets: float | None = None, *, digits: int = 2) -> str:
    first, second = ("" if number is None else f"{number:.{digits}f}" for number in (ratio, in_brackets))
    return f"{first} ({second})" if second else first


def plot(lines: list[dict]) -> str:
    """One bar a contender: seconds of an epoch in the steady state."""
    left, width, bar, gap = 210, 420, 16, 6
    longest = max(line["steady"] for line in lines)
    height = len(lines) * (bar + gap) + 30
    size = f'viewBox="0 0 {left + width + 70} {height}" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<rect width="{left + width + 70}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="14">seconds an epoch after the first, shorter is better</text>',
    ]
    for i, line in enumerate(lines):
        y = 24 + i * (bar + gap)
        name = line["way"] if line["backend"] == "none" else f"{line['backend']}: {line['way']}"
        length = max(1.0, width * line["steady"] / longest)
        parts += [
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{COLOURS.get(line["way"], GREY)}"/>',
            f'<text x="{left + length + 5:.1f}" y="{y + 12}">{line["steady"]:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
