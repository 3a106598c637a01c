"""The sections on training, parity, speed, graph and file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mnistkit.publish.report import html
from mnistkit.publish.report.words import Missing, counted, fixed, milliseconds, short

if TYPE_CHECKING:
    from mnistkit.publish.report.contents import Report
    from mnistkit.publish.report.drawing import Chart
    from mnistkit.publish.report.graph_picture import Picture
    from mnistkit.publish.report.history import History
    from mnistkit.publish.report.parity import Parity

Charts = Mapping[str, "Chart"]

_MOST_EPOCHS = 100  # rows of the table
_MOST_TENSORS = 30
_MOST_ENTRIES = 30  # of the metadata
_LONGEST_ENTRY = 200
_NARROWEST = 0.66  # of its natural size; a smaller drawing cannot be read, so a larger one scrolls
_WIDEST = 700  # pixels that the page has for a drawing


def training_section(history: History | Missing, charts: Charts) -> str:
    """Curves, settings and the numbers of each epoch."""
    if isinstance(history, Missing):
        return html.paragraph(history.reason, "missing")
    epochs = counted(history.epochs, "epoch")
    under = f" on {short(history.backend)}" if history.backend else ""
    tested = ", ".join(f"test {short(name)} {fixed(value)}" for name, value in history.test.items())
    parts = [html.paragraph(f"{epochs}{under}{f'; {tested}' if tested else ''}.")]
    figures = [
        html.figure(charts[f"curve-{number}"], f"{short(curve.name)} after each epoch.")
        for number, curve in enumerate(history.curves)
    ]
    parts.append(f'<div class="pair">{"".join(figures)}</div>')
    columns = [(curve.name, curve.training) for curve in history.curves]
    columns += [(f"val_{curve.name}", curve.validation) for curve in history.curves if curve.validation]
    chosen = np.unique(np.linspace(0, history.epochs - 1, min(history.epochs, _MOST_EPOCHS)).astype(int)).tolist()
    rows = [
        (epoch + 1, *(fixed(values[epoch]) if epoch < len(values) else "-" for _, values in columns))
        for epoch in chosen
    ]
    head = ("epoch", *(short(name, 30) for name, _ in columns))
    parts.append(html.details("The numbers of each epoch", html.table("Epochs", head, rows, numbers=range(len(head)))))
    if history.settings:
        settings = [(short(name), short(value, 120)) for name, value in list(history.settings.items())[:_MOST_ENTRIES]]
        parts.append(html.details("What the training was told", html.table("Settings", ("setting", "value"), settings)))
    return "\n".join(parts)


def parity_section(parity: Parity | Missing) -> str:
    """The comparison of the export, and the golden pairs."""
    if isinstance(parity, Missing):
        return html.paragraph(parity.reason, "missing")
    parts = []
    if parity.rows:
        worst = max(row.largest for row in parity.rows)
        told = f"The export compared onnxruntime's answers with Keras'; the largest difference was {worst:.1e}."
        parts.append(html.paragraph(f"{told} Written by the {short(parity.exporter, 120)}."))
        rows = [
            (
                short(row.sample, 40), row.batch_size, f"{row.rows:,}", f"{row.largest:.1e}", f"{row.allowed:.1e}",
                f"{100 * row.agreement:.2f} %",
            )
            for row in parity.rows
        ]  # fmt: skip
        head = ("sample", "batch", "rows", "largest difference", "allowed", "same label")
        parts.append(html.table("Keras against onnxruntime", head, rows, numbers=range(1, 6)))
    else:
        parts.append(html.paragraph(parity.reason, "missing"))
    if parity.golden:
        parts.append(html.paragraph(parity.golden))
    return "\n".join(parts)


def speed_section(report: Report) -> str:
    """Bytes, parameters and latencies."""
    about, speed = report.about, report.speed
    external = f", and {report.external:,} bytes of weights beside it" if report.external else ""
    parameters = counted(about.parameters, "parameter")
    told = f"{about.size:,} bytes{external}; {parameters} in {counted(about.nodes)}."
    parts = [html.paragraph(told)]
    if isinstance(speed, Missing):
        return "\n".join([*parts, html.paragraph(speed.reason, "missing")])
    rows = []
    for one in speed.latencies:
        batch = "one call" if one.batch_size is None else f"{one.batch_size:,}"
        rate = f"{1000 * (one.batch_size or 1) / one.p50:,.0f}"
        rows.append((batch, milliseconds(one.p50), milliseconds(one.p99), rate, f"{one.runs:,}"))
    head = ("batch", "p50", "p99", "samples a second", "runs")
    parts.append(html.table("Latency of one run", head, rows, numbers=range(1, 5)))
    threads = counted(speed.threads, "thread")
    where = f"onnxruntime {speed.onnxruntime}, {speed.provider}, {threads}"
    told = f"Measured while this page was made, on {speed.inputs}: {where}."
    parts.append(
        html.paragraph(f"{told} p50 is the time that half of the runs stay below, p99 that of 99 in 100.", "note")
    )
    if speed.left_out:
        parts.append(html.paragraph(f"{speed.left_out}.", "missing"))
    return "\n".join(parts)


def graph_section(picture: Picture | Missing, charts: Charts) -> str:
    """The drawing and its table."""
    if isinstance(picture, Missing):
        return html.paragraph(picture.reason, "missing")
    parts = [html.paragraph(f"{counted(picture.operations)}. {' '.join(picture.notes)}".strip())]
    if "graph" in charts:
        natural = charts["graph"].figure.get_figwidth() * 96
        scroll = None if natural <= _WIDEST else natural * _NARROWEST
        caption = (
            "Each box: the operator, what it gives (float32 unless told), its name in the file, its parameters. Boxes "
            "with parameters have a blue edge, inputs and outputs a green one."
        )
        parts.append(html.figure(charts["graph"], caption, scroll=scroll))
    else:
        parts.append(html.paragraph("The drawing is left out: with it the page would be larger than 1 MB.", "missing"))
    times = {place: block.times for block in picture.blocks for place in range(block.first, block.last + 1)}
    rows = [
        (box.title, box.name or "-", box.shape or "-", f"{box.parameters:,}", times.get(place, 1))
        for place, box in enumerate(picture.boxes)
    ]
    head = ("operator", "name", "gives", "parameters", "times")
    return "\n".join(
        [*parts, html.details("The graph as a table", html.table("Boxes of the drawing", head, rows, numbers=(3, 4)))]
    )


def model_section(report: Report) -> str:
    """What the file takes, gives and says of itself."""
    about = report.about
    opsets = ", ".join(
        str(version) if key == "ai.onnx" else f"{key} {version}" for key, version in about.opsets.items()
    )
    producer = short(about.producer) if about.producer else "an unknown program"
    told = f"Opset {short(opsets, 120)}, IR version {about.ir_version}, written by {producer}."
    parts = [html.paragraph(told)]
    for title, tensors in (("Inputs", about.inputs), ("Outputs", about.outputs)):
        rows = [
            (
                short(one.name),
                one.dtype,
                ", ".join("?" if size is None else short(str(size), 20) for size in one.shape) or "-",
            )
            for one in tensors[:_MOST_TENSORS]
        ]
        more = f" (the first {_MOST_TENSORS} of {len(tensors):,})" if len(tensors) > _MOST_TENSORS else ""
        parts.append(html.table(f"{title}{more}", ("name", "type", "shape"), rows))
    if about.metadata:
        entries = list(about.metadata.items())[:_MOST_ENTRIES]
        told_rows = [(short(key), short(value, _LONGEST_ENTRY)) for key, value in entries]
        parts.append(html.details("What the file says of itself", html.table("Metadata", ("key", "value"), told_rows)))
    return "\n".join(parts)
