"""Remove nodes and initializers that no output depends on."""

from __future__ import annotations

from mnistkit.export.native.graph import Graph


def remove_dead_code(graph: Graph, outputs: list[str]) -> None:
    """Drop nodes and initializers that no output depends on."""
    wanted = set(outputs)
    kept = []
    for node in reversed(graph.nodes):
        if any(name in wanted for name in node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    graph.nodes = kept[::-1]
    graph.initializers = {name: array for name, array in graph.initializers.items() if name in wanted}
