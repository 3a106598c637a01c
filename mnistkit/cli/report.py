"""``mnistkit report``: one HTML file on a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.cli.common import Steps, add_data, add_device, add_json, device_options, parse_labels, print_json

if TYPE_CHECKING:
    import argparse

    from mnistkit.publish.report.contents import Report

EXAMPLES = (
    "mnistkit report exports/mnist.onnx",
    "mnistkit report exports/mnist.keras -o mnist.html --png slides",
    "mnistkit report mine.onnx --data test.npz --json",
)
NOTES = """\
The page has learning curves (from NAME.train.json), the confusion matrix, the worst mistakes and the calibration on
test data, the comparison of Keras with onnxruntime (from NAME.onnx.json), latencies measured now, and the graph. A
section without data says how to get it. --data of a model that reads no digits: an .npz with x_test, as the model takes
it, and y_test, class numbers. Needs the extra report."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="an .onnx file, or a .keras file that has its .onnx beside it")
    add("-o", "--out", metavar="FILE.html", help="where the page goes (default: NAME.report.html beside the model)")
    add("--png", metavar="DIR", help="also write each figure into this folder, as NAME.FIGURE.png for slides")
    add_data(parser)
    add_device(parser)
    add("--quiet", action="store_true", help="print the result alone")
    add_json(parser, "print the numbers as JSON")


def run(options: argparse.Namespace) -> int:
    """Write the report and print what it says in short."""
    from mnistkit.publish.report.write import write_report

    with Steps(is_quiet=options.quiet) as steps:
        report, written = write_report(
            options.model,
            options.out,
            png=options.png,
            data=options.data,
            labels=parse_labels(options),
            **device_options(options),
            progress=steps.tell,
        )
    if not options.quiet:
        for reason in report.missing:
            print(f"mnistkit: {reason}", file=sys.stderr)
    if options.json:
        print_json(report.as_json())
        return 0
    for line in _summary(report):
        print(line)
    print(f"wrote {', '.join(map(str, written))} ({Path(written[0]).stat().st_size / 1000:,.0f} kB)")
    return 0


def _summary(report: Report) -> list[str]:
    from mnistkit.publish.report.words import Missing, milliseconds

    lines = []
    quality, speed = report.quality, report.speed
    if not isinstance(quality, Missing):
        calibration = quality.calibration
        error = "" if isinstance(calibration, Missing) else f", expected calibration error {calibration.error:.4f}"
        lines.append(f"accuracy {quality.accuracy:.4f} on {quality.samples:,} samples of {quality.data}{error}")
    if not isinstance(speed, Missing):
        times = (
            milliseconds(one.p50) + (f" at batch {one.batch_size}" if one.batch_size else "") for one in speed.latencies
        )
        lines.append(f"latency {', '.join(times)} (p50)")
    return lines
