"""Remove what does nothing."""

from __future__ import annotations

from collections import Counter

from mnistkit.export.native.graph import Graph


def remove_dead(graph: Graph, outputs: list[str]) -> None:
    """Drop nodes and initializers that no output depends on."""
    wanted = set(outputs)
    kept = []
    for node in reversed(graph.nodes):
        if any(name in wanted for name in node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    graph.nodes = kept[::-1]
    graph.initializers = {name: array for name, array in graph.initializers.items() if name in wanted}


def remove_identities(graph: Graph, outputs: list[str]) -> None:
    """Let the node before an output's Identity have the output's name."""
    final = set(outputs)
    producer = {name: node for node in graph.nodes for name in node.outputs}
    renamed: dict[str, str] = {}
    uses = Counter(name for node in graph.nodes if node.op == "Identity" for name in node.inputs)
    dropped = set()
    for node in graph.nodes:
        if node.op != "Identity" or node.outputs[0] not in final:
            continue
        source = node.inputs[0]
        if source in producer and source not in final and source not in renamed and uses[source] >= 1:
            renamed[source] = node.outputs[0]
            dropped.add(id(node))
    graph.nodes = [node for node in graph.nodes if id(node) not in dropped]
    for node in graph.nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        node.outputs = [renamed.get(name, name) for name in node.outputs]


def skip_flattened_pools(graph: Graph) -> None:
    """Let who unsqueezes a flattened global pooling read the pooling: (batch, channels, 1, 1) all along."""
    producer = {name: node for node in graph.nodes for name in node.outputs}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        if node.op != "Unsqueeze":
            continue
        flat = producer.get(node.inputs[0])
        if flat is None or flat.op != "Flatten":
            continue
        pool = producer.get(flat.inputs[0])
        axes = graph.initializers.get(node.inputs[1])
        if pool is not None and pool.op == "GlobalAveragePool" and axes is not None and axes.tolist() == [2, 3]:
            renamed[node.outputs[0]] = pool.outputs[0]
