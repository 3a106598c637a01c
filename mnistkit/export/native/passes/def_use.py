"""Who reads and who makes each tensor of a graph."""

from __future__ import annotations

from mnistkit.export.native.graph import Graph, Node


def use_counts(graph: Graph, outputs: list[str]) -> dict[str, int]:
    """Count the readers of every tensor; being an output of the graph counts too."""
    counts: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            counts[name] = counts.get(name, 0) + 1
    for name in outputs:
        counts[name] = counts.get(name, 0) + 1
    return counts


def producers(graph: Graph) -> dict[str, Node]:
    """Map every tensor to the node that makes it."""
    return {name: node for node in graph.nodes for name in node.outputs}
