"""Passes over the finished graph."""

from __future__ import annotations

from typing import Any

from mnistkit.export.native.graph import Graph, Node
from mnistkit.export.native.passes.dead_code import remove_dead, remove_identities, skip_flattened_pools
from mnistkit.export.native.passes.fold import fold_into_convolutions, fold_pads
from mnistkit.export.native.passes.linear import fuse_gemm


def optimize(graph: Graph, outputs: list[str], *, enabled: bool) -> tuple[list[Node], dict[str, Any]]:
    """Run the passes and return the nodes and initializers that are left.

    Args:
        graph: The finished graph; it is changed.
        outputs: Names of the graph's outputs.
        enabled: Fuse and fold; without it, only what nothing depends on is removed.
    """
    remove_dead(graph, outputs)
    remove_identities(graph, outputs)
    if enabled:
        skip_flattened_pools(graph)
        fuse_gemm(graph, outputs)
        fold_pads(graph, outputs)
        fold_into_convolutions(graph, outputs)
    remove_dead(graph, outputs)
    return graph.nodes, graph.initializers
