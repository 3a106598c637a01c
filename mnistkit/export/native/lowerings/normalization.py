"""Normalisations: epsilon where Keras has it, half precision computed in single as Keras does."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from mnistkit.export.native.backend_behavior import normalizes_last_axes
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lowerings.elementwise import floating, floating_unless_overflowing
from mnistkit.export.native.lowerings.reduction import normal_axes, reduce_node, variance_value
from mnistkit.export.native.registry import register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim


@register_lowering("BatchNorm")
def batch_norm(graph: Graph, op: Any, x: Any, mean: Any, variance: Any, offset: Any = None, scale: Any = None) -> Value:
    """``(x - mean) / sqrt(variance + epsilon) * scale + offset``."""
    value = graph.value(x)
    axis = op.axis % value.rank
    stored_axis = axis if value.storage_layout is None else value.storage_layout.index(axis)
    parts = [graph.value(p, value.dtype) for p in (mean, variance)]
    channels = parts[0].shape
    parts += [
        graph.value(scale, value.dtype) if scale is not None else graph.const(np.ones(channels or (1,), value.dtype)),
        graph.value(offset, value.dtype)
        if offset is not None
        else graph.const(np.zeros(channels or (1,), value.dtype)),
    ]
    if all(p.const is not None for p in parts):
        named = [
            Value(None, p.dtype, p.shape, const=p.const, name_hint=hint)
            for p, hint in zip(parts, ("moving_mean", "moving_variance", "gamma", "beta"), strict=True)
        ]
        if stored_axis == 1 and value.dtype == "float32":
            inputs: list[Value | None] = [value, named[2], named[3], named[0], named[1]]
            names, _ = graph.raw("BatchNormalization", inputs, attrs={"epsilon": float(op.epsilon)})
            return Value(names[0], value.dtype, value.shape, storage_layout=value.storage_layout)
        m, v, s, o = (p.const for p in named)
        assert v is not None
        assert m is not None
        factor = (s / np.sqrt(v + np.asarray(op.epsilon, v.dtype))).astype(v.dtype)
        shift = (o - m * factor).astype(v.dtype)
        shape = [1] * value.rank
        shape[axis] = -1
        scaled = graph.pointwise("Mul", value, graph.const(factor.reshape(shape), name_hint="scale"))
        return graph.pointwise("Add", scaled, graph.const(shift.reshape(shape), name_hint="shift"))
    shape = [1] * value.rank
    shape[axis] = -1
    m2, v2, s2, o2 = (graph.reshape(p, tuple(shape)) for p in parts)
    deviation = graph.node("Sqrt", graph.node("Add", v2, graph.const(float(op.epsilon), value.dtype)))
    normal = graph.node("Div", graph.node("Sub", value, m2), deviation)
    return graph.node("Add", graph.node("Mul", normal, s2), o2, shape=value.shape)


def _single(graph: Graph, x: Any) -> tuple[Value, str]:
    value = floating(graph, x)
    work = "float32" if value.dtype in {"float16", "bfloat16"} else value.dtype
    return graph.cast(value, work), value.dtype


def _scaling(graph: Graph, p: Any, value: Value, axes: list[int]) -> Value:
    """Bring a scale or offset over ``axes`` to a shape that broadcasts against the value."""
    param = graph.value(p, value.dtype)
    trailing = list(range(value.rank - len(axes), value.rank))
    if param.rank == value.rank or axes == trailing:
        return param
    shape = value.shape or ()
    return graph.reshape(param, tuple(shape[a] if a in axes else 1 for a in range(value.rank)))


def _normalized_axes(op: Any, value: Value, name: str) -> list[int]:
    """The axes that the backend normalizes over."""
    axes = normal_axes(op.axis, value.rank)
    last = list(range(value.rank - len(axes), value.rank))
    shape = value.shape or ()
    are_neighbours = axes == list(range(axes[0], axes[0] + len(axes)))
    may_be_taken = all(
        isinstance(shape[a], SymbolicDim) or isinstance(shape[b], SymbolicDim) or shape[a] == shape[b]
        for a, b in zip(axes, last, strict=True)
    )
    return last if axes != last and are_neighbours and may_be_taken and normalizes_last_axes(name) else axes


@register_lowering("LayerNorm")
def layer_norm(graph: Graph, op: Any, x: Any, gamma: Any = None, beta: Any = None) -> Value:
    """Normalise over axes with scale and offset; with ``rms_scaling`` the mean is kept and there is no offset."""
    value, given = _single(graph, x)
    epsilon = keras.config.epsilon() if op.epsilon is None else op.epsilon
    axes = normal_axes(op.axis, value.rank) if op.rms_scaling else _normalized_axes(op, value, "layer_normalization")
    shape = value.shape or ()
    trailing = axes == list(range(axes[0], value.rank))
    if trailing and not op.rms_scaling and all(type(shape[a]) is int for a in axes):
        sizes = tuple(shape[a] for a in axes)
        scale = (
            graph.reshape(graph.value(gamma, value.dtype), sizes) if gamma is not None else _ones(graph, value, sizes)
        )
        offset = graph.reshape(graph.value(beta, value.dtype), sizes) if beta is not None else None
        inputs = [value, scale, offset] if offset is not None else [value, scale]
        out = graph.node("LayerNormalization", *inputs, axis=axes[0] - value.rank, epsilon=float(epsilon), shape=shape)
        return graph.cast(out, given)
    variance = variance_value(graph, value, axes, keepdims=True)
    small = graph.const(float(epsilon), value.dtype)
    factor = graph.pointwise("Reciprocal", graph.pointwise("Sqrt", graph.pointwise("Add", variance, small)))
    if not op.rms_scaling:
        value = graph.pointwise("Sub", value, reduce_node(graph, "ReduceMean", value, axes, keepdims=True))
    out = graph.pointwise("Mul", value, factor)
    if gamma is not None:
        out = graph.pointwise("Mul", out, _scaling(graph, gamma, value, axes))
    if beta is not None and not op.rms_scaling:
        out = graph.pointwise("Add", out, _scaling(graph, beta, value, axes))
    return graph.cast(out, given)


def _ones(graph: Graph, value: Value, sizes: tuple[int, ...]) -> Value:
    return graph.const(np.ones(sizes, value.dtype), name_hint="ones")


@register_lowering("RMSNorm")
def rms_norm(graph: Graph, op: Any, x: Any, scale: Any = None) -> Value:
    """``x / sqrt(mean(x²) + epsilon) * scale``."""
    value, given = _single(graph, x)
    epsilon = keras.config.epsilon() if op.epsilon is None else op.epsilon
    axes = _normalized_axes(op, value, "rms_normalization")
    squares = reduce_node(graph, "ReduceMean", graph.pointwise("Mul", value, value), axes, keepdims=True)
    root = graph.pointwise("Sqrt", graph.pointwise("Add", squares, graph.const(float(epsilon), value.dtype)))
    out = graph.pointwise("Mul", value, graph.pointwise("Reciprocal", root))
    if scale is not None:
        out = graph.pointwise("Mul", out, graph.value(scale, value.dtype))
    return graph.cast(out, given)


@register_lowering("Normalize")
def normalize(graph: Graph, op: Any, x: Any) -> Value:
    """Divide by the norm, which is taken to be ``epsilon`` at least."""
    value = floating_unless_overflowing(graph, x, name="normalize")
    epsilon = keras.config.epsilon() if op.epsilon is None else op.epsilon
    axes = normal_axes(op.axis, value.rank)
    if op.order == 2:  # noqa: PLR2004  the Euclidean norm
        total = reduce_node(graph, "ReduceSum", graph.pointwise("Mul", value, value), axes, keepdims=True)
        inverse = graph.pointwise("Reciprocal", graph.pointwise("Sqrt", total))
        limited = graph.pointwise("Min", inverse, graph.const(1.0 / epsilon, value.dtype))
        return graph.pointwise("Mul", value, limited)
    size = graph.pointwise("Abs", value)
    if op.order == 1:
        norm = reduce_node(graph, "ReduceSum", size, axes, keepdims=True)
    else:
        powers = graph.pointwise("Pow", size, graph.const(float(op.order), value.dtype))
        total = reduce_node(graph, "ReduceSum", powers, axes, keepdims=True)
        norm = graph.pointwise("Pow", total, graph.const(1.0 / op.order, value.dtype))
    return graph.pointwise("Div", value, graph.pointwise("Max", norm, graph.const(epsilon, value.dtype)))
