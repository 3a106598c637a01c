"""``jax.numpy.*``, ``jax.nn.*``, some of ``jax.lax.*`` and the methods of ``jax.Array``, by name."""

from __future__ import annotations

from typing import Any

from keras import ops

from mnistkit.export.native.frameworks.common import (
    BINARY,
    UNARY,
    Functions,
    as_type,
    clamp,
    of_ops,
    refuse_random,
    variance,
)


def _reduction(name: str) -> Any:
    function = getattr(ops, name)

    def reduce(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
        return function(as_type(a, dtype), axis=axis, keepdims=keepdims)

    return reduce


def _extreme(name: str) -> Any:
    function = getattr(ops, name)
    return lambda a, axis=None, *, keepdims=False: function(a, axis=axis, keepdims=keepdims)


def _cumulative(name: str) -> Any:
    function = getattr(ops, name)
    return lambda a, axis=None: function(a, axis=axis)


def _var(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    return variance(a, axis, keepdims=keepdims, correction=ddof)


def _std(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    return ops.sqrt(_var(a, axis, ddof=ddof, keepdims=keepdims))


def _reshape(a: Any, *shape: Any) -> Any:
    return ops.reshape(a, shape[0] if len(shape) == 1 else shape)


def _transpose(a: Any, *axes: Any) -> Any:
    given = axes[0] if len(axes) == 1 else axes or None
    return ops.transpose(a, axes=given)


def _pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    options = {"constant_values": constant_values} if mode == "constant" else {}
    return ops.pad(array, pad_width, mode=mode, **options)


def _one_hot(x: Any, num_classes: int, *, dtype: Any = "float32", axis: int = -1) -> Any:
    return ops.one_hot(x, num_classes, axis=axis, dtype=dtype)


def _array(a: Any, dtype: Any = None) -> Any:
    return as_type(ops.convert_to_tensor(a), dtype)


def _like(value: Any) -> Any:
    return lambda a, dtype=None: as_type(ops.full_like(a, value), dtype)


METHODS: Functions = {
    "astype": as_type,
    "copy": lambda a: a,
    "flatten": lambda a: ops.reshape(a, (-1,)),
    "reshape": _reshape,
    "transpose": _transpose,
}
"""Only methods, or methods with other arguments than the function of the name."""

FUNCTIONS: Functions = {
    **UNARY,
    **BINARY,
    **of_ops(
        "add", "append", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argsort",
        "array_split", "average", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "broadcast_to",
        "concatenate", "cross", "deg2rad", "diag", "diagonal", "diff", "divide", "dot", "einsum", "expand_dims", "flip",
        "hstack", "inner", "isclose", "logaddexp", "median", "meshgrid", "mod", "moveaxis", "nan_to_num", "outer",
        "power", "quantile", "ravel", "repeat", "roll", "sort", "split", "squeeze", "stack", "subtract", "swapaxes",
        "take", "take_along_axis", "tensordot", "tile", "trace", "tril", "triu", "true_divide", "vstack", "where",
        absolute="abs", remainder="mod", hard_sigmoid="hard_sigmoid", hard_swish="hard_silu", swish="silu", glu="glu",
        celu="celu", elu="elu", gelu="gelu", log_softmax="log_softmax", log_sigmoid="log_sigmoid", softmax="softmax",
        softplus="softplus", concat="concatenate",
    ),
    "sum": _reduction("sum"), "prod": _reduction("prod"), "mean": _reduction("mean"), "max": _extreme("max"),
    "min": _extreme("min"), "amax": _extreme("max"), "amin": _extreme("min"), "any": _extreme("any"),
    "all": _extreme("all"), "argmax": _extreme("argmax"), "argmin": _extreme("argmin"),
    "logsumexp": _extreme("logsumexp"),
    "cumsum": _cumulative("cumsum"), "cumprod": _cumulative("cumprod"), "var": _var, "std": _std, "clip": clamp,
    "reshape": lambda a, shape: ops.reshape(a, shape), "transpose": _transpose, "permute_dims": _transpose, "pad": _pad,
    "array": _array, "asarray": _array, "astype": as_type, "zeros_like": _like(0), "ones_like": _like(1),
    "full_like": lambda a, fill_value, dtype=None: as_type(ops.full_like(a, fill_value), dtype),
    "leaky_relu": lambda x, negative_slope=0.01: ops.leaky_relu(x, negative_slope), "one_hot": _one_hot,
    "mish": lambda x: x * ops.tanh(ops.softplus(x)), "stop_gradient": lambda x: x,
    "shape": lambda a: tuple(a.shape), "ndim": lambda a: len(a.shape),
}  # fmt: skip
"""Functions of ``jax.numpy`` and ``jax.nn``; many are methods too."""

OF_LAX: Functions = {
    **UNARY,
    **of_ops(
        add="add", atan2="arctan2", div="divide", logistic="sigmoid", max="maximum", min="minimum", mul="multiply",
        neg="negative", pow="power", select="where", sub="subtract", stop_gradient="stop_gradient",
    ),
}  # fmt: skip
"""Functions of ``jax.lax``, whose names mean something else than in ``jax.numpy``."""

OF_SIZES: Functions = {
    **of_ops("zeros", "ones", "full", "eye", "arange", "tri", "identity"),
}
"""Functions of ``jax.numpy`` that make a tensor out of sizes."""

RANDOM: Functions = {
    name: refuse_random(f"jax.random.{name}")
    for name in ("bernoulli", "categorical", "normal", "randint", "truncated_normal", "uniform")
}
"""Functions of ``jax.random``."""
