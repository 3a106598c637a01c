"""The weights of layers that Keras has quantized, in the type that they are stored in."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnistkit.export.native.arrays import to_numpy
from mnistkit.export.native.graph import Array, Graph, Value, numpy_dtype
from mnistkit.export.native.quantized_calls import Float8Codes, StoredWeight, UnpackedInt4
from mnistkit.export.native.records import Weight
from mnistkit.export.native.registry import register_lowering


@register_lowering(StoredWeight)
def stored_weight(graph: Graph, _: Any, weight: Weight) -> Value:
    """Whole numbers and the scales of groups are stored once and as they are, whatever is computed from them."""
    is_table_of_scales = weight.variable.name.endswith("scale") and len(weight.shape) > 1
    if "float" in weight.dtype and not is_table_of_scales:
        return graph.weight(weight)
    return graph.kept(weight.variable, weight.dtype, lambda: _content(weight).astype(numpy_dtype(weight.dtype)))


@register_lowering(UnpackedInt4)
def unpacked_int4(graph: Graph, op: UnpackedInt4, weight: Weight) -> Value:
    """Two numbers in a byte, as ONNX stores its 4-bit types too."""
    dtype = "int4" if op.signed else "uint4"
    return graph.kept(weight.variable, dtype, lambda: _unpacked(_content(weight), op).astype(numpy_dtype(dtype)))


@register_lowering(Float8Codes)
def float8_codes(graph: Graph, op: Float8Codes, weight: Weight, scale: Weight) -> Value:
    """Divided by the scale, limited and rounded as Keras does at each call."""

    def codes() -> Array:
        kind = numpy_dtype(op.dtype)
        import ml_dtypes

        limit = np.float32(float(ml_dtypes.finfo(kind).max))
        divided = _content(weight).astype(numpy_dtype(weight.dtype)) / _content(scale).astype(numpy_dtype(weight.dtype))
        limited: Array = np.clip(divided.astype(np.float32), -limit, limit).astype(kind)
        return limited

    return graph.kept(weight.variable, op.dtype, codes)


def _content(weight: Weight) -> Array:
    raw = getattr(weight.variable, "_value", None)
    return to_numpy(raw if raw is not None else weight.variable.value)


def _unpacked(packed: Array, op: UnpackedInt4) -> Array:
    """The low half of each byte comes first."""
    halves = np.stack([packed & 15, packed.view(np.uint8) >> 4], axis=op.axis + 1)
    shape = [2 * size if axis == op.axis else size for axis, size in enumerate(packed.shape)]
    numbers = halves.astype(np.int8).reshape(shape)[(slice(None),) * op.axis + (slice(op.length),)]
    return (numbers ^ 8) - 8 if op.signed else numbers
