"""Fold a ``Pad`` with zeros into the convolution or pooling that reads it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnistkit.export.native.graph import Graph, Node
from mnistkit.export.native.passes.def_use import producers, use_counts

Array = np.ndarray[Any, Any]


def fold_padding(graph: Graph, outputs: list[str]) -> None:
    """Move zero padding into the convolution that reads it, or into a maximum of numbers that are never negative."""
    uses = use_counts(graph, outputs)
    sources = producers(graph)
    dropped: set[int] = set()
    for node in graph.nodes:
        if node.op not in {"Conv", "MaxPool"} or "auto_pad" in node.attrs:
            continue
        reader, pad = node, sources.get(node.inputs[0])
        perm = None
        if pad is not None and pad.op == "Transpose" and uses[pad.outputs[0]] == 1:
            reader, perm = pad, pad.attrs["perm"]
            pad = sources.get(pad.inputs[0])
        if pad is None or pad.op != "Pad" or uses[pad.outputs[0]] != 1:
            continue
        if node.op == "MaxPool" and not _never_negative(sources.get(pad.inputs[0])):
            continue
        widths = _zero_padding(graph, pad)
        if widths is None:
            continue
        rank = len(widths) // 2
        order = perm if perm is not None else list(range(rank))
        before, after = [int(widths[axis]) for axis in order], [int(widths[rank + axis]) for axis in order]
        if any(before[:2] + after[:2]):
            continue
        own = node.attrs.get("pads", [0] * (2 * (rank - 2)))
        pads = [a + b for a, b in zip(before[2:] + after[2:], own, strict=True)]
        if node.op == "MaxPool" and any(p >= k for p, k in zip(pads, node.attrs["kernel_shape"] * 2, strict=True)):
            continue
        node.attrs["pads"] = pads
        reader.inputs[0] = pad.inputs[0]
        dropped.add(id(pad))
    graph.nodes = [node for node in graph.nodes if id(node) not in dropped]


def _zero_padding(graph: Graph, pad: Node) -> Array | None:
    """Return the widths of a Pad with constant non-negative widths and zeros."""
    if pad.attrs.get("mode", "constant") != "constant":
        return None
    widths = graph.initializers.get(pad.inputs[1])
    if widths is None or np.any(widths < 0):
        return None
    if len(pad.inputs) > 2 and pad.inputs[2]:  # noqa: PLR2004  the third input is the number to pad with
        number = graph.initializers.get(pad.inputs[2])
        if number is None or np.any(number != 0):
            return None
    return widths


def _never_negative(node: Node | None) -> bool:
    """Say whether a node's output is at least 0 whatever its input."""
    return node is not None and node.op in {"Relu", "Sigmoid", "Softmax", "HardSigmoid"}
