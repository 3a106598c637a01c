"""docs/coverage.md, from the verdicts that benchmarks/coverage.py kept."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")
PARTS = ("layers", "activations", "users", "hub", "applications")
TITLES = {
    "layers": "keras.layers",
    "activations": "keras.activations",
    "users": "Models as users write them",
    "applications": "keras.applications",
    "hub": "KerasHub backbones",
}


def render(text: str, root: Path) -> str:
    """The page made anew, whatever it held."""
    del text
    return page(json.loads((root / "benchmarks" / "results" / "coverage.json").read_text(encoding="utf-8")))


def passed(verdict: str | None) -> bool:
    """Whether the answers agreed."""
    return verdict == "ok"


def accepted(verdict: str) -> bool:
    """Whether the answers agreed, or the case was refused as it should be."""
    return passed(verdict) or verdict.startswith("refused")


def out_of_scope(verdict: str) -> bool:
    """Whether this backend's Keras has no such thing."""
    return verdict.startswith("not in Keras")


def page(results: dict[str, Any]) -> str:
    """Return the page; every number in it is counted here from the JSON."""
    groups: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in results["cases"]:
        groups[row["part"]][row["subject"]][row["backend"]].append(row)
    versions: dict[str, str] = next(iter(results["versions"].values()), {})
    lines = [
        "# What the native exporter covers",
        "",
        "Written by `python tools/docs_tables.py` from `benchmarks/results/coverage.json`, which",
        "`python benchmarks/coverage.py` keeps; do not edit.",
        f"Keras {versions.get('keras', '?')}, onnxruntime {versions.get('onnxruntime', '?')}.",
        "A subject counts as covered when every configuration of it answers as Keras does (1e-4, three batch sizes,",
        "two or more lengths of each free dimension) or, where this backend's Keras differs, is refused with the",
        "reason. A subject with a configuration that has not been run yet on a backend is counted as not run there,",
        "never as covered.",
        'Stock is `model.export(format="onnx")` after a call, on the first configuration of each subject.',
        "",
        "| | " + " | ".join(f"{b} | stock" for b in BACKENDS) + " |",
        "|---|" + "---|---|" * len(BACKENDS),
    ]
    for part in PARTS:
        if part in groups:
            cells = [cell for backend in BACKENDS for cell in totals(groups[part], backend)]
            lines.append(f"| {TITLES[part]} | " + " | ".join(cells) + " |")
    for part in PARTS:
        if part in groups:
            lines += ["", f"## {TITLES[part]}", "", *table(groups[part])]
    return "\n".join(lines) + "\n"


def totals(subjects: dict[str, Any], backend: str) -> tuple[str, str]:
    """Shares of covered subjects, of those that this backend's Keras has: by the native and by the stock exporter."""
    good = run = missing = stock = asked = 0
    for by_backend in subjects.values():
        labels = {row["label"] for rows in by_backend.values() for row in rows}
        rows = by_backend.get(backend, [])
        if {row["label"] for row in rows} != labels:
            missing += 1
            continue
        rows = [row for row in rows if not out_of_scope(row["native"])]
        if not rows:
            continue
        run += 1
        good += any(passed(row["native"]) for row in rows) and all(accepted(row["native"]) for row in rows)
        asked += any("stock" in row for row in rows)
        stock += any(passed(row.get("stock")) for row in rows)

    def share(part: int, whole: int) -> str:
        return f"{part}/{whole} ({100 * part / whole:.1f} %)" if whole else "not run"

    return share(good, run) + (f", {missing} not run" if missing and run else ""), share(stock, asked)


def table(subjects: dict[str, Any]) -> list[str]:
    """Markdown lines of one part, and why what is not covered is not."""
    heads = " | ".join(f"{b} | stock" for b in BACKENDS)
    lines = [f"| | configurations | {heads} |", "|---|---|" + "---|---|" * len(BACKENDS)]
    notes: list[str] = []
    for subject, by_backend in subjects.items():
        labels = {row["label"] for rows in by_backend.values() for row in rows}
        cells = []
        for backend in BACKENDS:
            rows = by_backend.get(backend, [])
            cells.append(summary(rows))
            stock = [row["stock"] for row in rows if "stock" in row]
            cells.append("" if not stock else "yes" if all(map(passed, stock)) else "no")
            notes += [
                f"- {subject} ({row['label']}), {backend}: {row['native']}"
                for row in rows
                if not passed(row["native"]) and not out_of_scope(row["native"])
            ]
        lines.append(f"| {subject} | {len(labels)} | " + " | ".join(cells) + " |")
    if notes:
        lines += ["", "Not covered, and why:", "", *(_escape(note) for note in notes)]
    stock_notes = [
        f"- {row['subject']}, {row['backend']}: {row['stock']}"
        for by_backend in subjects.values()
        for rows in by_backend.values()
        for row in rows
        if "stock" in row and not passed(row["stock"])
    ]
    if stock_notes:
        lines += ["", "Where the stock exporter fails:", "", *(_escape(note) for note in stock_notes)]
    return lines


def _escape(note: str) -> str:
    """A note as plain words: frameworks write brackets that Markdown takes for links."""
    return note.replace("|", "\\|").replace("](", "]\\(")


def summary(rows: list[dict[str, Any]]) -> str:
    """One cell: a subject on a backend."""
    rows = [row for row in rows if not out_of_scope(row["native"])]
    if not rows:
        return ""
    good = sum(accepted(row["native"]) for row in rows)
    if all(row["native"].startswith("refused") for row in rows):
        return "refused"
    return "yes" if good == len(rows) else f"{good} of {len(rows)}"
