"""Reductions. The layout is kept: axes are translated instead."""

from __future__ import annotations

import math
from typing import Any

from mnistkit.export.native.backend_behavior import counts_with_axes_reversed, keeps_axes, starting_value
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lowerings.elementwise import floating, is_float
from mnistkit.export.native.registry import UnsupportedOp, register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim

AXES_AS_INPUT = 18  # opset from which all reductions take their axes as an input, as ReduceSum does from 13


def normal_axes(axis: Any, rank: int) -> list[int]:
    """Return sorted non-negative axes; all of them for None."""
    if axis is None:
        return list(range(rank))
    axes = [axis] if isinstance(axis, int) else list(axis)
    return sorted(int(a) % rank for a in axes)


def reduce_node(graph: Graph, onnx_op: str, value: Value, axes: list[int], *, keepdims: bool) -> Value:
    """Write a reduction over non-negative logical axes."""
    if not axes:
        return value
    shape = None
    if value.shape is not None:
        shape = tuple(
            1 if axis in axes else size for axis, size in enumerate(value.shape) if keepdims or axis not in axes
        )
    perm = value.storage_layout
    stored_axes = axes if perm is None else sorted(perm.index(axis) for axis in axes)
    if (
        onnx_op == "ReduceMean" and perm is not None and stored_axes == list(range(2, len(perm))) and len(perm) > 2  # noqa: PLR2004  batch and channels
    ):
        names, _ = graph.raw("GlobalAveragePool", [value], attrs={})
        pooled = Value(names[0], value.dtype, shape, storage_layout=perm)
        if keepdims:
            return pooled
        names, _ = graph.raw("Flatten", [pooled], attrs={"axis": 1})
        return Value(names[0], value.dtype, shape)
    if onnx_op in _ROUNDED and len(axes) > 1 and _is_large(value, axes):
        for axis in reversed(axes):
            value = reduce_node(graph, onnx_op, value, [axis], keepdims=keepdims)
        return value
    inputs: list[Value | None] = [value]
    attrs: dict[str, Any] = {"keepdims": int(keepdims)}
    if onnx_op == "ReduceSum" or graph.opset >= AXES_AS_INPUT:
        inputs.append(graph.ints(*stored_axes))
    else:
        attrs["axes"] = stored_axes
    names, _ = graph.raw(onnx_op, inputs, attrs=attrs)
    layout: tuple[int, ...] | None = perm
    if perm is not None and not keepdims:
        kept = [axis for axis in perm if axis not in axes]
        order = sorted(kept)
        layout = tuple(order.index(axis) for axis in kept)
        if layout == tuple(range(len(layout))):
            layout = None
    return Value(names[0], value.dtype, shape, storage_layout=layout)


_ROUNDED = frozenset({"ReduceMean", "ReduceSum"})
_LARGE = 4096


def _is_large(value: Value, axes: list[int]) -> bool:
    """Say whether so many elements are summed up that one sum after the other is the more exact way.

    onnxruntime adds the elements of all axes to one single-precision sum: over two million of them the variance of an
    instance normalization loses four of its seven digits. Of a free size nothing is known.
    """
    sizes = None if value.shape is None else [value.shape[axis] for axis in axes]
    return sizes is None or any(isinstance(size, SymbolicDim) for size in sizes) or math.prod(sizes) > _LARGE


def mean_value(graph: Graph, value: Value, axes: list[int], *, keepdims: bool) -> Value:
    """Average; half precision is summed up in single, as Keras does."""
    if value.dtype in {"float16", "bfloat16"}:
        wide = reduce_node(graph, "ReduceMean", graph.cast(value, "float32"), axes, keepdims=keepdims)
        return graph.cast(wide, value.dtype)
    return reduce_node(graph, "ReduceMean", value, axes, keepdims=keepdims)


def variance_value(graph: Graph, value: Value, axes: list[int], *, keepdims: bool) -> Value:
    """Population variance, in single precision at least."""
    wide = graph.cast(value, "float32") if value.dtype in {"float16", "bfloat16"} else value
    mean = reduce_node(graph, "ReduceMean", wide, axes, keepdims=True)
    centred = graph.pointwise("Sub", wide, mean)
    squares = graph.pointwise("Mul", centred, centred)
    return graph.cast(reduce_node(graph, "ReduceMean", squares, axes, keepdims=keepdims), value.dtype)


def _sum_of_integers(graph: Graph, value: Value, axes: list[int], *, keepdims: bool) -> Value:
    """Sum up in the number of bits that the type has, as Keras does; onnxruntime sums up in doubles and saturates.

    Sums of 32 bits fit a double. Of 64 bits the halves are summed up apart.
    """
    given = value.dtype
    wide = graph.cast(value, "int64")
    if given not in {"int64", "uint64"}:
        return graph.cast(reduce_node(graph, "ReduceSum", wide, axes, keepdims=keepdims), given)
    base = graph.const(2**32, "int64")
    low = graph.pointwise("Mod", wide, base)
    high = graph.pointwise("Div", graph.pointwise("Sub", wide, low), base)
    lows, highs = (reduce_node(graph, "ReduceSum", part, axes, keepdims=keepdims) for part in (low, high))
    return graph.cast(graph.pointwise("Add", graph.pointwise("Mul", highs, base), lows), given)


def _product_of_integers(graph: Graph, value: Value, axes: list[int], *, keepdims: bool) -> Value:
    """Multiply the halves of an axis until one number is left; onnxruntime multiplies doubles and saturates."""
    value = graph.to_logical(value)
    shape = value.shape
    if shape is None or any(isinstance(shape[axis], SymbolicDim) for axis in axes):
        return reduce_node(graph, "ReduceProd", value, axes, keepdims=keepdims)

    def part(x: Value, axis: int, start: int, stop: int) -> Value:
        return graph.node("Slice", x, graph.ints(start), graph.ints(stop), graph.ints(axis))

    for axis in axes:
        size = int(shape[axis])
        if size == 0:
            return reduce_node(graph, "ReduceProd", value, axes, keepdims=keepdims)
        while size > 1:
            half = size // 2
            product = graph.node("Mul", part(value, axis, 0, half), part(value, axis, half, 2 * half))
            odd = size % 2
            value = graph.node("Concat", product, part(value, axis, size - 1, size), axis=axis) if odd else product
            size = half + odd
    value.shape = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return value if keepdims or not axes else graph.squeeze(value, *axes)


_OF_INTEGERS = {"ReduceSum": _sum_of_integers, "ReduceProd": _product_of_integers}


# What onnxruntime reduces types in that it has no kernels for.
_WORK = {"bool": "int32", "int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}


def _with_missing(graph: Graph, value: Value, extreme: Value, axes: list[int], *, keepdims: bool) -> Value:
    """NaN where one of the elements is: onnxruntime's extremes pass NaN over, or not, depending on its place."""
    missing = graph.cast(graph.pointwise("IsNaN", value, dtype="bool"), "int32")
    found = graph.cast(reduce_node(graph, "ReduceMax", missing, axes, keepdims=keepdims), "bool")
    nothing = graph.const(float("nan"), extreme.dtype)
    return graph.pointwise("Where", found, nothing, extreme, dtype=extreme.dtype)


def _initial(op: Any, dtype: str) -> Any:
    """What a maximum or minimum starts from, as the backend understands it for this type."""
    initial = getattr(op, "initial", None)
    if not isinstance(initial, (int, float)) or not (dtype == "bool" or dtype.startswith("uint")):
        return initial
    name = type(op).__name__.lower()
    number = starting_value(name, dtype, initial)
    if number is None:
        raise UnsupportedOp(f"{name} of {dtype} with initial={initial}; bring it to int32 before, by ops.cast")
    return number


def _simple(name: str, onnx_op: str) -> None:
    @register_lowering(name)
    def handler(graph: Graph, op: Any, x: Any) -> Value:
        target = graph.spec[0].dtype
        value = graph.value(x)
        initial = _initial(op, value.dtype)
        work = _WORK.get(target, target)
        value = graph.cast(value, work)
        axes, keepdims = normal_axes(op.axis, value.rank), bool(op.keepdims)
        if keepdims and op.axis is None and not keeps_axes(name.lower()):
            raise UnsupportedOp(f"{name.lower()} of this backend drops the axes that it is to keep; name them in axis=")
        if onnx_op in _OF_INTEGERS and not is_float(work):
            out = _OF_INTEGERS[onnx_op](graph, value, axes, keepdims=keepdims)
        else:
            out = reduce_node(graph, onnx_op, value, axes, keepdims=keepdims)
        if onnx_op in {"ReduceMax", "ReduceMin"} and is_float(work):
            out = _with_missing(graph, value, out, axes, keepdims=keepdims)
        if initial is not None:
            out = graph.pointwise("Max" if onnx_op == "ReduceMax" else "Min", out, graph.value(initial, work))
        return graph.cast(out, target)


for _keras, _onnx in {
    "Sum": "ReduceSum",
    "Max": "ReduceMax",
    "Min": "ReduceMin",
    "Amax": "ReduceMax",
    "Amin": "ReduceMin",
    "Prod": "ReduceProd",
}.items():
    _simple(_keras, _onnx)


@register_lowering("Any", "All")
def truth(graph: Graph, op: Any, x: Any) -> Value:
    """Whether any or all elements are true."""
    value = graph.cast(graph.value(x, "bool"), "int32")
    onnx_op = "ReduceMax" if type(op).__name__ == "Any" else "ReduceMin"
    axes = normal_axes(op.axis, value.rank)
    return graph.cast(reduce_node(graph, onnx_op, value, axes, keepdims=bool(op.keepdims)), "bool")


@register_lowering("Mean")
def mean(graph: Graph, op: Any, x: Any) -> Value:
    """Average, of integers in floating point."""
    value = floating(graph, x)
    return mean_value(graph, value, normal_axes(op.axis, value.rank), keepdims=bool(op.keepdims))


@register_lowering("Var")
def var(graph: Graph, op: Any, x: Any) -> Value:
    """Population variance, in the type of the answer."""
    value = graph.cast(floating(graph, x), graph.spec[0].dtype)
    return variance_value(graph, value, normal_axes(op.axis, value.rank), keepdims=bool(op.keepdims))


@register_lowering("Std")
def std(graph: Graph, op: Any, x: Any) -> Value:
    """Population standard deviation, in the type of the answer."""
    value = graph.cast(floating(graph, x), graph.spec[0].dtype)
    return graph.pointwise(
        "Sqrt", variance_value(graph, value, normal_axes(op.axis, value.rank), keepdims=bool(op.keepdims))
    )


@register_lowering("Moments")
def moments(graph: Graph, op: Any, x: Any) -> list[Value]:
    """Mean and variance."""
    value = graph.value(x)
    axes = normal_axes(op.axes, value.rank)
    keepdims = bool(op.keepdims)
    return [
        mean_value(graph, value, axes, keepdims=keepdims),
        variance_value(graph, value, axes, keepdims=keepdims),
    ]


@register_lowering("Logsumexp")
def logsumexp(graph: Graph, op: Any, x: Any) -> Value:
    """``log(sum(exp(x)))`` with the maximum taken out first, unless it is infinite: its difference to itself is NaN."""
    value = floating(graph, x)
    axes = normal_axes(op.axis, value.rank)
    top = reduce_node(graph, "ReduceMax", value, axes, keepdims=True)
    infinite = graph.pointwise("IsInf", top if top.dtype == "float64" else graph.cast(top, "float32"), dtype="bool")
    top = graph.pointwise("Where", infinite, graph.const(0.0, value.dtype), top, dtype=value.dtype)
    total = reduce_node(
        graph, "ReduceSum", graph.pointwise("Exp", graph.pointwise("Sub", value, top)), axes, keepdims=True
    )
    out = graph.pointwise("Add", graph.pointwise("Log", total), top)
    return out if op.keepdims else graph.squeeze(out, *axes)


@register_lowering("Argmax", "Argmin")
def argmax(graph: Graph, op: Any, x: Any) -> Value:
    """Index of the first extreme element."""
    value = graph.value(x)
    if not is_float(value.dtype):
        value = graph.cast(value, "int64" if value.dtype in {"int64", "uint32"} else "int32")
    onnx_op = "ArgMax" if type(op).__name__ == "Argmax" else "ArgMin"
    if op.axis is None:
        flat = graph.reshape(value, (-1,))
        out = graph.node(onnx_op, flat, axis=0, keepdims=0, dtype="int64", shape=())
        return graph.reshape(out, (1,) * value.rank) if op.keepdims else out
    return graph.node(onnx_op, value, axis=op.axis % value.rank, keepdims=int(bool(op.keepdims)), dtype="int64")


@register_lowering("CountNonzero")
def count_nonzero(graph: Graph, op: Any, x: Any) -> Value:
    """How many elements are not zero."""
    value = graph.cast(graph.value(x, "bool"), "int32")
    axes = normal_axes(op.axis, value.rank)
    if value.rank - len(axes) > 1 and counts_with_axes_reversed():
        cure = 'ops.sum(ops.cast(ops.not_equal(x, 0), "int32"), axis)'
        raise UnsupportedOp(f"count_nonzero of this backend answers with its axes reversed; use {cure} instead")
    return reduce_node(graph, "ReduceSum", value, axes, keepdims=False)


@register_lowering("Cumsum")
def cumsum(graph: Graph, op: Any, x: Any) -> Value:
    """Running sum; over the flattened tensor without an axis."""
    target = graph.spec[0].dtype
    work = target if target in {"float32", "float64", "int32", "int64"} else "float32" if is_float(target) else "int32"
    value = graph.value(x, work)
    if op.axis is None:
        value, axis = graph.reshape(value, (-1,)), 0
    else:
        axis = op.axis % value.rank
    return graph.cast(graph.node("CumSum", value, graph.const(axis, "int64", name_hint="axis")), target)
