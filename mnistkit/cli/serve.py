"""``mnistkit serve``: models over HTTP and gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    "mnistkit serve --model exports/mnist.onnx",
    "mnistkit serve --model digits=a.onnx --model clothes=b.onnx --host 0.0.0.0 --port 8080",
    "mnistkit serve --workers 4 --watch --access-log access.jsonl",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    from mnistkit.serve.settings import add_flags

    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to stop."""
    from mnistkit.serve import run as serve
    from mnistkit.serve.settings import from_flags

    return serve(from_flags(options))
