"""Activations, each as Keras defines it (``keras.ops.nn``), in terms of the operators of opset 17."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mnistkit.export.native.backend_behavior import slopes_are_single
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lowerings.elementwise import clip_to, floating, floating_unless_overflowing
from mnistkit.export.native.registry import UnsupportedOp, register_lowering


def _plain(name: str, onnx_op: str) -> None:
    @register_lowering(name)
    def handler(graph: Graph, _: Any, x: Any) -> Value:
        return graph.pointwise(onnx_op, floating(graph, x))


_plain("Sigmoid", "Sigmoid")


@register_lowering("Softsign")
def softsign(graph: Graph, _: Any, x: Any) -> Value:
    """``x / (1 + abs(x))``."""
    return graph.pointwise("Softsign", floating_unless_overflowing(graph, x, name="softsign"))


@register_lowering("Softplus")
def softplus(graph: Graph, _: Any, x: Any) -> Value:
    """``log(1 + exp(x))``."""
    return _softplus(graph, floating(graph, x))


def _softplus(graph: Graph, value: Value) -> Value:
    """Write Softplus, which onnxruntime does not have in double precision."""
    if value.dtype != "float64":
        return graph.pointwise("Softplus", value)
    near = graph.pointwise("Exp", graph.pointwise("Neg", graph.pointwise("Abs", value)))
    log = graph.pointwise("Log", graph.pointwise("Add", near, graph.const(1.0, value.dtype)))
    return graph.pointwise("Add", graph.pointwise("Relu", value), log)


@register_lowering("Relu")
def relu(graph: Graph, _: Any, x: Any) -> Value:
    """``max(x, 0)``."""
    return _rectified(graph, graph.value(x))


def _rectified(graph: Graph, value: Value) -> Value:
    """Write Relu; unsigned and truth values are their own, and onnxruntime has none of other integers than int32."""
    if value.dtype == "bool" or value.dtype.startswith("uint"):
        return value
    if value.dtype.startswith("int") and value.dtype != "int32":
        zero = graph.const(0, "int64")
        return graph.cast(graph.pointwise("Max", graph.cast(value, "int64"), zero), value.dtype)
    return graph.pointwise("Relu", value)


@register_lowering("Relu6")
def relu6(graph: Graph, _: Any, x: Any) -> Value:
    """``min(max(x, 0), 6)``."""
    return clip_to(graph, graph.value(x), low=0.0, high=6.0)


@register_lowering("LeakyRelu")
def leaky_relu(graph: Graph, op: Any, x: Any) -> Value:
    """``x`` or ``slope * x``."""
    return _leaky(graph, floating(graph, x), float(op.negative_slope))


def _leaky(graph: Graph, value: Value, slope: float) -> Value:
    """From opset 18 on, onnxruntime has no LeakyRelu of double precision."""
    if value.dtype != "float64":
        return graph.pointwise("LeakyRelu", value, alpha=slope)
    slope = float(np.float32(slope)) if slopes_are_single() else slope
    below = graph.pointwise("Less", value, graph.const(0.0, value.dtype), dtype="bool")
    return graph.pointwise(
        "Where", below, graph.pointwise("Mul", value, graph.const(slope, value.dtype)), value, dtype=value.dtype
    )


@register_lowering("Elu")
def elu(graph: Graph, op: Any, x: Any) -> Value:
    """``x`` or ``alpha (exp(x) - 1)``."""
    return graph.pointwise("Elu", floating(graph, x), alpha=float(op.alpha))


@register_lowering("Celu")
def celu(graph: Graph, op: Any, x: Any) -> Value:
    """``max(0, x) + min(0, alpha (exp(x / alpha) - 1))``."""
    value = floating(graph, x)
    alpha = graph.const(float(op.alpha), value.dtype)
    scaled = graph.pointwise("Elu", graph.pointwise("Div", value, alpha), alpha=1.0)
    return graph.pointwise("Mul", scaled, alpha)


@register_lowering("Selu")
def selu(graph: Graph, _: Any, x: Any) -> Value:
    """The self-normalising unit; ONNX' defaults are Keras' constants."""
    return graph.pointwise("Selu", floating(graph, x), alpha=1.6732632423543772, gamma=1.0507009873554805)


@register_lowering("Silu")
def silu(graph: Graph, _: Any, x: Any) -> Value:
    """``x * sigmoid(x)``."""
    value = floating(graph, x)
    return graph.pointwise("Mul", value, graph.pointwise("Sigmoid", value))


@register_lowering("HardSigmoid")
def hard_sigmoid(graph: Graph, _: Any, x: Any) -> Value:
    """``relu6(x + 3) / 6``."""
    return graph.pointwise("HardSigmoid", floating(graph, x), alpha=1.0 / 6.0, beta=0.5)


@register_lowering("HardSilu")
def hard_silu(graph: Graph, _: Any, x: Any) -> Value:
    """``x * hard_sigmoid(x)``."""
    return graph.pointwise("HardSwish", floating(graph, x))


@register_lowering("HardTanh")
def hard_tanh(graph: Graph, _: Any, x: Any) -> Value:
    """Limit to [-1, 1]."""
    return clip_to(graph, floating(graph, x), low=-1.0, high=1.0)


@register_lowering("Gelu")
def gelu(graph: Graph, op: Any, x: Any) -> Value:
    """Gaussian error linear unit: by tanh when approximate, else by erf."""
    value = floating(graph, x)
    half, one = graph.const(0.5, value.dtype), graph.const(1.0, value.dtype)
    # both are written in an order that onnxruntime recognizes and fuses (fast_gelu_fusion.cc, gelu_fusion.cc)
    if op.approximate:
        square = graph.pointwise("Mul", graph.pointwise("Mul", value, graph.const(0.044715, value.dtype)), value)
        scaled = graph.pointwise("Mul", value, graph.const(math.sqrt(2 / math.pi), value.dtype))
        gate = graph.pointwise("Tanh", graph.pointwise("Mul", graph.pointwise("Add", square, one), scaled))
        return graph.pointwise("Mul", graph.pointwise("Mul", value, half), graph.pointwise("Add", gate, one))
    gate = graph.pointwise("Erf", graph.pointwise("Div", value, graph.const(math.sqrt(2), value.dtype)))
    return graph.pointwise("Mul", graph.pointwise("Mul", value, graph.pointwise("Add", gate, one)), half)


@register_lowering("LogSigmoid")
def log_sigmoid(graph: Graph, _: Any, x: Any) -> Value:
    """``-softplus(-x)``."""
    value = graph.pointwise("Neg", floating(graph, x))
    return graph.pointwise("Neg", _softplus(graph, value))


@register_lowering("TanhShrink")
def tanh_shrink(graph: Graph, _: Any, x: Any) -> Value:
    """``x - tanh(x)``."""
    value = floating(graph, x)
    return graph.pointwise("Sub", value, graph.pointwise("Tanh", value))


@register_lowering("SoftShrink")
def soft_shrink(graph: Graph, op: Any, x: Any) -> Value:
    """Move towards 0 by the threshold."""
    threshold = float(op.threshold)
    return graph.pointwise("Shrink", floating(graph, x), lambd=threshold, bias=threshold)


@register_lowering("HardShrink")
def hard_shrink(graph: Graph, op: Any, x: Any) -> Value:
    """Zero inside the threshold."""
    return graph.pointwise("Shrink", floating(graph, x), lambd=float(op.threshold), bias=0.0)


@register_lowering("Threshold")
def threshold(graph: Graph, op: Any, x: Any) -> Value:
    """``x`` where over the threshold, else the default."""
    value = floating(graph, x)
    over = graph.pointwise("Greater", value, graph.const(float(op.threshold), value.dtype), dtype="bool")
    return graph.pointwise("Where", over, value, graph.const(float(op.default_value), value.dtype), dtype=value.dtype)


@register_lowering("SparseSigmoid")
def sparse_sigmoid(graph: Graph, _: Any, x: Any) -> Value:
    """``(x + 1) / 2`` limited to [0, 1]."""
    value = floating_unless_overflowing(graph, x, name="sparse_sigmoid")
    half = graph.const(0.5, value.dtype)
    line = graph.pointwise("Mul", graph.pointwise("Add", value, graph.const(1.0, value.dtype)), half)
    return clip_to(graph, line, low=0.0, high=1.0)


@register_lowering("SparsePlus")
def sparse_plus(graph: Graph, _: Any, x: Any) -> Value:
    """0 up to -1, ``x`` from 1, ``(x + 1)² / 4`` between: with t limited to [-1, 1] it is ``(t + 1)²/4 + (x - 1)+``."""
    value = floating_unless_overflowing(graph, x, name="sparse_plus")
    one = graph.const(1.0, value.dtype)
    shifted = graph.pointwise("Add", clip_to(graph, value, low=-1.0, high=1.0), one)
    curve = graph.pointwise("Mul", graph.pointwise("Mul", shifted, shifted), graph.const(0.25, value.dtype))
    return graph.pointwise("Add", curve, graph.pointwise("Relu", graph.pointwise("Sub", value, one)))


@register_lowering("Squareplus")
def squareplus(graph: Graph, op: Any, x: Any) -> Value:
    """``(x + sqrt(x² + b)) / 2``."""
    value = floating_unless_overflowing(graph, x, name="squareplus")
    inner = graph.pointwise("Add", graph.pointwise("Mul", value, value), graph.const(float(op.b), value.dtype))
    total = graph.pointwise("Add", value, graph.pointwise("Sqrt", inner))
    return graph.pointwise("Mul", total, graph.const(0.5, value.dtype))


@register_lowering("Glu")
def glu(graph: Graph, op: Any, x: Any) -> Value:
    """First half times the sigmoid of the second."""
    value = floating(graph, x)
    half = (value.shape or ())[op.axis] // 2
    sizes = graph.shape_vector([half, half])
    first, second = graph.nodes_out("Split", value, sizes, dtypes=[value.dtype] * 2, axis=op.axis % value.rank)
    return graph.node("Mul", first, graph.node("Sigmoid", second))


@register_lowering("Softmax", "LogSoftmax")
def softmax(graph: Graph, op: Any, x: Any) -> Value:
    """Normalise over one axis, over several taken together, or over all."""
    value = floating(graph, x)
    name = type(op).__name__
    axis = op.axis
    if isinstance(axis, (tuple, list)) and len(axis) == 1:
        axis = axis[0]
    if isinstance(axis, int):
        stored = axis % value.rank if value.storage_layout is None else value.storage_layout.index(axis % value.rank)
        return graph.pointwise(name, value, axis=stored)
    rank = value.rank
    axes = tuple(range(rank)) if axis is None else tuple(a % rank for a in axis)
    kept = [a for a in range(rank) if a not in axes]
    moved = graph.transpose(value, [*kept, *axes])
    assert moved.shape is not None
    flat = graph.reshape(moved, (*moved.shape[: len(kept)], -1))
    out = graph.node(name, flat, axis=-1)
    back = graph.reshape(out, moved.shape)
    order = [*kept, *axes]
    return graph.transpose(back, [order.index(a) for a in range(rank)])


@register_lowering("ReLU")
def general_relu(graph: Graph, op: Any, x: Any) -> Value:
    """Keras' rectifier with slope, threshold and maximum.

    ``x`` from the threshold up, limited to the maximum; ``slope * (x - threshold)`` below it.
    """
    value = graph.value(x)
    slope, top, start = float(op.negative_slope), op.max_value, float(op.threshold)
    if slope and value.dtype.startswith("uint"):
        raise UnsupportedOp(f"relu of {value.dtype} with a negative slope; bring it to float32 before, by ops.cast")
    if value.dtype == "bool" or slope:
        value = floating(graph, value)
    if start == 0 and top is None:
        return _leaky(graph, value, slope) if slope else _rectified(graph, value)
    if start == 0:
        positive = clip_to(graph, value, low=0.0, high=float(top))
    else:
        over = graph.pointwise("Greater", value, graph.const(start, value.dtype), dtype="bool")
        positive = graph.pointwise("Where", over, value, graph.const(0.0, value.dtype), dtype=value.dtype)
        if top is not None:
            positive = clip_to(graph, positive, low=0.0, high=float(top))
    if not slope:
        return positive
    below = graph.pointwise("Relu", graph.pointwise("Sub", graph.const(start, value.dtype), value))
    return graph.pointwise("Sub", positive, graph.pointwise("Mul", below, graph.const(slope, value.dtype)))


@register_lowering("Mish")
def mish(graph: Graph, _: Any, x: Any) -> Value:
    """``x * tanh(softplus(x))``."""
    value = floating(graph, x)
    return graph.pointwise("Mul", value, graph.pointwise("Tanh", _softplus(graph, value)))
