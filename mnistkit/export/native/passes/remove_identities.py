"""Remove the Identity before an output: the node before it makes the output itself."""

from __future__ import annotations

from mnistkit.export.native.graph import Graph


def remove_identities(graph: Graph, outputs: list[str]) -> None:
    """Let the node before an output's Identity have the output's name."""
    final = set(outputs)
    made = {name for node in graph.nodes for name in node.outputs}
    renamed: dict[str, str] = {}
    dropped = set()
    for node in graph.nodes:
        if node.op != "Identity" or node.outputs[0] not in final:
            continue
        source = node.inputs[0]
        if source in made and source not in final and source not in renamed:
            renamed[source] = node.outputs[0]
            dropped.add(id(node))
    graph.nodes = [node for node in graph.nodes if id(node) not in dropped]
    for node in graph.nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        node.outputs = [renamed.get(name, name) for name in node.outputs]
