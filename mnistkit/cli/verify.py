"""``mnistkit verify``: the golden pairs inside a file, run again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mnistkit.cli.common import add_device, add_json, device_options, print_json

if TYPE_CHECKING:
    import argparse

EXAMPLES = ("mnistkit verify exports/mnist.onnx", "mnistkit verify exports/mnist.onnx --device cuda --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("file", metavar="FILE", help="an .onnx file")
    add_device(parser)
    add_json(parser, "print as JSON")


def run(options: argparse.Namespace) -> int:
    """Verify one file and print the largest difference."""
    from mnistkit.core.comparison import verify_file

    found = verify_file(options.file, **device_options(options))
    if options.json:
        print_json(dataclasses.asdict(found))
    else:
        print(
            f"{options.file}: {found.pairs} golden pairs answered alike on {found.providers[0]}, "
            f"largest difference {found.largest:.1e} (allowed {found.allowed:.0e})"
        )
    return 0
