"""Convolutions. ONNX wants channels first; a channels-last result stays so and says it in its layout."""

from __future__ import annotations

from typing import Any

from keras.config import image_data_format

from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lowerings.elementwise import together
from mnistkit.export.native.registry import UnsupportedOp, register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim


def channels_last(data_format: str | None) -> bool:
    """Say whether an operation's images have their channels last."""
    return (data_format or image_data_format()) == "channels_last"


def to_channels_first(rank: int) -> tuple[int, ...]:
    """Return the layout of a channels-last tensor that is stored channels-first."""
    return (0, rank - 1, *range(1, rank - 1))


def spread(value: Any, count: int) -> list[int]:
    """Repeat a number for every spatial axis."""
    return [int(value)] * count if isinstance(value, int) else [int(v) for v in value]


def enter(graph: Graph, x: Value, *, last: bool) -> Value:
    """Return the images stored channels-first."""
    return graph.layout(x, to_channels_first(x.rank)) if last else graph.to_logical(x)


def leave(graph: Graph, name: str, x: Value, *, last: bool) -> Value:
    """Wrap a channels-first result in Keras' logical shape."""
    spec = graph.spec[0]
    shape = tuple(spec.shape) if len(spec.shape) == x.rank else None
    return graph.stored(name, x.dtype, shape, to_channels_first(x.rank) if last else None)


def padding_attributes(
    mode: str, sizes: list[Any], *, kernel: list[int], strides: list[int], dilations: list[int]
) -> dict[str, Any]:
    """Return ONNX attributes for Keras' ``valid`` or ``same`` (TensorFlow's: the larger half goes after).

    A free size under a stride leaves the computation to the runtime (``SAME_UPPER`` has the same definition).
    """
    if mode == "valid":
        return {}
    before, after = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        effective = (k - 1) * dilation + 1
        if stride == 1:
            total = effective - 1
        elif isinstance(size, SymbolicDim):
            if any(d != 1 for d in dilations):
                raise UnsupportedOp("'same' padding with a stride, a dilation and a free size at once")
            return {"auto_pad": "SAME_UPPER"}
        else:
            total = max((-(-int(size) // stride) - 1) * stride + effective - int(size), 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return {"pads": before + after} if any(before + after) else {}


def _convolve(
    graph: Graph,
    x: Value,
    weights: Value,
    *,
    kernel: list[int],
    groups: int,
    op: Any,
    last: bool,
) -> Value:
    count = len(kernel)
    strides, dilations = spread(op.strides, count), spread(op.dilation_rate, count)
    stored = enter(graph, x, last=last)
    assert x.shape is not None
    sizes = list(x.shape[1:-1] if last else x.shape[2:])
    attrs: dict[str, Any] = {"kernel_shape": kernel}
    if any(s != 1 for s in strides):
        attrs["strides"] = strides
    if any(d != 1 for d in dilations):
        attrs["dilations"] = dilations
    if groups != 1:
        attrs["group"] = groups
    attrs |= padding_attributes(op.padding, sizes, kernel=kernel, strides=strides, dilations=dilations)
    names, _ = graph.raw("Conv", [stored, weights], attrs=attrs)
    return leave(graph, names[0], x, last=last)


@register_lowering("Conv")
def conv(graph: Graph, op: Any, inputs: Any, kernel: Any) -> Value:
    """Convolution in 1, 2 or 3 dimensions, grouped when the kernel has fewer input channels than the images."""
    x, k = together(graph, inputs, kernel)
    last = channels_last(op.data_format)
    assert x.shape is not None
    assert k.shape is not None
    channels = int(x.shape[-1] if last else x.shape[1])
    rank = k.rank
    weights = graph.transpose(k, (rank - 1, rank - 2, *range(rank - 2)))
    sizes = [int(s) for s in k.shape[:-2]]
    groups = channels // int(k.shape[-2])
    return _convolve(graph, x, weights, kernel=sizes, groups=groups, op=op, last=last)


def _depthwise_weights(graph: Graph, k: Value) -> Value:
    """(spatial, C, M) becomes (C * M, 1, spatial)."""
    assert k.shape is not None
    rank = k.rank
    moved = graph.transpose(k, (rank - 2, rank - 1, *range(rank - 2)))
    return graph.reshape(moved, (int(k.shape[-2]) * int(k.shape[-1]), 1, *(int(s) for s in k.shape[:-2])))


@register_lowering("DepthwiseConv")
def depthwise_conv(graph: Graph, op: Any, inputs: Any, kernel: Any) -> Value:
    """One group for each channel."""
    x, k = together(graph, inputs, kernel)
    assert k.shape is not None
    sizes, groups = [int(s) for s in k.shape[:-2]], int(k.shape[-2])
    last = channels_last(op.data_format)
    return _convolve(graph, x, _depthwise_weights(graph, k), kernel=sizes, groups=groups, op=op, last=last)


@register_lowering("SeparableConv")
def separable_conv(graph: Graph, op: Any, inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any) -> Value:
    """A depthwise convolution, then one with a kernel of size 1."""
    x, k, p = together(graph, inputs, depthwise_kernel, pointwise_kernel)
    last = channels_last(op.data_format)
    assert k.shape is not None
    sizes, groups = [int(s) for s in k.shape[:-2]], int(k.shape[-2])
    # strides beyond the first are ignored by Keras: it uses one stride for all axes
    middle = _convolve(graph, x, _depthwise_weights(graph, k), kernel=sizes, groups=groups, op=op, last=last)
    weights = graph.transpose(p, (p.rank - 1, p.rank - 2, *range(p.rank - 2)))
    names, _ = graph.raw(
        "Conv", [enter(graph, middle, last=last), weights], attrs={"kernel_shape": [1] * len(sizes)}, name_hint="Conv"
    )
    return leave(graph, names[0], x, last=last)


@register_lowering("ConvTranspose")
def conv_transpose(graph: Graph, op: Any, inputs: Any, kernel: Any) -> Value:
    """Transposed convolution; ``same`` without output padding gives ``size * stride``.

    The full transposed convolution has ``(size - 1) * stride + kernel`` elements. Keras keeps of them a window that
    starts ``left`` elements in; where the window reaches beyond the end, ONNX' ``output_padding`` adds zeros.
    """
    x, k = together(graph, inputs, kernel)
    last = channels_last(op.data_format)
    assert k.shape is not None
    kernel_sizes = [int(s) for s in k.shape[:-2]]
    count = len(kernel_sizes)
    strides, dilations = spread(op.strides, count), spread(op.dilation_rate, count)
    extra: list[int | None] = [None] * count if op.output_padding is None else list(spread(op.output_padding, count))
    before, after, beyond = [], [], []
    for size, stride, dilation, output_padding in zip(kernel_sizes, strides, dilations, extra, strict=True):
        full = (size - 1) * dilation + 1
        if op.padding == "valid":
            left, right = 0, -(max(full, stride) - full if output_padding is None else output_padding)
        else:
            total = full - stride if output_padding is None else full - full % 2 - output_padding
            # 2 * full - 2 - (padding that a plain convolution would need), split with the odd element first
            needed = 2 * (full - 1) - total
            left = full - 1 - min(needed // 2 + needed % 2, full - 1)
            right = total - left
        before.append(left)
        after.append(max(right, 0))
        beyond.append(max(-right, 0))
    attrs: dict[str, Any] = {"kernel_shape": kernel_sizes, "strides": strides, "dilations": dilations}
    if any(before + after):
        attrs["pads"] = before + after
    late = [0] * count
    for axis in range(count):
        if beyond[axis] >= max(strides[axis], dilations[axis]):
            late[axis], beyond[axis] = beyond[axis], 0
    if any(beyond):
        attrs["output_padding"] = beyond
    weights = graph.transpose(k, (k.rank - 1, k.rank - 2, *range(k.rank - 2)))
    names, _ = graph.raw("ConvTranspose", [enter(graph, x, last=last), weights], attrs=attrs)
    if any(late):
        pads = graph.ints(*([0] * (count + 2)), 0, 0, *late)
        names, _ = graph.raw("Pad", [Value(names[0], x.dtype), pads], attrs={"mode": "constant"})
    return leave(graph, names[0], x, last=last)
