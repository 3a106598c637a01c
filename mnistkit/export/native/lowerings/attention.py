"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lowerings.creation import count_up
from mnistkit.export.native.lowerings.elementwise import together
from mnistkit.export.native.registry import register_lowering


@register_lowering("DotProductAttention")
def dot_product_attention(
    graph: Graph,
    op: Any,
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: Any = None,
) -> Value:
    """``softmax(q kᵀ · scale + bias) v`` over (batch, time, heads, depth), masked scores being hugely negative.

    Fewer key heads than query heads are repeated, as in grouped-query attention.
    """
    q, k, v = together(graph, query, key, value)
    assert q.shape is not None
    assert k.shape is not None
    depth, heads, key_heads = int(q.shape[3]), q.shape[2], k.shape[2]
    q = graph.transpose(q, (0, 2, 1, 3))
    k, v = _repeat_heads(graph, k, heads, key_heads), _repeat_heads(graph, v, heads, key_heads)
    k, v = graph.transpose(k, (0, 2, 3, 1)), graph.transpose(v, (0, 2, 1, 3))
    factor = 1.0 / math.sqrt(depth) if scale is None else scale
    scores = graph.node("MatMul", graph.node("Mul", q, graph.value(factor, q.dtype)), k)
    time_q, time_k = q.shape[2] if q.shape else None, (k.shape or ())[3]
    scores.shape = (q.shape[0], heads, time_q, time_k) if q.shape else None
    cap = getattr(op, "attn_logits_soft_cap", None)
    if cap is not None:
        limit = graph.const(float(cap), q.dtype)
        scores = graph.pointwise("Mul", graph.pointwise("Tanh", graph.pointwise("Div", scores, limit)), limit)
    if bias is not None:
        scores = graph.pointwise("Add", scores, graph.value(bias, q.dtype))
    allowed = graph.value(mask, "bool") if mask is not None else None
    if op.is_causal:
        rows = graph.unsqueeze(count_up(graph, time_q), 1)
        columns = graph.unsqueeze(count_up(graph, time_k), 0)
        causal = graph.node("LessOrEqual", columns, rows, dtype="bool", shape=(time_q, time_k))
        allowed = causal if allowed is None else graph.node("And", allowed, causal)
    if allowed is not None:
        lowest = float(np.finfo(np.float16 if q.dtype == "float16" else np.float32).max) * -0.7
        scores = graph.node("Where", allowed, scores, graph.const(lowest, q.dtype), dtype=q.dtype)
    weights = graph.node("Softmax", scores, axis=-1)
    out = graph.node("MatMul", weights, v)
    return graph.node("Transpose", out, perm=[0, 2, 1, 3])


def _repeat_heads(graph: Graph, x: Value, heads: int, own: int) -> Value:
    if heads == own:
        return x
    assert x.shape is not None
    wide = graph.unsqueeze(x, 3)
    tiled = graph.node("Tile", wide, graph.ints(1, 1, 1, heads // own, 1), shape=None)
    return graph.reshape(tiled, (*x.shape[:2], heads, x.shape[3]))
