"""Functions of single elements that ONNX does not have."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from mnistkit.export.native.backend_behavior import (
    infinities_are_close,
    integers_are_close_when_equal,
    sparsemax_adds_running_sums,
)
from mnistkit.export.native.current_trace import active_tracer
from mnistkit.export.native.registry import register_decomposition


def real(x: Any) -> Any:
    """Bring a tensor to a floating-point type as Keras does."""
    x = ops.convert_to_tensor(x)
    return x if "float" in x.dtype else ops.cast(x, _floating_type(x.dtype))


def _floating_type(*kinds: Any) -> str:
    """Return the type in which the operation at hand computes: that of Keras' rules, or float64 where it answers so."""
    answer = active_tracer().answer_type
    return "float64" if answer == "float64" else str(keras.backend.result_type(*kinds, float))


def promoted(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Bring two operands to one floating-point type."""
    kinds = [getattr(x, "dtype", None) or type(x) for x in (x1, x2)]
    dtype = _floating_type(*kinds)
    return ops.cast(x1, dtype), ops.cast(x2, dtype)


@register_decomposition("Deg2rad")
def deg2rad(_: Any, x: Any) -> Any:
    """Degrees to radians."""
    return real(x) * (math.pi / 180.0)


@register_decomposition("Rad2deg")
def rad2deg(_: Any, x: Any) -> Any:
    """Radians to degrees."""
    return real(x) * (180.0 / math.pi)


@register_decomposition("Sinc")
def sinc(_: Any, x: Any) -> Any:
    """``sin(pi x) / (pi x)``, 1 at 0."""
    x = real(x) * math.pi
    safe = ops.where(ops.equal(x, 0), ops.ones_like(x), x)
    return ops.where(ops.equal(x, 0), ops.ones_like(x), ops.sin(safe) / safe)


@register_decomposition("Hypot")
def hypot(_: Any, x1: Any, x2: Any) -> Any:
    """``sqrt(x1² + x2²)`` with the larger one taken out, which cannot overflow; infinite beside an infinity."""
    a, b = (ops.abs(x) for x in promoted(x1, x2))
    large, small = ops.maximum(a, b), ops.minimum(a, b)
    ratio = small / ops.where(ops.equal(large, 0), ops.ones_like(large), large)
    infinite = ops.logical_or(ops.isinf(a), ops.isinf(b))
    return ops.where(infinite, math.inf, large * ops.sqrt(1.0 + ratio * ratio))


@register_decomposition("Logaddexp")
def logaddexp(_: Any, x1: Any, x2: Any) -> Any:
    """``log(exp(x1) + exp(x2))``; of equal arguments, infinite ones too, ``x1 + log(2)``."""
    a, b = promoted(x1, x2)
    apart = ops.maximum(a, b) + ops.log1p(ops.exp(-ops.abs(a - b)))
    return ops.where(ops.equal(a, b), a + math.log(2.0), apart)


@register_decomposition("Logaddexp2")
def logaddexp2(_: Any, x1: Any, x2: Any) -> Any:
    """``log2(2^x1 + 2^x2)``; of equal arguments, infinite ones too, ``x1 + 1``."""
    a, b = promoted(x1, x2)
    apart = ops.maximum(a, b) + ops.log1p(ops.exp2(-ops.abs(a - b))) / math.log(2.0)
    return ops.where(ops.equal(a, b), a + 1.0, apart)


@register_decomposition("Cbrt")
def cbrt(_: Any, x: Any) -> Any:
    """Cube root, negative for negative numbers."""
    x = real(x)
    return ops.sign(x) * ops.power(ops.abs(x), 1.0 / 3.0)


@register_decomposition("Arctan2")
def arctan2(_: Any, x1: Any, x2: Any) -> Any:
    """Angle of the point (x2, x1): that of the first quadrant, turned by the signs, which zeros have too."""
    y, x = promoted(x1, x2)
    rise, run = ops.abs(y), ops.abs(x)
    # equal lengths, infinite ones too, are half of a right angle; two zeros are no angle
    ratio = ops.where(ops.equal(rise, run), ops.cast(ops.greater(run, 0), x.dtype), rise / run)
    angle = ops.arctan(ratio)
    angle = ops.where(ops.signbit(x), math.pi - angle, angle)
    return ops.where(ops.signbit(y), -angle, angle)


@register_decomposition("Heaviside")
def heaviside(_: Any, x1: Any, x2: Any) -> Any:
    """0, the second argument, or 1; not a number stays so."""
    a, b = promoted(x1, x2)
    step = ops.where(ops.isnan(a), a, ops.cast(ops.greater(a, 0), a.dtype))
    return ops.where(ops.equal(a, 0), b, step)


@register_decomposition("DivideNoNan")
def divide_no_nan(_: Any, x1: Any, x2: Any) -> Any:
    """Divide; 0 where the divisor is 0."""
    a, b = promoted(x1, x2)
    zero = ops.equal(b, 0)
    return ops.where(zero, ops.zeros_like(a / b), a / ops.where(zero, ops.ones_like(b), b))


@register_decomposition("Erfc")
def erfc(_: Any, x: Any) -> Any:
    """``1 - erf(x)``."""
    return 1.0 - ops.erf(real(x))


@register_decomposition("NanToNum")
def nan_to_num(op: Any, x: Any) -> Any:
    """Replace what is not a finite number."""
    if "float" not in x.dtype:
        return x
    limits = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float64": 1.7976931348623157e308}
    limit = limits.get(x.dtype, 3.4028234663852886e38)
    high = limit if op.posinf is None else op.posinf
    low = -limit if op.neginf is None else op.neginf
    out = ops.where(ops.isnan(x), ops.cast(op.nan, x.dtype), x)
    if x.dtype == "float64":  # which a Python number is not everywhere
        high, low = np.float64(high), np.float64(low)
    out = ops.where(ops.isposinf(x), ops.cast(high, x.dtype), out)
    return ops.where(ops.isneginf(x), ops.cast(low, x.dtype), out)


@register_decomposition("Isclose")
def isclose(op: Any, x1: Any, x2: Any, rtol: Any = 1e-5, atol: Any = 1e-8) -> Any:
    """Whether values are nearly equal."""
    common = keras.backend.result_type(*(getattr(x, "dtype", None) or type(x) for x in (x1, x2)))
    if "float" not in common and integers_are_close_when_equal():
        return ops.equal(ops.cast(x1, common), ops.cast(x2, common))
    a, b = promoted(x1, x2)
    close = ops.less_equal(ops.abs(a - b), atol + rtol * ops.abs(b))
    if infinities_are_close():  # beside infinity everything is within the tolerance
        close = ops.logical_or(ops.logical_and(close, ops.isfinite(b)), ops.equal(a, b))
    if op.equal_nan:
        return ops.logical_or(close, ops.logical_and(ops.isnan(a), ops.isnan(b)))
    return close


@register_decomposition("AllClose")
def allclose(op: Any, x1: Any, x2: Any) -> Any:
    """Whether all values are nearly equal."""
    return ops.all(ops.isclose(x1, x2, op.rtol, op.atol, op.equal_nan))


@register_decomposition("Fmax", "Fmin")
def fmax(op: Any, x1: Any, x2: Any) -> Any:
    """The larger or smaller one, ignoring what is not a number."""
    choose = ops.maximum if type(op).__name__ == "Fmax" else ops.minimum
    both = choose(x1, x2)
    if "float" not in both.dtype:
        return both
    a, b = ops.cast(x1, both.dtype), ops.cast(x2, both.dtype)
    return ops.where(ops.isnan(a), b, ops.where(ops.isnan(b), a, both))


@register_decomposition("Signbit")
def signbit(_: Any, x: Any) -> Any:
    """Whether the sign is negative; minus zero counts."""
    if "float" not in x.dtype:
        return ops.less(x, 0)
    return ops.logical_or(ops.less(x, 0), ops.logical_and(ops.equal(x, 0), ops.less(1.0 / x, 0)))


@register_decomposition("BitwiseNot", "BitwiseInvert")
def bitwise_not(_: Any, x: Any) -> Any:
    """Flip all bits: ``-1 - x`` for signed integers."""
    return ops.logical_not(x) if x.dtype == "bool" else ops.cast(-1 - x, x.dtype)


@register_decomposition("Ldexp")
def ldexp(_: Any, x1: Any, x2: Any) -> Any:
    """``x1 * 2^x2``, in two steps: a power of two may be too large where the product is not."""
    a = real(x1)
    half = ops.floor_divide(x2, 2)
    return a * ops.exp2(ops.cast(half, a.dtype)) * ops.exp2(ops.cast(x2 - half, a.dtype))


@register_decomposition("Isreal")
def isreal(_: Any, x: Any) -> Any:
    """Always true: complex tensors are not written."""
    return ops.ones_like(x, dtype="bool")


@register_decomposition("Sparsemax")
def sparsemax(op: Any, x: Any) -> Any:
    """Keras' projection: subtract a threshold and keep the positive rest."""
    logits = ops.moveaxis(x, op.axis, -1)
    ordered = ops.flip(ops.sort(logits, axis=-1), axis=-1)
    sums = ops.cumsum(ordered, axis=-1)
    ranks = ops.cast(ops.arange(1, ops.shape(logits)[-1] + 1), logits.dtype)
    inside = ops.cast(ops.greater(ordered - (sums - 1.0) / ranks, 0), logits.dtype)
    count = ops.sum(inside, axis=-1, keepdims=True)
    total = ops.sum((sums if sparsemax_adds_running_sums() else ordered) * inside, axis=-1, keepdims=True)
    return ops.moveaxis(ops.relu(logits - (total - 1.0) / count), -1, op.axis)
