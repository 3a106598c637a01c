"""``torch.*``, ``torch.nn.functional.*`` and the methods of ``torch.Tensor``, by name."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from mnistkit.export.native.frameworks.common import (
    BINARY,
    UNARY,
    Functions,
    as_type,
    cast_if_integer,
    clamp,
    each,
    is_tensor,
    of_ops,
    pieces,
    rank,
    refuse_random,
    variance,
)
from mnistkit.export.native.registry import UnsupportedOp


class Found(NamedTuple):
    """What torch returns from functions that find places."""

    values: Any
    indices: Any


def _sizes(given: tuple[Any, ...], named: Any = None) -> tuple[Any, ...]:
    """``x.view(2, -1)``, ``x.view((2, -1))`` and ``x.view(size=(2, -1))`` mean the same."""
    if not given:
        return tuple(named)
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


# -- numbers ----------------------------------------------------------------------------------------------------------


def _add(x: Any, other: Any, *, alpha: Any = 1) -> Any:
    return ops.add(x, other if alpha == 1 else ops.multiply(other, alpha))


def _sub(x: Any, other: Any, *, alpha: Any = 1) -> Any:
    return ops.subtract(x, other if alpha == 1 else ops.multiply(other, alpha))


def _div(x: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return ops.floor_divide(x, other)
    if rounding_mode is not None:
        raise UnsupportedOp(f"torch.div rounds with {rounding_mode!r}; write keras.ops.trunc(x / y)")
    return ops.true_divide(x, other)


def _where(condition: Any, x: Any, other: Any) -> Any:
    return ops.where(condition, x, other)


def _masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return ops.where(mask, ops.cast(value, x.dtype), x)


# -- reductions -------------------------------------------------------------------------------------------------------


def _reduction(name: str, *, widens: bool = False) -> Any:
    function = getattr(ops, name)

    def reduce(x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None) -> Any:
        dim = axis if dim is None else dim
        x = as_type(x, dtype)
        x = cast_if_integer(x, "int64") if widens and dtype is None else x
        return function(x, axis=tuple(dim) if isinstance(dim, (list, tuple)) else dim, keepdims=keepdim)

    return reduce


def _extreme(name: str) -> Any:
    reduce, place = getattr(ops, name), getattr(ops, f"arg{name}")
    pairwise = ops.maximum if name == "max" else ops.minimum

    def extreme(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return reduce(x)
        if is_tensor(dim):
            return pairwise(x, dim)
        indices = ops.cast(place(x, axis=dim, keepdims=keepdim), "int64")
        return Found(reduce(x, axis=dim, keepdims=keepdim), indices)

    return extreme


def _place(name: str) -> Any:
    function = getattr(ops, name)

    def place(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        return ops.cast(function(x, axis=dim, keepdims=keepdim), "int64")

    return place


def _var(
    x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return variance(x, dim, keepdims=keepdim, correction=int(unbiased) if correction is None else correction)


def _std(*args: Any, **kwargs: Any) -> Any:
    return ops.sqrt(_var(*args, **kwargs))


def _cumulative(name: str) -> Any:
    function = getattr(ops, name)
    return lambda x, dim: function(cast_if_integer(x, "int64"), axis=dim)


def _norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Any:
    if p in {"fro", 2}:
        return ops.sqrt(ops.sum(ops.square(x), axis=dim, keepdims=keepdim))
    if p == 1:
        return ops.sum(ops.abs(x), axis=dim, keepdims=keepdim)
    raise UnsupportedOp(f"torch.norm with p={p}; write keras.ops.norm")


def _topk(x: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if dim not in {-1, rank(x) - 1} or not largest:
        raise UnsupportedOp("torch.topk of another axis than the last, or of the smallest; write keras.ops.top_k")
    values, indices = ops.top_k(x, k, sorted=sorted)
    return Found(values, ops.cast(indices, "int64"))


# -- shapes -----------------------------------------------------------------------------------------------------------


def _reshape(x: Any, *sizes: Any, shape: Any = None, size: Any = None) -> Any:
    return ops.reshape(x, _sizes(sizes, size if shape is None else shape))


def _permute(x: Any, *order: Any, dims: Any = None) -> Any:
    return ops.transpose(x, _sizes(order, dims))


def _flip(x: Any, *axes: Any, dims: Any = None) -> Any:
    return ops.flip(x, axis=_sizes(axes, dims))


def _squeeze(x: Any, dim: Any = None) -> Any:
    dims = range(rank(x)) if dim is None else dim if isinstance(dim, (tuple, list)) else [dim]
    ones = tuple(d % rank(x) for d in dims if x.shape[d] == 1)  # torch leaves other axes alone
    return ops.squeeze(x, axis=ones) if ones else x


def _flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    start, end = start_dim % rank(x), end_dim % rank(x)
    return ops.reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def _expand(x: Any, *sizes: Any, size: Any = None) -> Any:
    wanted = _sizes(sizes, size)
    own = (1,) * (len(wanted) - rank(x)) + tuple(x.shape)
    shape = [have if type(want) is int and want == -1 else want for want, have in zip(wanted, own, strict=True)]
    return ops.broadcast_to(x, shape)


def _tile(x: Any, *repeats: Any, dims: Any = None) -> Any:
    wanted = _sizes(repeats, dims)
    extra = len(wanted) - rank(x)
    return ops.tile(ops.reshape(x, ((1,) * extra + tuple(x.shape))) if extra > 0 else x, wanted)


def _split(x: Any, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None) -> Any:
    size = split_size_or_sections if split_size is None else split_size
    if isinstance(size, (list, tuple)):
        return tuple(pieces(x, size, dim))
    length = x.shape[dim]
    if type(length) is not int:
        raise UnsupportedOp("torch.split of an axis whose length is free; give that axis a fixed size")
    return tuple(pieces(x, [min(size, length - start) for start in range(0, length, size)], dim))


def _chunk(x: Any, chunks: int, dim: int = 0) -> Any:
    return _split(x, -(-x.shape[dim] // chunks), dim)


def _gather(x: Any, dim: int, index: Any) -> Any:
    axis = dim % rank(x)
    others = [a for a in range(rank(x)) if a != axis]
    if any(x.shape[a] is not index.shape[a] and x.shape[a] != index.shape[a] for a in others):
        raise UnsupportedOp("torch.gather with fewer indices than rows; write keras.ops.take_along_axis")
    return ops.take_along_axis(x, index, axis=axis)


def _item(x: Any, key: Any) -> Any:
    """``table[places]``, of a constant and computed places."""
    if not is_tensor(key):
        raise UnsupportedOp("a constant with several computed indices; write keras.ops.take")
    return ops.take(x, key, axis=0)


def _narrow(x: Any, dim: int, start: Any, length: Any) -> Any:
    key: list[Any] = [slice(None)] * rank(x)
    key[dim] = slice(start, start + length)
    return x[tuple(key)]


def _cat(tensors: Any, dim: int = 0, *, axis: int | None = None) -> Any:
    return ops.concatenate(list(tensors), axis=dim if axis is None else axis)


def _roll(x: Any, shifts: Any, dims: Any = None) -> Any:
    return ops.roll(x, shifts, axis=dims)


def _einsum(equation: str, *operands: Any) -> Any:
    return ops.einsum(equation, *_sizes(operands))


def _pad(x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    widths = [(0, 0)] * rank(x)
    for place in range(len(pad) // 2):
        widths[-1 - place] = (pad[2 * place], pad[2 * place + 1])
    mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    return ops.pad(x, widths, mode=mode, **({"constant_values": value or 0} if mode == "constant" else {}))


# -- networks ---------------------------------------------------------------------------------------------------------


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    out = ops.matmul(x, ops.transpose(weight))
    return out if bias is None else ops.add(out, bias)


def _layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    centered = x - ops.mean(x, axis=axes, keepdims=True)
    out = centered * ops.rsqrt(ops.mean(ops.square(centered), axis=axes, keepdims=True) + eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def _batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if training or running_mean is None:
        raise UnsupportedOp("torch.nn.functional.batch_norm with the batch's own mean; call it with training=False")
    shape = (1, -1, *[1] * (rank(x) - 2))
    factor = ops.rsqrt(ops.add(running_var, eps))
    factor = factor if weight is None else ops.multiply(factor, weight)
    shift = ops.negative(ops.multiply(running_mean, factor))
    shift = shift if bias is None else ops.add(shift, bias)
    return x * ops.reshape(factor, shape) + ops.reshape(shift, shape)


def _normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    return x / ops.maximum(_norm(x, p, dim, keepdim=True), eps)


def _gelu(x: Any, approximate: str = "none") -> Any:
    return ops.gelu(x, approximate=approximate == "tanh")


def _softmax(x: Any, dim: Any = None, dtype: Any = None) -> Any:
    return ops.softmax(as_type(x, dtype), axis=dim)


def _log_softmax(x: Any, dim: Any = None, dtype: Any = None) -> Any:
    return ops.log_softmax(as_type(x, dtype), axis=dim)


def _softplus(x: Any, beta: float = 1, threshold: float = 20) -> Any:
    return ops.where(x * beta > threshold, x, ops.softplus(x * beta) / beta)


def _one_hot(x: Any, num_classes: int = -1) -> Any:
    if num_classes < 1:
        raise UnsupportedOp("one_hot without num_classes, whose width depends on the data; give num_classes")
    return ops.one_hot(x, num_classes, dtype="int64")


def _dropout(x: Any, p: float = 0.5, training: bool = True) -> Any:
    if training and p:
        return refuse_random("torch.nn.functional.dropout with training=True")()
    return x


def _conv(axes: int) -> Any:
    def conv(
        x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        if not isinstance(padding, str):
            widths = [padding] * axes if isinstance(padding, int) else list(padding)
            x = x if not any(widths) else _pad(x, [width for width in reversed(widths) for _ in range(2)])
            padding = "valid"
        inputs = x.shape[1] // groups
        kernel = ops.transpose(weight, (*range(2, axes + 2), 1, 0))
        if kernel.shape[-2] != inputs:
            raise UnsupportedOp("a convolution whose kernel does not fit its groups")
        options = {"strides": stride, "padding": padding, "dilation_rate": dilation, "data_format": "channels_first"}
        out = ops.conv(x, kernel, **options)
        return out if bias is None else ops.add(out, ops.reshape(bias, (-1, *[1] * axes)))

    return conv


def _pool(name: str) -> Any:
    function = getattr(ops, name)

    def pool(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, **options: Any) -> Any:
        widths = {*padding} if isinstance(padding, (tuple, list)) else {padding}
        rates = options.pop("dilation", 1)
        rates = {*rates} if isinstance(rates, (tuple, list)) else {rates}
        options.pop("count_include_pad", None)  # nothing is padded
        if widths != {0} or rates != {1} or any(options.values()):
            raise UnsupportedOp(f"pooling of torch with padding, dilation or ceil_mode; write keras.ops.{name}")
        return function(x, kernel_size, stride or kernel_size, "valid", data_format="channels_first")

    return pool


def _interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """Resize the axes behind the first two, axis by axis."""
    if mode not in {"nearest", "linear", "bilinear", "trilinear"} or antialias:
        raise UnsupportedOp(f"torch.nn.functional.interpolate with mode={mode!r}; write keras.ops.image.resize")
    count = rank(x) - 2
    given = scale_factor if size is None else size
    wanted = list(given) if isinstance(given, (tuple, list)) else [given] * count
    for axis, want in enumerate(wanted, 2):
        x = _resize_axis(x, axis, want if size is None else None, want, linear=mode != "nearest", ends=align_corners)
    return x


def _resize_axis(x: Any, axis: int, factor: Any, size: Any, *, linear: bool, ends: bool | None) -> Any:
    length = x.shape[axis]
    if not linear and factor is not None and factor == int(factor):
        return ops.repeat(x, int(factor), axis=axis)
    if type(length) is not int:
        raise UnsupportedOp("torch.nn.functional.interpolate of an axis whose length is free; give it a fixed size")
    size = size if factor is None else math.floor(length * factor)
    # torch divides by the factor that it was given, which differs from the quotient of the sizes
    step = length / size if factor is None else 1 / factor
    places = np.arange(size, dtype="float64")
    if not linear:
        nearest = np.floor(places.astype("float32") * np.float32(step)).astype("int32")
        return ops.take(x, np.minimum(nearest, length - 1), axis=axis)
    if ends:
        places = places * ((length - 1) / (size - 1) if size > 1 else 0)
    else:
        places = np.maximum((places + 0.5) * step - 0.5, 0)
    low = np.minimum(np.floor(places).astype("int32"), length - 1)
    high = np.minimum(low + 1, length - 1)
    share = (places - low).astype("float32").reshape(-1, *[1] * (rank(x) - axis - 1))
    return ops.take(x, low, axis=axis) * (1 - share) + ops.take(x, high, axis=axis) * share


def _pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    batch, channels, height, width = x.shape
    r = upscale_factor
    parts = ops.reshape(x, (batch, channels // (r * r), r, r, height, width))
    moved = ops.transpose(parts, (0, 1, 4, 2, 5, 3))
    return ops.reshape(moved, (batch, channels // (r * r), height * r, width * r))


# -- tensors of sizes -------------------------------------------------------------------------------------------------


def _filled(value: int) -> Any:
    def filled(*size: Any, dtype: Any = None, **_: Any) -> Any:
        return ops.full(_sizes(size), value, dtype=_type(dtype))

    return filled


def _filled_like(value: Any) -> Any:
    return lambda x, dtype=None, **_: as_type(ops.full_like(x, value), dtype)


def _full(size: Any, fill_value: Any, *, dtype: Any = None, **_: Any) -> Any:
    kinds = {bool: "bool", int: "int64"}
    return ops.full(size, fill_value, dtype=_type(dtype or kinds.get(type(fill_value))))


def _arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, **_: Any) -> Any:
    start, end = (0, start) if end is None else (start, end)
    whole = not any(isinstance(x, float) for x in (start, end, step))
    return ops.arange(start, end, step, dtype=_type(dtype) if dtype is not None or not whole else "int64")


def _type(dtype: Any) -> str:
    return str(keras.backend.standardize_dtype(dtype or keras.config.floatx()))


def _to(x: Any, *args: Any, dtype: Any = None, **_: Any) -> Any:
    """A type, a device, another tensor, or several of them."""
    for arg in args:
        if type(arg).__name__ == "dtype":
            dtype = arg
        elif is_tensor(arg):
            dtype = arg.dtype
    return as_type(x, dtype)


def _same(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _size(x: Any, dim: int | None = None) -> Any:
    return tuple(x.shape) if dim is None else x.shape[dim]


METHODS: Functions = {
    "bool": lambda x: ops.cast(x, "bool"),
    "clone": _same,
    "contiguous": _same,
    "cpu": _same,
    "detach": _same,
    "dim": rank,
    "double": lambda x: ops.cast(x, "float64"),
    "expand": _expand,
    "expand_as": lambda x, other: _expand(x, *other.shape),
    "float": lambda x: ops.cast(x, "float32"),
    "half": lambda x: ops.cast(x, "float16"),
    "int": lambda x: ops.cast(x, "int32"),
    "long": lambda x: ops.cast(x, "int64"),
    "ndimension": rank,
    "numel": lambda x: math.prod(x.shape),
    "repeat": _tile,
    "size": _size,
    "t": ops.transpose,
    "to": _to,
    "type": _to,
    "type_as": lambda x, other: ops.cast(x, other.dtype),
    "view": _reshape,
    "view_as": lambda x, other: ops.reshape(x, other.shape),
}
"""Only methods: ``torch`` has no function of the name."""

FUNCTIONS: Functions = {
    **UNARY,
    **BINARY,
    **of_ops("logaddexp", "nan_to_num", "outer", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"),
    **of_ops(
        absolute="abs", arccos="arccos", arcsin="arcsin", arctan="arctan", arctan2="arctan2", bmm="matmul",
        divide="true_divide", eq="equal", ge="greater_equal", gt="greater", le="less_equal", lt="less", mm="matmul",
        mul="multiply", ne="not_equal", neg="negative", remainder="mod", true_divide="true_divide",
        hardswish="hard_silu", hardsigmoid="hard_sigmoid", logsigmoid="log_sigmoid",
    ),
    "add": _add, "sub": _sub, "subtract": _sub, "div": _div, "clamp": clamp, "clip": clamp, "where": _where,
    "clamp_min": clamp, "clamp_max": lambda x, max: ops.minimum(x, max),
    "masked_fill": _masked_fill, "addmm": lambda bias, x, y: ops.add(bias, ops.matmul(x, y)),
    "sum": _reduction("sum", widens=True), "prod": _reduction("prod", widens=True), "mean": _reduction("mean"),
    "amax": _reduction("max"), "amin": _reduction("min"), "any": _reduction("any"), "all": _reduction("all"),
    "logsumexp": _reduction("logsumexp"), "max": _extreme("max"), "min": _extreme("min"), "var": _var, "std": _std,
    "argmax": _place("argmax"), "argmin": _place("argmin"), "cumsum": _cumulative("cumsum"),
    "cumprod": _cumulative("cumprod"), "norm": _norm, "topk": _topk,
    "reshape": _reshape, "permute": _permute, "unsqueeze": lambda x, dim: ops.expand_dims(x, dim),
    "transpose": lambda x, dim0, dim1: ops.swapaxes(x, dim0, dim1), "swapaxes": ops.swapaxes, "swapdims": ops.swapaxes,
    "movedim": ops.moveaxis, "moveaxis": ops.moveaxis, "squeeze": _squeeze, "flatten": _flatten, "ravel": ops.ravel,
    "broadcast_to": _expand, "tile": _tile, "split": _split, "chunk": _chunk, "narrow": _narrow,
    "unbind": lambda x, dim=0: tuple(each(x, dim)), "select": lambda x, dim, index: ops.take(x, index, axis=dim),
    "repeat_interleave": lambda x, repeats, dim=None: ops.repeat(x, repeats, axis=dim),
    "__getitem__": _item,
    "index_select": lambda x, dim, index: ops.take(x, index, axis=dim), "gather": _gather, "cat": _cat, "concat": _cat,
    "concatenate": _cat, "stack": lambda tensors, dim=0: ops.stack(list(tensors), axis=dim), "roll": _roll,
    "flip": _flip, "einsum": _einsum, "pad": _pad,
    "tensordot": lambda a, b, dims=2: ops.tensordot(a, b, axes=dims),
    "tril": lambda x, diagonal=0: ops.tril(x, k=diagonal), "triu": lambda x, diagonal=0: ops.triu(x, k=diagonal),
    "linear": _linear, "layer_norm": _layer_norm, "batch_norm": _batch_norm,
    "normalize": _normalize, "gelu": _gelu, "softmax": _softmax,
    "log_softmax": _log_softmax, "softplus": _softplus, "one_hot": _one_hot, "dropout": _dropout,
    "elu": lambda x, alpha=1.0: ops.elu(x, alpha), "celu": lambda x, alpha=1.0: ops.celu(x, alpha),
    "leaky_relu": lambda x, negative_slope=0.01: ops.leaky_relu(x, negative_slope),
    "mish": lambda x: x * ops.tanh(ops.softplus(x)),
    "embedding": lambda indices, weight: ops.take(weight, indices, axis=0),
    "conv1d": _conv(1), "conv2d": _conv(2), "conv3d": _conv(3), "pixel_shuffle": _pixel_shuffle,
    "interpolate": _interpolate,
    "max_pool1d": _pool("max_pool"), "max_pool2d": _pool("max_pool"), "max_pool3d": _pool("max_pool"),
    "avg_pool1d": _pool("average_pool"), "avg_pool2d": _pool("average_pool"), "avg_pool3d": _pool("average_pool"),
    "zeros_like": _filled_like(0), "ones_like": _filled_like(1),
    "full_like": lambda x, fill_value, dtype=None, **_: as_type(ops.full_like(x, fill_value), dtype),
    **{
        name: refuse_random(f"torch.{name}")
        for name in ("bernoulli", "multinomial", "normal", "rand_like", "randint_like", "randn_like")
    },
}  # fmt: skip
"""Functions of ``torch`` and ``torch.nn.functional``; most are methods too."""

OF_SIZES: Functions = {
    "zeros": _filled(0),
    "ones": _filled(1),
    "full": _full,
    "eye": lambda n, m=None, dtype=None, **_: ops.eye(n, m, dtype=_type(dtype)),
    "arange": _arange,
    **{name: refuse_random(f"torch.{name}") for name in ("rand", "randn", "randint")},
}
"""Functions of ``torch`` that make a tensor out of sizes."""
