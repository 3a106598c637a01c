"""Remove the Flatten and Unsqueeze between a global pooling and the image-shaped layer after it."""

from __future__ import annotations

from mnistkit.export.native.graph import Graph
from mnistkit.export.native.passes.def_use import producers


def skip_flatten(graph: Graph) -> None:
    """Let who unsqueezes a flattened global pooling read the pooling: (batch, channels, 1, 1) all along."""
    producer = producers(graph)
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
