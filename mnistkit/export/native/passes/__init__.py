"""Passes over the finished graph, one file each."""

from __future__ import annotations

from typing import Any

from mnistkit.export.native.graph import Graph, Node
from mnistkit.export.native.passes.fold_affine import fold_affine
from mnistkit.export.native.passes.fold_padding import fold_padding
from mnistkit.export.native.passes.fuse_gemm import fuse_gemm
from mnistkit.export.native.passes.remove_dead_code import remove_dead_code
from mnistkit.export.native.passes.remove_identities import remove_identities
from mnistkit.export.native.passes.skip_flatten import skip_flatten


def optimize(graph: Graph, outputs: list[str], *, enabled: bool) -> tuple[list[Node], dict[str, Any]]:
    """Run the passes and return the nodes and initializers that are left.

    Args:
        graph: The finished graph; it is changed.
        outputs: Names of the graph's outputs.
        enabled: Fuse and fold; without it, only what nothing depends on is removed.
    """
    remove_dead_code(graph, outputs)
    remove_identities(graph, outputs)
    if enabled:
        skip_flatten(graph)
        fuse_gemm(graph, outputs)
        fold_padding(graph, outputs)
        fold_affine(graph, outputs)
    remove_dead_code(graph, outputs)
    return graph.nodes, graph.initializers
