"""``mnistkit predict``: read digits from picture files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mnistkit.cli.common import add_device, add_json, print_json

if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    "mnistkit predict examples/digit.png",
    "mnistkit predict --number --show postcode.jpg",
    "mnistkit predict --model exports/mnist.onnx --json *.png",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PICTURE", help="picture files")
    add("--model", metavar="FILE", help="an .onnx file (default: exports/mnist.onnx if it is there, else the packaged)")
    add_device(parser)
    add("--min-confidence", type=float, default=0.0, metavar="X", help="a reading less sure (0 to 1) is an error")
    add("--number", action="store_true", help="read all digits of each picture, in a row or rows")
    add("--show", action="store_true", help="write NAME.shown.png beside each picture and print what was seen")
    add_json(parser, "print the readings as JSON")


def run(options: argparse.Namespace) -> int:
    """Read each picture; one that cannot be read does not stop the others, but makes the exit code 1."""
    from mnistkit.digits.classifier import Classifier, default_model
    from mnistkit.digits.readings import read_files, read_numbers

    classifier = Classifier(options.model or default_model(), device=options.device)
    read = read_numbers if options.number else read_files
    failed = False
    rows = []
    for reading in read(classifier, options.pictures, min_confidence=options.min_confidence):
        failed |= reading.error is not None
        if options.show and reading.error is None:
            from mnistkit.digits.show import show

            print(show(reading), file=sys.stderr)
        if options.json:
            rows.append(reading.as_json())
        elif reading.error is not None:
            print(f"mnistkit: {reading.error}", file=sys.stderr)
        else:
            print(reading.as_text())
    if options.json:
        print_json(rows)
    return int(failed)
