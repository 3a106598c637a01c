"""``tf.*``, ``tf.math.*``, ``tf.nn.*``, ``tf.linalg.*`` and ``tf.image.*``, by name."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from mnistkit.export.native.frameworks.common import (
    BINARY,
    UNARY,
    Functions,
    as_type,
    each,
    of_ops,
    pieces,
    rank,
    refuse_random,
    sum_of,
    variance,
)
from mnistkit.export.native.registry import UnsupportedOp

# The argument `name`, which every function has, only names a node of TensorFlow's own graphs: it is dropped before.


def _reduction(name: str) -> Any:
    function = getattr(ops, name)

    def reduce(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(input_tensor, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims)

    return reduce


def _variance(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return variance(input_tensor, axis, keepdims=keepdims)


def _place(name: str) -> Any:
    function = getattr(ops, name)

    def place(input: Any, axis: Any = None, output_type: Any = "int64") -> Any:
        return as_type(function(input, axis=0 if axis is None else axis), output_type)

    return place


def _matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
) -> Any:
    a = ops.swapaxes(a, -1, -2) if transpose_a or adjoint_a else a
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b or adjoint_b else b)


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    return ops.minimum(ops.maximum(t, clip_value_min), clip_value_max)


def _gather(params: Any, indices: Any, validate_indices: Any = None, axis: Any = None, batch_dims: int = 0) -> Any:
    if batch_dims:
        raise UnsupportedOp("tf.gather with batch_dims; write keras.ops.take_along_axis")
    return ops.take(params, indices, axis=0 if axis is None else axis)


def _split(value: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    if isinstance(num_or_size_splits, (list, tuple)):
        sizes = list(num_or_size_splits)
        if -1 in sizes:
            sizes[sizes.index(-1)] = value.shape[axis] - sum(size for size in sizes if size != -1)
        return pieces(value, sizes, axis)
    return ops.split(value, num_or_size_splits, axis=axis)


def _one_hot(
    indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None, dtype: Any = None
) -> Any:
    hot = ops.one_hot(indices, depth, axis=-1 if axis is None else axis, dtype="bool")
    kind = keras.backend.standardize_dtype(dtype or "float32")
    on, off = (1 if on_value is None else on_value), (0 if off_value is None else off_value)
    return ops.where(hot, ops.cast(on, kind), ops.cast(off, kind))


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    widths = [tuple(map(int, pair)) for pair in ops.convert_to_numpy(paddings)]
    kind = mode.lower()
    return ops.pad(tensor, widths, mode=kind, **({"constant_values": constant_values} if kind == "constant" else {}))


def _slice(input_: Any, begin: Any, size: Any) -> Any:
    if keras.ops.is_tensor(begin) or isinstance(begin, keras.KerasTensor):
        return ops.slice(input_, begin, tuple(size))
    sizes = [
        None if type(length) is int and length == -1 else first + length
        for first, length in zip(begin, size, strict=True)
    ]
    return input_[tuple(slice(first, stop) for first, stop in zip(begin, sizes, strict=True))]


def _squeeze(input: Any, axis: Any = None) -> Any:
    return ops.squeeze(input, axis=tuple(axis) if isinstance(axis, list) else axis)


def _unstack(value: Any, num: int | None = None, axis: int = 0) -> Any:
    return each(value, axis)


def _fill(dims: Any, value: Any) -> Any:
    whole = isinstance(value, (bool, int))
    return ops.full(tuple(dims), value, dtype="bool" if isinstance(value, bool) else "int32" if whole else "float32")


def _range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None) -> Any:
    start, limit = (0, start) if limit is None else (start, limit)
    return ops.arange(start, limit, delta, dtype=dtype)


def _like(value: int) -> Any:
    return lambda input, dtype=None: as_type(ops.full_like(input, value), dtype)


def _of_size(name: str) -> Any:
    function = getattr(ops, name)
    return lambda shape, dtype="float32": function(shape, dtype=dtype)


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None:
        raise UnsupportedOp("tf.where of a condition alone has a shape that depends on the data")
    return ops.where(condition, x, y)


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12) -> Any:
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), epsilon))


def _norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool = False) -> Any:
    if ord not in {"euclidean", 2}:
        raise UnsupportedOp(f"tf.norm with ord={ord!r}; write keras.ops.norm")
    return ops.sqrt(ops.sum(ops.square(tensor), axis=axis, keepdims=keepdims))


def _moments(x: Any, axes: Any, shift: Any = None, keepdims: bool = False) -> Any:
    return ops.mean(x, axis=axes, keepdims=keepdims), variance(x, axes, keepdims=keepdims)


def _top_k(input: Any, k: Any = 1, sorted: bool = True) -> Any:
    return ops.top_k(input, k, sorted=sorted)


def _bias_add(value: Any, bias: Any, data_format: str | None = None) -> Any:
    first = (data_format or "N.C").startswith("NC")
    return ops.add(value, ops.reshape(bias, (-1, *[1] * (rank(value) - 2))) if first else bias)


def _batch_normalization(x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: Any) -> Any:
    factor = ops.rsqrt(ops.add(variance, variance_epsilon))
    factor = factor if scale is None else ops.multiply(factor, scale)
    out = ops.multiply(ops.subtract(x, mean), factor)
    return out if offset is None else ops.add(out, offset)


def _spatial(given: Any, axes: int) -> Any:
    """``[1, h, w, 1]`` and ``[h, w]`` mean the same."""
    if isinstance(given, int):
        return given
    return tuple(given[1:-1] if len(given) == axes + 2 else given)


def _layout(data_format: str | None) -> str:
    return "channels_first" if (data_format or "N.C").startswith("NC") else "channels_last"


def _pool(name: str) -> Any:
    function = getattr(ops, name)

    def pool(input: Any, ksize: Any, strides: Any, padding: str, data_format: str | None = None) -> Any:
        if _layout(data_format) == "channels_first":
            raise UnsupportedOp(f"pooling of TensorFlow with the channels first; write keras.ops.{name}")
        axes = rank(input) - 2
        return function(input, _spatial(ksize, axes), _spatial(strides, axes), padding.lower(), "channels_last")

    return pool


def _conv(
    input: Any,
    filters: Any,
    strides: Any = 1,
    padding: str = "VALID",
    data_format: str | None = None,
    dilations: Any = None,
) -> Any:
    if _layout(data_format) == "channels_first":
        raise UnsupportedOp("convolutions of TensorFlow with the channels first; write keras.ops.conv")
    axes = rank(input) - 2
    steps, rate = _spatial(strides, axes), _spatial(dilations or 1, axes)
    return ops.conv(
        input, filters, strides=steps, padding=padding.lower(), data_format="channels_last", dilation_rate=rate
    )


def _conv1d(
    input: Any, filters: Any, stride: Any, padding: str, data_format: str | None = None, dilations: Any = None
) -> Any:
    return _conv(input, filters, stride, padding, data_format, dilations)


def _depthwise_conv(
    input: Any, filter: Any, strides: Any, padding: str, data_format: str | None = None, dilations: Any = None
) -> Any:
    steps, rate = _spatial(strides, 2), _spatial(dilations or 1, 2)
    options = {"data_format": _layout(data_format), "dilation_rate": rate}
    return ops.depthwise_conv(input, filter, strides=steps, padding=padding.lower(), **options)


def _depth_to_space(input: Any, block_size: int, data_format: str = "NHWC") -> Any:
    if data_format != "NHWC":
        raise UnsupportedOp("tf.nn.depth_to_space with the channels first")
    batch, height, width, channels = input.shape
    r, depth = block_size, channels // block_size**2
    parts = ops.transpose(ops.reshape(input, (batch, height, width, r, r, depth)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(parts, (batch, height * r, width * r, depth))


def _space_to_depth(input: Any, block_size: int, data_format: str = "NHWC") -> Any:
    if data_format != "NHWC":
        raise UnsupportedOp("tf.nn.space_to_depth with the channels first")
    batch, height, width, channels = input.shape
    r = block_size
    parts = ops.transpose(ops.reshape(input, (batch, height // r, r, width // r, r, channels)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(parts, (batch, height // r, width // r, r * r * channels))


def _resize(
    images: Any, size: Any, method: str = "bilinear", preserve_aspect_ratio: bool = False, antialias: bool = False
) -> Any:
    if preserve_aspect_ratio or method not in {"bilinear", "nearest", "bicubic"}:
        raise UnsupportedOp("tf.image.resize with this method; write keras.ops.image.resize")
    options = {"interpolation": method, "antialias": antialias, "data_format": "channels_last"}
    return ops.image.resize(images, tuple(size), **options)


def _convert(value: Any, dtype: Any = None, **_: Any) -> Any:
    return as_type(ops.convert_to_tensor(value), dtype)


FUNCTIONS: Functions = {
    **UNARY,
    **BINARY,
    **of_ops(
        "add", "broadcast_to", "cast", "divide", "expand_dims", "reshape", "stack", "subtract", "tile", "stop_gradient",
        "gelu", "log_softmax", "softmax", "softplus", "elu", floormod="mod", floordiv="floor_divide", mod="mod",
        concat="concatenate", truediv="true_divide", swish="silu", log_sigmoid="log_sigmoid",
        divide_no_nan="divide_no_nan", realdiv="true_divide",
    ),
    **{f"reduce_{name}": _reduction(name) for name in ("sum", "mean", "max", "min", "prod", "any", "all", "logsumexp")},
    "reduce_variance": _variance, "reduce_std": lambda *args, **kwargs: ops.sqrt(_variance(*args, **kwargs)),
    "argmax": _place("argmax"), "argmin": _place("argmin"), "matmul": _matmul, "clip_by_value": _clip,
    "gather": _gather, "embedding_lookup": lambda params, ids: ops.take(params, ids, axis=0), "split": _split,
    "one_hot": _one_hot, "pad": _pad, "slice": _slice, "squeeze": _squeeze, "unstack": _unstack, "where": _where,
    "transpose": lambda a, perm=None: ops.transpose(a, axes=perm),
    "reverse": lambda tensor, axis: ops.flip(tensor, axis=axis),
    "einsum": lambda equation, *inputs: ops.einsum(equation, *inputs), "add_n": lambda inputs: sum_of(list(inputs)),
    "tensordot": lambda a, b, axes: ops.tensordot(a, b, axes=axes),
    "cumsum": lambda x, axis=0: ops.cumsum(x, axis=axis),
    "squared_difference": lambda x, y: ops.square(ops.subtract(x, y)), "l2_normalize": _l2_normalize, "norm": _norm,
    "moments": _moments, "top_k": _top_k, "bias_add": _bias_add, "batch_normalization": _batch_normalization,
    "leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha), "conv1d": _conv1d, "conv2d": _conv,
    "conv3d": _conv, "convolution": _conv, "depthwise_conv2d": _depthwise_conv, "avg_pool": _pool("average_pool"),
    "avg_pool1d": _pool("average_pool"), "avg_pool2d": _pool("average_pool"), "avg_pool3d": _pool("average_pool"),
    "max_pool": _pool("max_pool"), "max_pool1d": _pool("max_pool"), "max_pool2d": _pool("max_pool"),
    "max_pool3d": _pool("max_pool"), "depth_to_space": _depth_to_space, "space_to_depth": _space_to_depth,
    "identity": lambda input: input, "ensure_shape": lambda x, shape: x,
    "zeros_like": _like(0), "ones_like": _like(1), "shape": lambda input, out_type=None: tuple(input.shape),
    "rank": rank, "size": lambda input, out_type=None: math.prod(input.shape),
    "convert_to_tensor": _convert, "constant": _convert, "resize": _resize,
}  # fmt: skip
"""Functions of ``tf``, ``tf.math``, ``tf.nn``, ``tf.linalg`` and ``tf.image``."""

OF_SIZES: Functions = {
    "eye": lambda num_rows, num_columns=None, dtype="float32": ops.eye(num_rows, num_columns, dtype=dtype),
    "fill": _fill,
    "ones": _of_size("ones"),
    "range": _range,
    "zeros": _of_size("zeros"),
}
"""Functions of ``tf`` that make a tensor out of sizes."""

RANDOM: Functions = {
    name: refuse_random(f"tf.random.{name}") for name in ("categorical", "normal", "truncated_normal", "uniform")
}
"""Functions of ``tf.random``."""
