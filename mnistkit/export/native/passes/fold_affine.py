"""Fold what follows a convolution or Gemm with constant weights, channel by channel, into the weights.

``Add`` of a constant for each channel becomes the bias; ``Mul`` and ``BatchNormalization`` scale the weights. All is
computed in double precision and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnistkit.export.native.graph import Graph, Node
from mnistkit.export.native.passes.def_use import use_counts

Array = np.ndarray[Any, Any]


def fold_affine(graph: Graph, outputs: list[str]) -> None:
    """Run all foldings until the end of each chain."""
    uses = use_counts(graph, outputs)
    pending: dict[str, _Affine] = {}
    dropped: set[int] = set()
    alias: dict[str, str] = {}
    for node in graph.nodes:
        node.inputs = [alias.get(name, name) for name in node.inputs]
        if node.op in {"Conv", "ConvTranspose", "Gemm"} and node.inputs[1] in graph.initializers:
            bias = graph.initializers.get(node.inputs[2]) if len(node.inputs) > 2 else None  # noqa: PLR2004  bias is third
            if len(node.inputs) > 2 and bias is None:  # noqa: PLR2004  as above
                continue
            pending[node.outputs[0]] = _Affine(node, graph.initializers[node.inputs[1]], bias)
            continue
        step = _channelwise(graph, node, pending, uses)
        if step is None:
            continue
        source, factor, shift = step
        pending[source].apply(factor, shift)
        dropped.add(id(node))
        alias[node.outputs[0]] = source
        uses[source] = uses[node.outputs[0]]
    final = set(outputs)
    graph.nodes = [node for node in graph.nodes if id(node) not in dropped]
    for affine in pending.values():
        affine.write(graph)
    back = {source: name for name, source in alias.items() if name in final}
    for node in graph.nodes:
        node.outputs = [back.get(name, name) for name in node.outputs]
        node.inputs = [back.get(name, name) for name in node.inputs]


class _Affine:
    """A convolution or Gemm and the channelwise ``y * factor + shift`` collected for it."""

    def __init__(self, node: Node, weights: Array, bias: Array | None) -> None:
        self.node = node
        self.weights = weights
        self.bias = bias
        self.factor: Array | None = None
        self.shift: Array | None = None

    @property
    def channels(self) -> int:
        if self.node.op == "Conv":
            return int(self.weights.shape[0])
        if self.node.op == "Gemm":
            return int(self.weights.shape[1])
        return int(self.weights.shape[1]) * int(self.node.attrs.get("group", 1))

    def apply(self, factor: Array | None, shift: Array | None) -> None:
        """Put one more ``* factor + shift`` behind."""
        if factor is not None:
            self.factor = factor if self.factor is None else self.factor * factor
            self.shift = None if self.shift is None else self.shift * factor
        if shift is not None:
            self.shift = shift if self.shift is None else self.shift + shift

    def write(self, graph: Graph) -> None:
        """Replace the node's weights and bias."""
        if self.factor is None and self.shift is None:
            return
        layer = self.node.name.rsplit("/", 1)[0] if "/" in self.node.name else ""
        bias = np.zeros(self.channels) if self.bias is None else self.bias.astype(np.float64).reshape(-1)
        if self.factor is not None:
            shape = [1] * self.weights.ndim
            shape[0 if self.node.op == "Conv" else 1] = -1
            factor = self.factor
            weights = self.weights.astype(np.float64)
            if self.node.op == "ConvTranspose" and int(self.node.attrs.get("group", 1)) != 1:
                raise AssertionError("grouped transposed convolutions are not folded")
            name = graph.unique(f"{layer}/kernel_folded" if layer else "kernel_folded")
            graph.initializers[name] = (weights * factor.reshape(shape)).astype(self.weights.dtype)
            self.node.inputs[1] = name
            bias = bias * factor
        if self.shift is not None:
            bias = bias + self.shift
        name = graph.unique(f"{layer}/bias" if layer else "bias")
        graph.initializers[name] = bias.astype(self.weights.dtype)
        self.node.inputs[2:] = [name]


def _channelwise(
    graph: Graph, node: Node, pending: dict[str, _Affine], uses: dict[str, int]
) -> tuple[str, Array | None, Array | None] | None:
    """Recognise a channelwise step behind a pending convolution: (its output, factor, shift)."""
    if node.op == "BatchNormalization":
        affine = _pending(node.inputs[0], pending, uses)
        parameters = [graph.initializers.get(name) for name in node.inputs[1:]]
        if affine is None or any(p is None for p in parameters):
            return None
        gamma, beta, mean, variance = (p.astype(np.float64) for p in parameters if p is not None)
        factor = gamma / np.sqrt(variance + np.float64(np.float32(node.attrs["epsilon"])))
        return node.inputs[0], factor, beta - mean * factor
    if node.op not in {"Add", "Mul", "Sub"}:
        return None
    for source, other in (node.inputs, node.inputs[::-1]):
        affine, array = _pending(source, pending, uses), graph.initializers.get(other)
        if affine is None or array is None or str(array.dtype) not in {"float32", "float64"}:
            continue
        if node.op == "Sub" and source != node.inputs[0]:
            continue
        values = _per_channel(array, affine)
        if values is None:
            continue
        if node.op == "Mul":
            return source, values, None
        return source, None, values if node.op == "Add" else -values
    return None


def _pending(name: str, pending: dict[str, _Affine], uses: dict[str, int]) -> _Affine | None:
    affine = pending.get(name)
    if (
        affine is None
        or uses.get(name) != 1
        or (int(affine.node.attrs.get("group", 1)) != 1 and affine.node.op == "ConvTranspose")
    ):
        return None
    return affine


def _per_channel(array: Array, affine: _Affine) -> Array | None:
    """Return a constant as one number for each channel, when that is what it is."""
    rank = affine.weights.ndim
    channels = affine.channels
    if array.size == 1:
        return np.full(channels, array.reshape(-1)[0], np.float64)
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if shape[1] != channels or any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    return array.reshape(-1).astype(np.float64)
