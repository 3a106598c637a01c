"""The report as one HTML file: no script, no network, light and dark, wide and narrow."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from mnistkit.publish.report import html
from mnistkit.publish.report.quality_section import quality_section, share
from mnistkit.publish.report.sections import (
    graph_section,
    model_section,
    parity_section,
    speed_section,
    training_section,
)
from mnistkit.publish.report.words import Missing, milliseconds, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mnistkit.publish.report.contents import Report
    from mnistkit.publish.report.drawing import Chart

LARGEST = 1_000_000
"""Bytes of a page; beyond, the drawing of the graph is left out."""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def make_page(report: Report, charts: Sequence[Chart]) -> str:
    """The whole page.

    Args:
        report: The numbers.
        charts: What `figures.draw_all` drew of them with the palette of pages.
    """
    drawn = {chart.name: chart for chart in charts}
    page = _page(report, drawn)
    if len(page.encode()) > LARGEST:
        page = _page(report, {name: chart for name, chart in drawn.items() if name != "graph"})
    return page


def _page(report: Report, charts: dict[str, Chart]) -> str:
    sections = (
        ("training", "Training", training_section(report.history, charts)),
        ("test", "Test data", quality_section(report.quality, charts)),
        ("parity", "Keras and onnxruntime", parity_section(report.parity)),
        ("speed", "Size and speed", speed_section(report)),
        ("graph", "Graph", graph_section(report.graph, charts)),
        ("file", "The file", model_section(report)),
    )
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    parts = "\n".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>\n{content}\n</section>'
        for name, title, content in sections
    )
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    title = escape(report.name)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="mnistkit report">
<title>{title}: report</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p class="lead">A report on one model, made by mnistkit.</p>
{html.facts(_facts(report))}
<nav aria-label="Sections">{links}</nav>
</header>
{parts}
<footer>Made by <code>mnistkit report {escape(short(report.name))}</code>. It needs no network.</footer>
</main>
</body>
</html>
"""


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    quality = report.quality
    if not isinstance(quality, Missing):
        yield "accuracy", share(quality.accuracy)
        yield f"mistakes in {quality.samples:,} samples", f"{quality.wrong:,}"
        if not isinstance(quality.calibration, Missing):
            yield "expected calibration error", f"{quality.calibration.error:.4f}"
    yield "parameters", f"{report.about.parameters:,}"
    yield "file size", size_told(report.about.size + report.external)
    if not isinstance(report.speed, Missing):
        first = report.speed.latencies[0]
        what = "one call" if first.batch_size is None else f"batch {first.batch_size}"
        yield f"latency, {what} (p50)", milliseconds(first.p50)


def size_told(size: int) -> str:
    """Bytes for people."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"
