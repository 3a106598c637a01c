"""``mnistkit info``: what an .onnx file takes, returns and says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistkit.cli.common import add_device, add_json, device_options, print_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from mnistkit.core.tensors import TensorInfo

EXAMPLES = ("mnistkit info exports/mnist.onnx", "mnistkit info exports/mnist.onnx --json")
_WIDTH = 28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("file", metavar="FILE", help="an .onnx file")
    add_device(parser)
    add_json(parser, "print as JSON")


def run(options: argparse.Namespace) -> int:
    """Print what is known of one file."""
    from mnistkit.core.about import read_about
    from mnistkit.core.runtime import Runtime

    runtime = Runtime(options.file, **device_options(options))
    about = read_about(options.file, runtime).as_json()
    if options.json:
        print_json(about)
        return 0
    opsets = ", ".join(
        str(version) if key == "ai.onnx" else f"{key} {version}" for key, version in about["opsets"].items()
    )
    _line("file", f"{about['file']} ({about['bytes']:,} bytes)")
    _line("opset", f"{opsets}, IR version {about['ir_version']}")
    _line("written by", about["producer"] or "unknown")
    _line("parameters", f"{about['parameters']:,} in {about['nodes']} operations")
    if set(about["weights"]) - {"float32"}:
        _line("weights", ", ".join(f"{count:,} {kind}" for kind, count in about["weights"].items()))
    _line("golden pairs", about["golden pairs"])
    _line("runs on", ", ".join(about["providers"]))
    _table("inputs", runtime.inputs)
    _table("outputs", runtime.outputs)
    if about["metadata"]:
        print("\nmetadata")
    for key, text in about["metadata"].items():
        _line(f"  {key}", text)
    return 0


def _line(key: str, value: object) -> None:
    print(f"{key:<{_WIDTH}}{value}")


def _table(title: str, tensors: Sequence[TensorInfo]) -> None:
    print(f"\n{title:<{_WIDTH}}{'type':<10}shape")
    for tensor in tensors:
        sizes = ", ".join("?" if size is None else str(size) for size in tensor.shape)
        _line(f"  {tensor.name}", f"{tensor.dtype:<10}[{sizes}]")
