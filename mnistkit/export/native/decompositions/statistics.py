"""Averages, medians, quantiles, and reductions that skip what is not a number."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from mnistkit.export.native.decompositions.elementwise import real
from mnistkit.export.native.registry import UnsupportedOp, register_decomposition


@register_decomposition("Average")
def average(op: Any, x: Any, weights: Any = None) -> Any:
    """Weighted average."""
    if weights is None:
        return ops.mean(x, axis=op.axis)
    x, weights = real(x), real(ops.convert_to_tensor(weights))
    if op.axis is not None and len(weights.shape) == 1 and len(x.shape) > 1:
        shape = [1] * len(x.shape)
        shape[op.axis] = -1
        weights = ops.reshape(weights, shape)
    weights = ops.broadcast_to(weights, ops.shape(x))
    return ops.sum(x * weights, axis=op.axis) / ops.sum(weights, axis=op.axis)


@register_decomposition("Ptp")
def ptp(op: Any, x: Any) -> Any:
    """Range of the values."""
    return ops.max(x, axis=op.axis, keepdims=op.keepdims) - ops.min(x, axis=op.axis, keepdims=op.keepdims)


@register_decomposition("Median", "Nanmedian")
def median(op: Any, x: Any) -> Any:
    """Middle value."""
    if type(op).__name__ == "Nanmedian":
        raise UnsupportedOp("nanmedian")
    return ops.quantile(x, 0.5, axis=op.axis, keepdims=op.keepdims)


@register_decomposition("Percentile")
def percentile(op: Any, x: Any, q: Any) -> Any:
    """Quantile in hundredths."""
    return ops.quantile(x, np.asarray(q, "float32") / 100.0, axis=op.axis, method=op.method, keepdims=op.keepdims)


@register_decomposition("Quantile")
def quantile(op: Any, x: Any, q: Any) -> Any:
    """Value below which a fraction of the sorted values lies."""
    x = real(x)
    rank = len(x.shape)
    axes = list(range(rank)) if op.axis is None else [int(a) % rank for a in np.atleast_1d(op.axis)]
    kept = [a for a in range(rank) if a not in axes]
    moved = ops.transpose(x, [*kept, *axes])
    count: Any = 1
    for a in axes:
        count = x.shape[a] * count
    ordered = ops.sort(ops.reshape(moved, (*[x.shape[a] for a in kept], -1)), axis=-1)
    fractions = np.asarray(q, "float32")
    # the length may be free, so positions are computed in the graph
    position = ops.reshape(fractions, (-1,)) * ops.cast(count - 1, "float32")
    low, high = ops.cast(ops.floor(position), "int32"), ops.cast(ops.ceil(position), "int32")
    weight = position - ops.floor(position)
    if op.method == "lower":
        weight = weight * 0.0
    elif op.method == "higher":
        weight = ops.cast(ops.greater(weight, 0), "float32")
    elif op.method == "midpoint":
        weight = ops.cast(ops.greater(weight, 0), "float32") * 0.5
    elif op.method == "nearest":
        weight = ops.round(position) - ops.floor(position)
    a, b = ops.take(ordered, low, axis=-1), ops.take(ordered, high, axis=-1)
    out = a + (b - a) * ops.cast(weight, x.dtype)
    out = ops.moveaxis(out, -1, 0)
    if op.keepdims:
        out = ops.expand_dims(out, tuple(a + 1 for a in sorted(axes)))
    return out if fractions.ndim else ops.squeeze(out, 0)


def _without_nan(x: Any, number: float) -> Any:
    return ops.where(ops.isnan(x), ops.cast(number, x.dtype), x) if "float" in x.dtype else x


def _simple(name: str, function: Any, number: float) -> None:
    @register_decomposition(name)
    def rewrite(op: Any, x: Any) -> Any:
        out = function(_without_nan(x, number), axis=op.axis, keepdims=op.keepdims)
        if "float" in x.dtype and not np.isfinite(number):
            nothing = ops.all(ops.isnan(x), axis=op.axis, keepdims=op.keepdims)
            out = ops.where(nothing, ops.cast(np.nan, x.dtype), out)
        return out


_simple("Nansum", ops.sum, 0.0)
_simple("Nanprod", ops.prod, 1.0)
_simple("Nanmax", ops.max, -np.inf)
_simple("Nanmin", ops.min, np.inf)


@register_decomposition("Nanmean")
def nanmean(op: Any, x: Any) -> Any:
    """Average of the numbers."""
    x = real(x)
    count = ops.sum(ops.cast(ops.logical_not(ops.isnan(x)), x.dtype), axis=op.axis, keepdims=op.keepdims)
    return ops.sum(_without_nan(x, 0.0), axis=op.axis, keepdims=op.keepdims) / count


@register_decomposition("Nanvar", "Nanstd")
def nanvar(op: Any, x: Any) -> Any:
    """Variance or deviation of the numbers."""
    x = real(x)
    axes = tuple(range(len(x.shape))) if op.axis is None else op.axis  # by name, because some backends then keep none
    mean = ops.nanmean(x, axis=axes, keepdims=True)
    variance = ops.nanmean(ops.square(x - mean), axis=axes, keepdims=op.keepdims)
    return ops.sqrt(variance) if type(op).__name__ == "Nanstd" else variance


@register_decomposition("Nancumsum", "Nancumprod")
def nancumsum(op: Any, x: Any) -> Any:
    """Running sum or product of the numbers."""
    if type(op).__name__ == "Nancumsum":
        return ops.cumsum(_without_nan(x, 0.0), axis=op.axis, dtype=op.dtype)
    return ops.cumprod(_without_nan(x, 1.0), axis=op.axis, dtype=op.dtype)


@register_decomposition("Nanargmax", "Nanargmin")
def nanargmax(op: Any, x: Any) -> Any:
    """Index of the extreme number; -1 where there is none."""
    largest = type(op).__name__ == "Nanargmax"
    find = ops.argmax if largest else ops.argmin
    out = find(_without_nan(x, -np.inf if largest else np.inf), axis=op.axis, keepdims=op.keepdims)
    if "float" not in x.dtype:
        return out
    nothing = ops.all(ops.isnan(x), axis=op.axis, keepdims=op.keepdims)
    return ops.where(nothing, ops.cast(-1, out.dtype), out)


@register_decomposition("Trapezoid")
def trapezoid(op: Any, y: Any) -> Any:
    """Area by trapezoids."""
    y = ops.moveaxis(real(y), op.axis, -1)
    width = op.dx if op.x is None else ops.diff(ops.convert_to_tensor(op.x, dtype=y.dtype), axis=-1)
    return ops.sum((y[..., 1:] + y[..., :-1]) * width / 2.0, axis=-1)


@register_decomposition("Corrcoef")
def corrcoef(_: Any, x: Any) -> Any:
    """Correlations between rows."""
    x = real(x)
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    covariance = ops.matmul(centred, ops.transpose(centred))
    deviation = ops.sqrt(ops.diagonal(covariance))
    return covariance / ops.expand_dims(deviation, 1) / ops.expand_dims(deviation, 0)


@register_decomposition("Norm")
def norm(op: Any, x: Any) -> Any:
    """Vector norms, and the Frobenius norm of matrices."""
    x = real(x)
    axes = op.axis if op.axis is None else list(op.axis)
    if op.ord in (None, "fro") or (op.ord == 2 and axes is not None and len(axes) == 1):  # noqa: PLR2004  Euclidean
        return ops.sqrt(ops.sum(ops.square(x), axis=axes, keepdims=op.keepdims))
    if axes is None and len(x.shape) == 1:
        axes = [0]
    size = ops.abs(x)
    if axes is not None and len(axes) == 1:
        if op.ord == np.inf:
            return ops.max(size, axis=axes, keepdims=op.keepdims)
        if op.ord == -np.inf:
            return ops.min(size, axis=axes, keepdims=op.keepdims)
        if op.ord == 0:
            return ops.sum(ops.cast(ops.not_equal(x, 0), x.dtype), axis=axes, keepdims=op.keepdims)
        if isinstance(op.ord, (int, float)):
            total = ops.sum(ops.power(size, float(op.ord)), axis=axes, keepdims=op.keepdims)
            return ops.power(total, 1.0 / op.ord)
    raise UnsupportedOp(f"the norm of order {op.ord!r} over axes {op.axis!r}")
