"""The section on test data: accuracy, confusion, mistakes, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mnistkit.publish.report import html
from mnistkit.publish.report.words import Missing, short

if TYPE_CHECKING:
    from mnistkit.publish.report.calibration import Calibration
    from mnistkit.publish.report.confusion import Confusion
    from mnistkit.publish.report.drawing import Chart
    from mnistkit.publish.report.scores import Quality

Charts = Mapping[str, "Chart"]


def share(value: float) -> str:
    """A share for people: two decimals of a percent."""
    return f"{100 * value:.2f} %"


def quality_section(quality: Quality | Missing, charts: Charts) -> str:
    """What the test data showed."""
    if isinstance(quality, Missing):
        return html.paragraph(quality.reason, "missing")
    loss = "" if quality.loss is None else f" The mean cross-entropy is {quality.loss:.4f}."
    told = f"{quality.samples:,} samples of {short(quality.data)}: {share(quality.accuracy)} are read right.{loss}"
    parts = [html.paragraph(told)]
    if quality.left_out:
        parts.append(
            html.paragraph(
                f"{quality.left_out:,} more are answered with NaN or infinity and are not counted.", "missing"
            )
        )
    parts += ["<h3>Confusion matrix</h3>", *_confusion(quality.confusion, charts)]
    parts += ["<h3>The worst mistakes</h3>", *_mistakes(quality)]
    parts += ["<h3>Calibration</h3>", *_calibration(quality.calibration, charts)]
    return "\n".join(parts)


def _confusion(confusion: Confusion, charts: Charts) -> list[str]:
    parts = []
    labels = [short(label, 30) for label in confusion.labels]
    if len(labels) < confusion.classes:
        told = f"The model has {confusion.classes:,} classes. The {len(labels)} that are confused most are shown."
        parts.append(html.paragraph(told))
    caption = (
        "Rows are the true classes, columns what they were read as. Right answers are blue, stronger for a larger "
        "share of the class; mistakes are orange, stronger for a larger number."
    )
    parts.append(html.figure(charts["confusion"], caption))
    if confusion.pairs:
        rows = [(short(pair.true, 30), short(pair.read, 30), f"{pair.count:,}") for pair in confusion.pairs[:10]]
        parts.append(html.table("Most frequent mistakes", ("true class", "read as", "samples"), rows, numbers=(2,)))
    matrix = [
        (label, "-" if right is None else share(right), *(f"{value:,}" for value in row))
        for label, right, row in zip(labels, confusion.class_accuracy, confusion.matrix.tolist(), strict=True)
    ]
    table = html.table(
        "Samples of each true class (row) by what they were read as (column)",
        ("true class", "accuracy", *labels), matrix, numbers=range(1, len(labels) + 2),
    )  # fmt: skip
    return [*parts, html.details("The matrix as a table, with the accuracy of each class", table)]


def _mistakes(quality: Quality) -> list[str]:
    if not quality.mistakes:
        return [html.paragraph("There are none: all samples are read right.")]
    honest = not isinstance(quality.calibration, Missing)

    def told(score: float) -> str:
        return f"{100 * score:.1f} % sure" if honest else f"score {score:.4g}"

    count = len(quality.mistakes)
    of = f"All {count}" if count == quality.wrong else f"The {count} of {quality.wrong:,}"
    intro = html.paragraph(f"{of} wrong answers that the model is surest of, the surest first.")
    if all(one.pixels is not None for one in quality.mistakes):
        items = "".join(html.mistake(one, told(one.score)) for one in quality.mistakes)
        return [intro, f'<ul class="mistakes">{items}</ul>']
    rows = [(one.index, short(one.true, 30), short(one.read, 30), told(one.score)) for one in quality.mistakes]
    head = ("sample", "true class", "read as", "confidence" if honest else "score")
    return [intro, html.table("The worst mistakes", head, rows, numbers=(3,))]


def _calibration(calibration: Calibration | Missing, charts: Charts) -> list[str]:
    if isinstance(calibration, Missing):
        return [html.paragraph(calibration.reason, "missing")]
    side = "more" if calibration.confidence > calibration.accuracy else "less"
    gap = f"The expected calibration error is {calibration.error:.4f}, the mean gap between confidence and accuracy."
    sure, right = share(calibration.confidence), share(calibration.accuracy)
    told = f"{gap} The model is {side} sure (mean confidence {sure}) than it is right ({right})."
    caption = (
        "Each bar is the accuracy of the samples in one bin of confidence; the dot stands at their mean confidence. "
        "Where confidence is honest, dots lie on the dashed line. Below: how many samples each bin has, on a "
        "logarithmic scale."
    )
    rows = [
        (f"{one.low:.3f} to {one.high:.3f}", f"{one.count:,}", f"{one.confidence:.4f}", f"{one.accuracy:.4f}")
        for one in calibration.bins
        if one.count
    ]
    table = html.table("Bins of confidence", ("bin", "samples", "mean confidence", "accuracy"), rows, numbers=(1, 2, 3))
    return [
        html.paragraph(told),
        html.figure(charts["calibration"], caption),
        html.details("The bins as a table", table),
    ]
