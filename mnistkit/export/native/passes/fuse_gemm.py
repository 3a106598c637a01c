"""Fuse a matrix product and the bias after it into Gemm."""

from __future__ import annotations

from mnistkit.export.native.graph import Graph
from mnistkit.export.native.passes.def_use import use_counts

MATRIX = 2


def fuse_gemm(graph: Graph, outputs: list[str]) -> None:
    """Turn ``MatMul`` by a constant matrix followed by ``Add`` of a constant vector into ``Gemm``, for rank 2."""
    uses = use_counts(graph, outputs)
    ranks = {v.name: len(v.shape) for v in graph.tensors.values() if v.name is not None and v.shape is not None}
    products = {node.outputs[0]: node for node in graph.nodes if node.op == "MatMul"}
    dropped: set[int] = set()
    for node in graph.nodes:
        if node.op != "Add":
            continue
        for product_name, bias_name in (node.inputs, node.inputs[::-1]):
            product, bias = products.get(product_name), graph.initializers.get(bias_name)
            if product is None or bias is None or uses[product_name] != 1:
                continue
            matrix = graph.initializers.get(product.inputs[1])
            if matrix is None or matrix.ndim != MATRIX or ranks.get(product_name) != MATRIX:
                continue
            if (
                bias.ndim > MATRIX
                or bias.size not in (1, matrix.shape[1])
                or str(matrix.dtype) not in {"float32", "float64"}
            ):
                continue
            node.op, node.attrs = "Gemm", {}
            node.inputs = [product.inputs[0], product.inputs[1], bias_name]
            dropped.add(id(product))
            break
    graph.nodes = [node for node in graph.nodes if id(node) not in dropped]
