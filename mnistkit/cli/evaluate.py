"""``mnistkit evaluate``: accuracy, loss and confusion matrix of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.cli.common import (
    add_backend,
    add_data,
    add_device,
    add_json,
    device_options,
    load_data,
    print_json,
    start_keras,
)

if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    "mnistkit evaluate exports/mnist.onnx",
    "mnistkit evaluate exports/mnist.keras --backend torch",
    "mnistkit evaluate mine.onnx --data fashion/ --labels clothes.txt --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("file", metavar="FILE", help="a .keras or .onnx file")
    add_data(parser)
    add_device(parser)
    add_backend(parser, "Keras backend for a .keras file (default: as for train)")
    parser.add_argument("--quiet", action="store_true", help="print the result alone")
    add_json(parser, "print as JSON")


def run(options: argparse.Namespace) -> int:
    """Test the file and print the figures."""
    from mnistkit.digits.evaluate import evaluate

    data = load_data(options) if options.data or options.labels else None
    if Path(options.file).suffix == ".keras":
        start_keras(options)
    found = evaluate(options.file, data=data, **device_options(options), backend=options.backend)
    if options.json:
        print_json(found.as_json())
    else:
        print(found)
    return 0
