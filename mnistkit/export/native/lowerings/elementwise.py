"""Arithmetic, comparison and logic, element by element. Types follow Keras' promotion rules."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from mnistkit.export.native.backend_behavior import (
    floats_are_single_beside_doubles,
    integers_are_rounded_as_floats,
    overflows,
    upper_limit_wins,
)
from mnistkit.export.native.casts import cast_as_backend
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.registry import UnsupportedOp, register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim
from mnistkit.export.native.value_types import NARROW, held_type, promoted_type


def result_type(graph: Graph, *operands: Any) -> str:
    """Return the type that operands are brought to: numbers of Python are weak, as in NumPy 2; 64 bits are kept."""
    kinds: list[Any] = []
    for x in operands:
        if isinstance(x, type):
            kinds.append(x)
        elif type(x) is int and not -(2**31) <= x < 2**31:
            kinds.append(held_type("int64"))  # the backend's own tensor of such a number
        elif isinstance(x, (SymbolicDim, bool, int, float)):
            kinds.append(int if isinstance(x, SymbolicDim) else type(x))
        else:
            kinds.append(graph.value(x).dtype)
    return promoted_type(*kinds)


def is_float(dtype: str) -> bool:
    """Say whether a type is a floating-point type."""
    return "float" in dtype


def together(graph: Graph, *operands: Any, dtype: str | None = None) -> list[Value]:
    """Bring operands to one type."""
    dtype = dtype or result_type(graph, *operands)
    if dtype == "float64" and any(isinstance(x, float) for x in operands) and floats_are_single_beside_doubles():
        with np.errstate(over="ignore"):
            return [graph.value(np.float32(x) if isinstance(x, float) else x, dtype) for x in operands]
    return [graph.value(x, dtype) for x in operands]


def floating(graph: Graph, x: Any) -> Value:
    """Bring an argument to a floating-point type, as Keras does for functions that have no integer form."""
    value = graph.value(x)
    if is_float(value.dtype):
        return value
    if graph.spec and graph.spec[0].dtype == "float64":
        return graph.cast(value, "float64")
    return graph.cast(value, "float32" if value.dtype == "int64" else keras.config.floatx())


def floating_unless_overflowing(graph: Graph, x: Any, *, name: str) -> Value:
    """As `floating`, for a function that some backends compute in the type of the whole numbers.

    Raises:
        UnsupportedOp: This backend does so.
    """
    value = graph.value(x)
    if value.dtype in NARROW - {"bool", "int32"} and overflows(name, value.dtype):
        raise UnsupportedOp(
            f"{name} of {value.dtype} overflows on this backend; bring it to float32 before, by ops.cast"
        )
    return floating(graph, value)


@register_lowering("Subtract")
def subtract(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Subtract."""
    a, b = together(graph, x1, x2)
    return graph.pointwise("Sub", a, b)


def _arithmetic(name: str, onnx_op: str, on_bool: str) -> None:
    @register_lowering(name)
    def handler(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
        a, b = together(graph, x1, x2)
        return graph.pointwise(on_bool if a.dtype == "bool" else onnx_op, a, b)


_arithmetic("Add", "Add", "Or")
_arithmetic("Multiply", "Mul", "And")


def _extreme(name: str, onnx_op: str, on_bool: str) -> None:
    @register_lowering(name)
    def handler(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
        # brought to the type of the answer first: of two numbers cut to fewer bits another one may be larger
        a, b = together(graph, x1, x2, dtype=graph.spec[0].dtype)
        return graph.pointwise(on_bool if a.dtype == "bool" else onnx_op, a, b)


_extreme("Maximum", "Max", "Or")
_extreme("Minimum", "Min", "And")


def _compare(name: str, onnx_op: str, *, invert: bool = False) -> None:
    @register_lowering(name)
    def handler(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
        a, b = together(graph, x1, x2)
        if a.dtype == "bool" and onnx_op != "Equal":
            a, b = graph.cast(a, "int32"), graph.cast(b, "int32")
        out = graph.pointwise(onnx_op, a, b, dtype="bool")
        return graph.pointwise("Not", out) if invert else out


_compare("Equal", "Equal")
_compare("NotEqual", "Equal", invert=True)
_compare("Greater", "Greater")
_compare("GreaterEqual", "GreaterOrEqual")
_compare("Less", "Less")
_compare("LessEqual", "LessOrEqual")


def _logical(name: str, onnx_op: str) -> None:
    @register_lowering(name)
    def handler(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
        return graph.pointwise(onnx_op, as_bool(graph, x1), as_bool(graph, x2))


def as_bool(graph: Graph, x: Any) -> Value:
    """Cast to bool: everything that is not zero is true."""
    return graph.value(x, "bool")


_logical("LogicalAnd", "And")
_logical("LogicalOr", "Or")
_logical("LogicalXor", "Xor")


@register_lowering("LogicalNot")
def logical_not(graph: Graph, _: Any, x: Any) -> Value:
    """Negate a truth value."""
    return graph.pointwise("Not", as_bool(graph, x))


@register_lowering("Divide", "TrueDivide")
def divide(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Divide in floating point, also for integers."""
    dtype = graph.spec[0].dtype if is_float(graph.spec[0].dtype) else result_type(graph, x1, x2, float)
    a, b = together(graph, x1, x2, dtype=dtype)
    return graph.pointwise("Div", a, b)


@register_lowering("FloorDivide")
def floor_divide(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Divide and round down, also for negative integers, where ONNX' Div rounds towards zero."""
    a, b = together(graph, x1, x2)
    if is_float(a.dtype):
        return _floor_divide_floats(graph, a, b)
    quotient = graph.pointwise("Div", a, b)
    if a.dtype.startswith("uint"):
        return quotient
    zero = graph.const(0, a.dtype)
    signs = [graph.pointwise("Less", x, zero, dtype="bool") for x in (a, b)]
    rest = graph.pointwise("Not", graph.pointwise("Equal", graph.pointwise("Mod", a, b), zero, dtype="bool"))
    lower = graph.pointwise("And", rest, graph.pointwise("Xor", *signs))
    return graph.pointwise("Sub", quotient, graph.cast(lower, a.dtype))


def _floor_divide_floats(graph: Graph, a: Value, b: Value) -> Value:
    """As NumPy: from the remainder, since a rounded quotient may be the next whole number already."""
    zero, one = graph.const(0.0, a.dtype), graph.const(1.0, a.dtype)
    rest = graph.pointwise("Mod", a, b, fmod=1)
    quotient = graph.pointwise("Div", graph.pointwise("Sub", a, rest), b)
    other_sign = graph.pointwise("Less", graph.pointwise("Mul", graph.pointwise("Sign", rest), b), zero, dtype="bool")
    lower = graph.pointwise("Where", other_sign, graph.pointwise("Sub", quotient, one), quotient, dtype=a.dtype)
    by_zero = graph.pointwise("Equal", b, zero, dtype="bool")
    return graph.pointwise(
        "Where", by_zero, graph.pointwise("Div", a, b), graph.pointwise("Round", lower), dtype=a.dtype
    )


@register_lowering("Mod")
def mod(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Remainder with the sign of the divisor."""
    a, b = together(graph, x1, x2)
    if not is_float(a.dtype):
        return graph.pointwise("Mod", a, b)
    rest = graph.pointwise("Mod", a, b, fmod=1)
    zero = graph.const(0.0, a.dtype)
    signs = graph.pointwise("Less", graph.pointwise("Mul", graph.pointwise("Sign", rest), b), zero, dtype="bool")
    return graph.pointwise("Where", signs, graph.pointwise("Add", rest, b), rest, dtype=a.dtype)


@register_lowering("Fmod")
def fmod(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Remainder with the sign of the dividend."""
    a, b = together(graph, x1, x2)
    return graph.pointwise("Mod", a, b, fmod=1)


@register_lowering("Power")
def power(graph: Graph, _: Any, x1: Any, x2: Any) -> Value:
    """Raise to a power."""
    a, b = together(graph, x1, x2)
    # 0.5 is no Sqrt: of minus infinity, and of minus zero, the power is another number
    if b.const is not None and b.const.size == 1 and is_float(b.dtype) and float(b.const.reshape(-1)[0]) == 2.0:  # noqa: PLR2004  a square
        return graph.pointwise("Mul", a, a)
    if (
        not is_float(a.dtype)
        and b.const is not None
        and b.const.size == 1
        and 0 <= int(b.const.reshape(-1)[0]) <= _LARGEST
    ):
        return _whole_power(graph, a, int(b.const.reshape(-1)[0]))
    if not is_float(a.dtype):
        return graph.cast(_power_by_bits(graph, graph.cast(a, "int64"), graph.cast(b, "int64")), a.dtype)
    return graph.pointwise("Pow", a, b)


_LARGEST = 64  # exponent of integers that is written as products; above it nearly every answer overflows


def _whole_power(graph: Graph, value: Value, exponent: int) -> Value:
    """Multiply by squaring: exact, and cut to the bits of the type; onnxruntime's Pow of integers goes by doubles."""
    out: Value | None = None
    while exponent:
        if exponent & 1:
            out = value if out is None else graph.pointwise("Mul", out, value)
        exponent >>= 1
        value = graph.pointwise("Mul", value, value) if exponent else value
    if out is not None:
        return out
    one, zero = graph.const(1, value.dtype), graph.const(0, value.dtype)
    return graph.pointwise("Add", graph.pointwise("Mul", value, zero), one)


def _power_by_bits(graph: Graph, value: Value, exponent: Value) -> Value:
    """Square and multiply for each bit of an exponent up to 63: onnxruntime goes by doubles."""
    one, two = graph.const(1, "int64"), graph.const(2, "int64")
    out: Value = one
    for bit in range(6):
        rest = graph.pointwise("Mod", exponent, two)
        factor = graph.pointwise("Where", graph.pointwise("Equal", rest, one, dtype="bool"), value, one, dtype="int64")
        out = factor if bit == 0 else graph.pointwise("Mul", out, factor)
        if bit < 5:  # noqa: PLR2004  nothing is left after the last one
            value = graph.pointwise("Mul", value, value)
            exponent = graph.pointwise("Div", graph.pointwise("Sub", exponent, rest), two)
    return out


def _unary(name: str, onnx_op: str) -> None:
    @register_lowering(name)
    def handler(graph: Graph, _: Any, x: Any) -> Value:
        return graph.pointwise(onnx_op, floating(graph, x))


for _keras, _onnx in {
    "Exp": "Exp",
    "Log": "Log",
    "Sin": "Sin",
    "Cos": "Cos",
    "Tan": "Tan",
    "Arcsin": "Asin",
    "Arccos": "Acos",
    "Arctan": "Atan",
    "Sinh": "Sinh",
    "Cosh": "Cosh",
    "Tanh": "Tanh",
    "Arcsinh": "Asinh",
    "Arccosh": "Acosh",
    "Arctanh": "Atanh",
    "Sqrt": "Sqrt",
    "Erf": "Erf",
    "Reciprocal": "Reciprocal",
}.items():
    _unary(_keras, _onnx)


def _keep_integers(name: str, onnx_op: str) -> None:
    @register_lowering(name)
    def handler(graph: Graph, _: Any, x: Any) -> Value:
        value = graph.value(x)
        if not is_float(value.dtype):
            return value
        if name == "Floor" and is_float(
            graph.spec[0].dtype
        ):  # narrowed before it is rounded, where the answer is narrow
            value = graph.cast(value, graph.spec[0].dtype)
        return graph.pointwise(onnx_op, value)


for _keras, _onnx in {"Floor": "Floor", "Ceil": "Ceil"}.items():
    _keep_integers(_keras, _onnx)


@register_lowering("Round")
def round_(graph: Graph, op: Any, x: Any) -> Value:
    """Round half to even, as ONNX does too; integers stay as they are, unless the backend takes them to floats."""
    value = graph.value(x)
    if not is_float(value.dtype):
        return graph.cast(value, "float32") if integers_are_rounded_as_floats() and not op.decimals else value
    if not op.decimals:
        return graph.pointwise("Round", value)
    factor = graph.const(10.0**op.decimals, value.dtype)
    return graph.pointwise("Div", graph.pointwise("Round", graph.pointwise("Mul", value, factor)), factor)


@register_lowering("Trunc")
def trunc(graph: Graph, _: Any, x: Any) -> Value:
    """Round towards zero."""
    value = graph.value(x)
    if not is_float(value.dtype):
        return value
    return graph.pointwise(
        "Mul", graph.pointwise("Sign", value), graph.pointwise("Floor", graph.pointwise("Abs", value))
    )


@register_lowering("Absolute", "Abs", "Fabs")
def absolute(graph: Graph, _: Any, x: Any) -> Value:
    """Absolute value."""
    value = graph.value(x)
    return value if value.dtype in {"bool", "uint8", "uint16", "uint32"} else graph.pointwise("Abs", value)


@register_lowering("Negative")
def negative(graph: Graph, _: Any, x: Any) -> Value:
    """Change the sign."""
    return graph.pointwise("Neg", graph.value(x))


@register_lowering("Sign")
def sign(graph: Graph, _: Any, x: Any) -> Value:
    """-1, 0 or 1; not a number stays so, for which onnxruntime's half-precision Sign answers 0."""
    value = graph.value(x)
    wide = graph.cast(value, {"float16": "float32", "bool": "int32"}.get(value.dtype, value.dtype))
    return graph.cast(graph.pointwise("Sign", wide), value.dtype)


@register_lowering("Square")
def square(graph: Graph, _: Any, x: Any) -> Value:
    """Multiply with itself."""
    value = graph.value(x)
    value = graph.cast(value, "int32") if value.dtype == "bool" else value
    return graph.pointwise("Mul", value, value)


@register_lowering("Rsqrt")
def rsqrt(graph: Graph, _: Any, x: Any) -> Value:
    """One over the square root."""
    return graph.pointwise("Reciprocal", graph.pointwise("Sqrt", floating(graph, x)))


@register_lowering("Exp2")
def exp2(graph: Graph, _: Any, x: Any) -> Value:
    """Two to the power."""
    value = floating(graph, x)
    return graph.pointwise("Pow", graph.const(2.0, value.dtype), value)


@register_lowering("Expm1")
def expm1(graph: Graph, _: Any, x: Any) -> Value:
    """``exp(x) - 1``; for small x without cancellation, as ``2 sinh(x/2) exp(x/2)``."""
    value = floating(graph, x)
    if value.dtype == "float64":
        return _expm1_double(graph, value)
    half = graph.pointwise("Mul", value, graph.const(0.5, value.dtype))
    two_sinh = graph.pointwise("Mul", graph.pointwise("Sinh", half), graph.const(2.0, value.dtype))
    near = graph.pointwise("Mul", two_sinh, graph.pointwise("Exp", half))
    far = graph.pointwise("Sub", graph.pointwise("Exp", value), graph.const(1.0, value.dtype))
    small = graph.pointwise("Less", graph.pointwise("Abs", value), graph.const(0.5, value.dtype), dtype="bool")
    return graph.pointwise("Where", small, near, far, dtype=value.dtype)


def _expm1_double(graph: Graph, value: Value) -> Value:
    """``(u - 1) x / log(u)`` with ``u = exp(x)``, by Kahan: the roundings of u cancel; Sinh has no double precision."""
    one = graph.const(1.0, value.dtype)
    rise = graph.pointwise("Exp", value)
    far = graph.pointwise("Sub", rise, one)
    near = graph.pointwise("Div", graph.pointwise("Mul", far, value), graph.pointwise("Log", rise))
    near = graph.pointwise("Where", graph.pointwise("Equal", rise, one, dtype="bool"), value, near, dtype=value.dtype)
    small = graph.pointwise("Less", graph.pointwise("Abs", value), graph.const(0.5, value.dtype), dtype="bool")
    return graph.pointwise("Where", small, near, far, dtype=value.dtype)


@register_lowering("Log1p")
def log1p(graph: Graph, _: Any, x: Any) -> Value:
    """``log(1 + x)`` without cancellation: ``2 artanh(x / (2 + x))`` for small x."""
    value = floating(graph, x)
    if value.dtype == "float64":
        return _log1p_double(graph, value)
    one, two = graph.const(1.0, value.dtype), graph.const(2.0, value.dtype)
    ratio = graph.pointwise("Div", value, graph.pointwise("Add", value, two))
    near = graph.pointwise("Mul", graph.pointwise("Atanh", ratio), two)
    far = graph.pointwise("Log", graph.pointwise("Add", value, one))
    small = graph.pointwise("Less", graph.pointwise("Abs", value), graph.const(0.5, value.dtype), dtype="bool")
    return graph.pointwise("Where", small, near, far, dtype=value.dtype)


def _log1p_double(graph: Graph, value: Value) -> Value:
    """``log(u) x / (u - 1)`` with ``u = 1 + x``, by Kahan; Atanh has no double precision."""
    one = graph.const(1.0, value.dtype)
    rise = graph.pointwise("Add", value, one)
    far = graph.pointwise("Log", rise)
    near = graph.pointwise("Div", graph.pointwise("Mul", far, value), graph.pointwise("Sub", rise, one))
    near = graph.pointwise("Where", graph.pointwise("Equal", rise, one, dtype="bool"), value, near, dtype=value.dtype)
    small = graph.pointwise("Less", graph.pointwise("Abs", value), graph.const(0.5, value.dtype), dtype="bool")
    return graph.pointwise("Where", small, near, far, dtype=value.dtype)


def _scaled_log(name: str, base: float) -> None:
    @register_lowering(name)
    def handler(graph: Graph, _: Any, x: Any) -> Value:
        value = floating(graph, x)
        return graph.pointwise("Div", graph.pointwise("Log", value), graph.const(math.log(base), value.dtype))


_scaled_log("Log2", 2.0)
_scaled_log("Log10", 10.0)


@register_lowering("Clip")
def clip(graph: Graph, op: Any, x: Any) -> Value:
    """Limit to a range; limits may be tensors."""
    value = graph.value(x)
    value = graph.cast(value, "int32") if value.dtype == "bool" else value
    if is_float(graph.spec[0].dtype):  # whole numbers between limits that are none
        value = graph.cast(value, graph.spec[0].dtype)
    x_min, x_max = (_number(graph, limit, value.dtype) for limit in (op.x_min, op.x_max))
    constant = [isinstance(limit, (int, float)) for limit in (x_min, x_max)]
    if all(constant):
        low, high = (np.asarray(limit).astype(value.dtype) for limit in (x_min, x_max))
        if not low > high:
            return clip_to(graph, value, low=x_min, high=x_max)
    steps = [("low", x_min), ("high", x_max)]
    for end, limit in steps if upper_limit_wins() else reversed(steps):
        if isinstance(limit, (int, float)):
            value = clip_to(graph, value, **{"low": None, "high": None, end: limit})
        elif limit is not None:
            value = graph.pointwise("Max" if end == "low" else "Min", value, graph.value(limit, value.dtype))
    return value


def _number(graph: Graph, limit: Any, dtype: str) -> Any:
    """Return a constant tensor of one number, in the type that is limited, as the number; all else as it is."""
    if limit is None or isinstance(limit, (int, float)):
        return limit
    value = graph.value(limit)
    known = value.const is not None and value.shape == () and value.dtype == dtype
    return value.const.item() if known and value.const is not None else limit


def clip_to(graph: Graph, value: Value, *, low: float | None, high: float | None) -> Value:
    """Write Clip with constant limits."""
    names = [graph.use(value)]
    names += ["" if limit is None else graph.use(graph.const(limit, value.dtype)) for limit in (low, high)]
    inputs = [Value(name, value.dtype) if name else None for name in names]
    out, _ = graph.raw("Clip", inputs, attrs={})
    return Value(out[0], value.dtype, value.shape, storage_layout=value.storage_layout)


@register_lowering("Where")
def where(graph: Graph, _: Any, condition: Any, x1: Any = None, x2: Any = None) -> Value:
    """Choose by a condition."""
    a, b = together(graph, x1, x2)
    return graph.pointwise("Where", as_bool(graph, condition), a, b, dtype=a.dtype)


@register_lowering("Cast", "SaturateCast")
def cast(graph: Graph, op: Any, x: Any) -> Value:
    """Change the type; :class:`SaturateCast` limits to the range of an integer type first."""
    value = graph.value(x)
    dtype = keras.backend.standardize_dtype(op.dtype)
    if type(op).__name__ == "SaturateCast" and not is_float(dtype) and dtype not in {"bool", value.dtype}:
        limits = np.iinfo(dtype)
        low, high = float(limits.min), float(limits.max)
        if not is_float(value.dtype):
            own = np.iinfo(value.dtype) if value.dtype != "bool" else None
            if own is None:
                return graph.cast(value, dtype)
            low, high = max(limits.min, own.min), min(limits.max, own.max)
        value = clip_to(graph, value, low=low, high=high)
        return graph.cast(value, held_type(dtype))
    return cast_as_backend(graph, value, held_type(dtype))


@register_lowering("StopGradient", "Copy", "ConvertToTensor", "Array", "Conjugate", "Conj", "Real")
def identity(graph: Graph, _: Any, x: Any) -> Value:
    """Nothing happens at inference; the type is taken from Keras' inference."""
    return graph.value(x)


@register_lowering("Isnan")
def isnan(graph: Graph, _: Any, x: Any) -> Value:
    """Say where a value is not a number."""
    return graph.pointwise("IsNaN", floating(graph, x), dtype="bool")


@register_lowering("Isinf")
def isinf(graph: Graph, _: Any, x: Any) -> Value:
    """Say where a value is infinite."""
    return graph.pointwise("IsInf", _single_or_double(graph, x), dtype="bool")


def _single_or_double(graph: Graph, x: Any) -> Value:
    """IsInf has no half precision; in single precision large numbers of double precision are infinite."""
    value = floating(graph, x)
    return value if value.dtype == "float64" else graph.cast(value, "float32")


@register_lowering("Isfinite")
def isfinite(graph: Graph, _: Any, x: Any) -> Value:
    """Say where a value is neither infinite nor not a number: there ``x - x`` is 0."""
    value = floating(graph, x)
    return graph.pointwise("Equal", graph.pointwise("Sub", value, value), graph.const(0.0, value.dtype), dtype="bool")


@register_lowering("Isposinf", "Isneginf")
def signed_isinf(graph: Graph, op: Any, x: Any) -> Value:
    """Say where a value is infinite with one sign."""
    positive = type(op).__name__ == "Isposinf"
    value = _single_or_double(graph, x)
    return graph.pointwise(
        "IsInf", value, dtype="bool", detect_positive=int(positive), detect_negative=int(not positive)
    )


def _bitwise(onnx_op: str, *names: str) -> None:
    @register_lowering(*names)
    def handler(graph: Graph, _: Any, x: Any, y: Any) -> Value:
        a, b = together(graph, x, y)
        logical = {"BitwiseAnd": "And", "BitwiseOr": "Or", "BitwiseXor": "Xor"}
        return graph.pointwise(logical[onnx_op] if a.dtype == "bool" else onnx_op, a, b)


for _name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    _bitwise(_name, _name)


@register_lowering("LeftShift", "BitwiseLeftShift")
def left_shift(graph: Graph, _: Any, x: Any, y: Any) -> Value:
    """Multiply by a power of two, in two steps, each of which the type can hold."""
    value, first, second = _shift(graph, x, y)
    return graph.pointwise("Mul", graph.pointwise("Mul", value, first), second)


@register_lowering("RightShift", "BitwiseRightShift")
def right_shift(graph: Graph, _: Any, x: Any, y: Any) -> Value:
    """Divide by a power of two, rounding down, in two steps likewise."""
    value, *steps = _shift(graph, x, y)
    for step in steps:
        rest = graph.pointwise("Mod", value, step)
        value = graph.pointwise("Div", graph.pointwise("Sub", value, rest), step)
    return value


def _shift(graph: Graph, x: Any, y: Any) -> tuple[Value, Value, Value]:
    """Return the number and two powers of two, whose product is that of the shift."""
    given = graph.spec[0].dtype
    work = given if given in {"int64", "uint64"} else "int64"
    value, by = graph.value(x, work), graph.value(y, "int64")
    half = graph.pointwise("Div", by, graph.const(2, "int64"))
    two = graph.const(2.0, "float64")
    halves = (half, graph.pointwise("Sub", by, half))
    first, second = (
        graph.pointwise("Cast", graph.pointwise("Pow", two, part, dtype="float64"), dtype=work, to=work)
        for part in halves
    )
    return value, first, second
