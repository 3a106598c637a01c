"""Attention as plain products and a softmax, in ``keras.ops``."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from mnistkit.export.writer.dims import Dim
from mnistkit.export.writer.registry import register_rewrite


@register_rewrite("DotProductAttention")
def dot_product_attention(  # noqa: PLR0913, PLR0917  the arguments of Keras' operation
    op: Any, query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: Any = None
) -> Any:
    """``softmax(scale q kᵀ + bias) v`` on ``(batch, length, heads, size)``; masked scores get a large negative number."""
    scale = 1.0 / math.sqrt(int(query.shape[-1])) if scale is None else scale
    heads, groups = query.shape[2], key.shape[2]
    if not isinstance(heads, Dim) and heads != groups:
        key = ops.repeat(key, heads // groups, axis=2)
        value = ops.repeat(value, heads // groups, axis=2)
    query, key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
    kind = query.dtype
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    scores = ops.multiply(ops.cast(scores, "float32"), scale)
    cap = getattr(op, "attn_logits_soft_cap", None)
    if cap is not None:
        scores = ops.multiply(ops.tanh(ops.divide(scores, float(cap))), float(cap))
    if bias is not None:
        scores = ops.add(scores, ops.cast(bias, "float32"))
    allowed = mask
    if op.is_causal:
        rows = ops.expand_dims(ops.arange(query.shape[2]), 1)
        columns = ops.expand_dims(ops.arange(key.shape[2]), 0)
        causal = ops.greater_equal(rows, columns)
        allowed = causal if allowed is None else ops.logical_and(allowed, causal)
    if allowed is not None:
        scores = ops.where(allowed, scores, -1e30)
    weights = ops.cast(ops.softmax(scores, axis=-1), kind)
    return ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
