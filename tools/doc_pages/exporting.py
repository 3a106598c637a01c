"""docs/exporting.md: random models and the speed of exported files, from what the benchmarks kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doc_pages.markers import fill

if TYPE_CHECKING:
    from pathlib import Path


def render(text: str, root: Path) -> str:
    """The page with its tables made anew."""
    fuzz = root / "benchmarks" / "results" / "export_fuzz.json"
    if fuzz.exists():
        text = fill(text, "random", random_models(json.loads(fuzz.read_text(encoding="utf-8"))))
    results = root / "benchmarks" / "results"
    rows = json.loads((results / "export_speed.json").read_text(encoding="utf-8"))
    waits = json.loads((results / "export_time.json").read_text(encoding="utf-8"))
    return fill(fill(text, "speed", table(rows)), "time", times(waits))


def random_models(results: dict[str, Any]) -> str:
    """Markdown lines, one for each backend."""
    heads = ("backend", "Keras", *next(iter(results.values()))["counts"])
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---|" * (len(heads) - 1)]
    lines += [
        f"| {backend} | {own['versions']['keras']} | {' | '.join(map(str, own['counts'].values()))} |"
        for backend, own in results.items()
    ]
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown lines, one for each model."""
    heads = (
        "model",
        "mnistkit, ms",
        "tf2onnx, ms",
        "torch, ms",
        "the best of these optimized, ms",
        "fastest other = 1",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        times = row["milliseconds"]
        ran = {key: f"{value:.2f}" for key, value in times.items()}
        cells = [ran.get(key) or "no file that runs" for key in ("native", "tensorflow", "torch")]
        optimized = {key: value for key, value in times.items() if ", " in key and not key.startswith("native")}
        best = min(optimized, key=lambda key: optimized[key], default=None)
        cells.append("" if best is None else f"{optimized[best]:.2f} ({best.replace('tensorflow', 'tf2onnx')})")
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"| {row['model']} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines) + "\n"


def times(rows: list[dict[str, Any]]) -> str:
    """Markdown lines, one for each model."""
    backends = ("torch", "jax", "tensorflow")
    lines = [f"| model | weights | {' | '.join(backends)} |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [f"{row['seconds'][backend]:.2f} s" if backend in row["seconds"] else "" for backend in backends]
        lines.append(f"| {row['model']} | {row['weights']:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
