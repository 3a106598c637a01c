"""Write a report: the page, and its figures as PNG files where they are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError
from mnistkit.core.files import check_writable, replacing
from mnistkit.publish.report.collect import collect, find_onnx
from mnistkit.publish.report.drawing import PAGE, SLIDES, as_png, check_matplotlib
from mnistkit.publish.report.figures import draw_all
from mnistkit.publish.report.page import make_page

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from mnistkit.publish.report.contents import Report

ENDING = ".report.html"


def write_report(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    png: str | os.PathLike[str] | None = None,
    data: str | None = None,
    labels: Sequence[str] | None = None,
    device: str = "auto",
    provider_options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Report, tuple[Path, ...]]:
    """Write the report on a model, each file completely or not at all.

    Args:
        model: An ``.onnx`` file, or a ``.keras`` file that has its ``.onnx`` beside it.
        out: Where the page goes; ``NAME.report.html`` beside the model by default.
        png: A folder for the figures as ``NAME.FIGURE.png``; other files in it stay as they are.
        data: Test data; see `testing.run_on_test_data`.
        labels: Names of the classes, instead of those in the file.
        device: Where onnxruntime runs; see `mnistkit.Classifier`.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.
        progress: Is told, every now and then, what is being done.

    Returns:
        The numbers, and the files that were written, the page first.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: ``out`` is no name of a page.
        OutputError: A file cannot be written.
        ModelFileError: The model cannot be read.
        DataError: ``data`` cannot be read or does not fit the model.
        DeviceError: The device cannot be had.
    """
    check_matplotlib()
    source = find_onnx(model)
    page = source.with_name(f"{source.stem}{ENDING}") if out is None else Path(out)
    if page.suffix.lower() not in {".html", ".htm"}:
        raise InputError(f"{page}: a report is a page; give a name that ends in .html")
    check_writable(page)
    if png is not None:
        check_writable(Path(png) / f"{source.stem}.graph.png")
    report = collect(
        source, data=data, labels=labels, device=device, provider_options=provider_options, progress=progress
    )
    if progress is not None:
        progress("drawing")
    written = [page]
    text = make_page(report, list(draw_all(report, PAGE)))
    with replacing(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if png is not None:
        for chart in draw_all(report, SLIDES):
            target = Path(png) / f"{source.stem}.{chart.name}.png"
            with replacing(target) as temporary:
                temporary.write_bytes(as_png(chart))
            written.append(target)
    return report, tuple(written)
