"""All figures of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistkit.publish.report.charts import draw_calibration, draw_confusion, draw_curve, draw_mistakes
from mnistkit.publish.report.drawing import PAGE
from mnistkit.publish.report.graph_chart import draw_graph
from mnistkit.publish.report.words import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.publish.report.contents import Report
    from mnistkit.publish.report.drawing import Chart, Palette


def draw_all(report: Report, palette: Palette) -> Iterator[Chart]:
    """Draw what there is data for; the names are those of the PNG files.

    Args:
        report: The numbers.
        palette: `drawing.PAGE` or `drawing.SLIDES`. A page has the mistakes as pictures of its own.
    """
    if not isinstance(report.history, Missing):
        for number, curve in enumerate(report.history.curves):
            yield draw_curve(curve, palette, name=f"curve-{number}")
    quality = report.quality
    if not isinstance(quality, Missing):
        yield draw_confusion(quality.confusion, palette)
        if not isinstance(quality.calibration, Missing):
            yield draw_calibration(quality.calibration, palette)
        if palette is not PAGE and any(one.pixels is not None for one in quality.mistakes):
            yield draw_mistakes(quality.mistakes, palette)
    if not isinstance(report.graph, Missing):
        yield draw_graph(report.graph, palette)
