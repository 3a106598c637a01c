"""Changes of type of which the backends have answers of their own."""

from __future__ import annotations

import numpy as np

from mnistkit.export.native.backend_behavior import casts_saturate
from mnistkit.export.native.graph import Graph, Value

_EXACT_IN_SINGLE = 16  # bits of whole numbers


def cast_as_backend(graph: Graph, value: Value, dtype: str) -> Value:
    """Change the type; floats beyond a type of whole numbers become what the backend makes of them."""
    whole = "float" in value.dtype and dtype.startswith(("int", "uint"))
    if whole and not _is_within(graph, value, dtype) and casts_saturate(value.dtype, dtype):
        value = _saturated(graph, value, dtype)
    return graph.cast(value, dtype)


def _saturated(graph: Graph, value: Value, dtype: str) -> Value:
    """Limit to the range of a type of whole numbers, as XLA does; onnxruntime's Cast wraps around."""
    limits = np.iinfo(dtype)
    exact = limits.bits <= _EXACT_IN_SINGLE
    value = graph.cast(value, "float64" if not exact or value.dtype == "float64" else "float32")
    high = float(limits.max)
    high = high if int(high) <= limits.max else float(np.nextafter(high, 0))  # 64 bits end between two doubles
    inside = graph.pointwise("Max", value, graph.const(float(limits.min), value.dtype))
    inside = graph.pointwise("Min", inside, graph.const(high, value.dtype))
    missing = graph.pointwise("IsNaN", value, dtype="bool")
    return graph.pointwise("Where", missing, graph.const(0.0, value.dtype), inside, dtype=value.dtype)


def _is_within(graph: Graph, value: Value, dtype: str) -> bool:
    """Say whether a value was limited to the range of a type of one byte: onnxruntime makes 0 of NaN there, as XLA."""
    limits = np.iinfo(dtype)
    if limits.bits > _EXACT_IN_SINGLE // 2 or not graph.nodes:
        return False
    low, high = -np.inf, np.inf
    name = value.name
    for node in reversed(graph.nodes):
        if name not in node.outputs:
            continue
        bounds = [graph.initializers[x] for x in node.inputs if x in graph.initializers]
        if node.op == "Clip" and len(bounds) == 2:  # noqa: PLR2004  both limits
            low, high = float(bounds[0]), float(bounds[1])
            break
        if node.op not in {"Max", "Min"} or len(bounds) != 1 or bounds[0].size != 1:
            break
        if node.op == "Max":
            low = max(low, float(bounds[0].reshape(())))
        else:
            high = min(high, float(bounds[0].reshape(())))
        name = next(x for x in node.inputs if x not in graph.initializers)
    return bool(low >= limits.min and high <= limits.max)
