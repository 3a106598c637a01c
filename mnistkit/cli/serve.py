"""``mnistkit serve``: models over HTTP and gRPC."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    "mnistkit serve --model exports/mnist.onnx",
    "mnistkit serve --model digits=a.onnx --model clothes=b.onnx --host 0.0.0.0 --port 8080",
    "mnistkit serve --workers 4 --watch --access-log access.jsonl",
    "mnistkit serve --ray --replicas 2 --model exports/mnist.onnx",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    from mnistkit.serve.scale import add_scale_flags
    from mnistkit.serve.settings import add_flags

    add_flags(parser)
    parser.add_argument("--ray", action="store_true", help="serve with Ray Serve (needs the extra ray)")
    parser.add_argument(
        "--ray-address", metavar="HOST:PORT",
        help="with --ray: the head of the cluster (default: the variable RAY_ADDRESS, else a Ray of its own, here)",
    )  # fmt: skip
    add_scale_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to stop."""
    from mnistkit.serve.scale import refuse_scale, scale_from
    from mnistkit.serve.settings import from_flags

    if options.ray:
        from mnistkit.serve.ray import run as serve_with_ray

        scale = dataclasses.asdict(scale_from(options))
        return serve_with_ray(from_flags(options), address=options.ray_address, **scale)
    from mnistkit.serve import run as serve

    if options.ray_address is not None:
        raise InputError("--ray-address goes with --ray")
    refuse_scale(options)
    return serve(from_flags(options))
