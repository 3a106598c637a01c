"""Image operations made of others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

from mnistkit.export.native.decompositions.elementwise import real
from mnistkit.export.native.registry import register_decomposition


def _channel_axis(op: Any) -> int:
    return -1 if op.data_format == "channels_last" else -3


@register_decomposition("RGBToGrayscale")
def rgb_to_grayscale(op: Any, images: Any) -> Any:
    """Luminance by the weights of ITU-R BT.601."""
    axis = _channel_axis(op)
    shape = [1, 1, 3] if axis == -1 else [3, 1, 1]
    weights = np.asarray([0.2989, 0.5870, 0.1140], "float32").reshape(shape)
    images = ops.convert_to_tensor(images)
    total = ops.sum(real(images) * ops.cast(weights, real(images).dtype), axis=axis, keepdims=True)
    return ops.cast(total, images.dtype)


@register_decomposition("PadImages")
def pad_images(op: Any, images: Any) -> Any:
    """Zeros around images, to given widths or a given size."""
    height, width = (-3, -2) if op.data_format == "channels_last" else (-2, -1)
    rank = len(images.shape)
    top, bottom = _around(op.top_padding, op.bottom_padding, op.target_height, images.shape[height], sign=1)
    left, right = _around(op.left_padding, op.right_padding, op.target_width, images.shape[width], sign=1)
    widths: list[Any] = [[0, 0] for _ in range(rank)]
    widths[height], widths[width] = [top, bottom], [left, right]
    return ops.pad(images, widths)


@register_decomposition("CropImages")
def crop_images(op: Any, images: Any) -> Any:
    """A window of images, by widths or by size."""
    height, width = (-3, -2) if op.data_format == "channels_last" else (-2, -1)
    rank = len(images.shape)
    top, bottom = _around(op.top_cropping, op.bottom_cropping, op.target_height, images.shape[height], sign=-1)
    left, right = _around(op.left_cropping, op.right_cropping, op.target_width, images.shape[width], sign=-1)
    key: list[Any] = [slice(None)] * rank
    key[height] = slice(top, images.shape[height] - bottom)
    key[width] = slice(left, images.shape[width] - right)
    return images[tuple(key)]


def _around(before: Any, after: Any, target: Any, size: Any, *, sign: int) -> tuple[Any, Any]:
    """Complete (before, after) from the size that is wanted."""
    if before is None and after is None and target is None:
        return 0, 0
    if before is None:
        before = sign * (target - size) - after
    elif after is None:
        after = sign * (target - size) - before
    return before, after


@register_decomposition("ExtractPatches")
def extract_patches(op: Any, images: Any) -> Any:
    """Patches as channels: a convolution with a kernel that copies (rows, columns, channels) in this order."""
    size = list(op.size)
    count = len(size)
    strides = op.strides if op.strides is not None else size
    last = op.data_format == "channels_last"
    single = len(images.shape) == count + 1
    if single:
        images = ops.expand_dims(images, 0)
    channels = int(images.shape[-1] if last else images.shape[1])
    features = math.prod(size) * channels
    kernel = np.eye(features, dtype="float32").reshape([*size, channels, features])
    given = images.dtype
    out = ops.conv(
        real(images),
        ops.convert_to_tensor(kernel, dtype=real(images).dtype),
        strides=strides,
        padding=op.padding,
        data_format=op.data_format,
        dilation_rate=op.dilation_rate,
    )
    out = ops.cast(out, given)
    return ops.squeeze(out, 0) if single else out


@register_decomposition("RGBToHSV")
def rgb_to_hsv(op: Any, images: Any) -> Any:
    """Hue, saturation, value."""
    axis = _channel_axis(op)
    r, g, b = ops.split(images, 3, axis=axis)
    value = ops.maximum(ops.maximum(r, g), b)
    span = value - ops.minimum(ops.minimum(r, g), b)
    safe_value = ops.where(ops.greater(value, 0), value, ops.ones_like(value))
    safe_span = ops.where(ops.greater(span, 0), span, ops.ones_like(span))
    saturation = ops.where(ops.greater(value, 0), span / safe_value, ops.zeros_like(value))
    unit = 1.0 / (6.0 * safe_span)
    hue = ops.where(
        ops.equal(value, r),
        unit * (g - b),
        ops.where(ops.equal(value, g), unit * (b - r) + 2.0 / 6.0, unit * (r - g) + 4.0 / 6.0),
    )
    hue = ops.where(ops.greater(span, 0), hue, ops.zeros_like(hue))
    hue = ops.where(ops.less(hue, 0), hue + 1.0, hue)
    return ops.concatenate([hue, saturation, value], axis=axis)


@register_decomposition("HSVToRGB")
def hsv_to_rgb(op: Any, images: Any) -> Any:
    """Red, green, blue."""
    axis = _channel_axis(op)
    hue, saturation, value = ops.split(images, 3, axis=axis)
    turns = hue * 6.0
    r = ops.clip(ops.abs(turns - 3.0) - 1.0, 0.0, 1.0)
    g = ops.clip(2.0 - ops.abs(turns - 2.0), 0.0, 1.0)
    b = ops.clip(2.0 - ops.abs(turns - 4.0), 0.0, 1.0)
    keep = 1.0 - saturation
    return ops.concatenate([(keep + saturation * c) * value for c in (r, g, b)], axis=axis)
