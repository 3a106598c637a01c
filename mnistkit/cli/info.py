"""``mnistkit info``: what an .onnx file takes, returns and says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistkit.cli.common import add_device, add_json, print_json

if TYPE_CHECKING:
    import argparse

EXAMPLES = ("mnistkit info exports/mnist.onnx", "mnistkit info exports/mnist.onnx --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("file", metavar="FILE", help="an .onnx file")
    add_device(parser)
    add_json(parser, "print as JSON")


def run(options: argparse.Namespace) -> int:
    """Print what is known of one file."""
    from mnistkit.core.runtime import Runtime

    runtime = Runtime(options.file, device=options.device)
    about = {
        "file": options.file,
        "inputs": [str(tensor) for tensor in runtime.inputs],
        "outputs": [str(tensor) for tensor in runtime.outputs],
        "providers": list(runtime.providers),
        "metadata": {key: value for key, value in sorted(runtime.metadata.items()) if key != "golden"},
        "golden pairs": _count_golden(runtime.metadata),
    }
    if options.json:
        print_json(about)
        return 0
    for key, value in about.items():
        if isinstance(value, dict):
            for inner, text in value.items():
                print(f"{inner:<26}{text}")
        else:
            print(f"{key:<26}{'; '.join(value) if isinstance(value, list) else value}")
    return 0


def _count_golden(metadata: dict[str, str]) -> int | str:
    """How many golden pairs a file carries; a damaged list is a fact about the file and no reason to say nothing."""
    from mnistkit.core.errors import ModelFileError
    from mnistkit.core.golden import decode_golden

    try:
        return len(decode_golden(metadata)) if "golden" in metadata else 0
    except ModelFileError:
        return "damaged"
