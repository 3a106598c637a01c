"""The net: fully convolutional, so that it reads pictures of any size.

pixels uint8 ``[batch, rows, columns, 2]``  ->  float32 ``[batch, rows / 4, columns / 4, 19]``: what `Maps` names.
Rows and columns are multiples of 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mnistkit.core.keras_backend import load_keras
from mnistkit.digits.model import seed_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

STRIDE: Final = 4
"""Pixels from one cell of the answer to the next."""
MULTIPLE: Final = 32
"""Rows and columns of the input are multiples of this."""
UNIT: Final = 32.0
"""Pixels: sizes are given as the logarithm of their share of this."""
OFFSET_UNIT: Final = 8.0
"""Pixels: the way from a cell's center to the digit's center is given in these."""


class Maps:
    """Places in the last axis of the net's answer."""

    OBJECT: Final = 0  # logit: a digit's center is here
    CLASS: Final = slice(1, 11)  # logits of the ten digits
    SIZE: Final = slice(11, 13)  # log of width and height
    OFFSET: Final = slice(13, 15)  # to the center: x, y
    TURN: Final = slice(15, 19)  # logits: by how many quarter turns counterclockwise the page lies
    COUNT: Final = 19


_WIDTHS: Final = (24, 40, 64, 88, 96)  # at strides 2, 4, 8, 16, 32
_NECK: Final = 56


def build_reader(*, seed: int = 1337, widths: Sequence[int] = _WIDTHS) -> Any:
    """The uncompiled ``keras.Model`` with seeded weights, the same on every backend."""
    keras = load_keras()
    layers, ops = keras.layers, keras.ops

    def conv(x: Any, filters: int, size: int = 3, *, strides: int = 1, relu: bool = True) -> Any:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.97)(x)
        return layers.ReLU()(x) if relu else x

    def block(x: Any, filters: int) -> Any:
        return layers.ReLU()(layers.Add()([x, conv(conv(x, filters), filters, relu=False)]))

    pixels = keras.Input((None, None, 2), dtype="uint8", name="pixels")
    x = ops.cast(pixels, "float32") / 255.0
    # Contrast: a pale pencil on white paper fills the same range as a marker.
    x = x - ops.mean(x, axis=(1, 2, 3), keepdims=True)
    x = x / (ops.sqrt(ops.mean(x * x, axis=(1, 2, 3), keepdims=True)) + 0.02)
    x = conv(x, widths[0], strides=2)
    fine = block(conv(x, widths[1], strides=2), widths[1])
    middle = block(block(conv(fine, widths[2], strides=2), widths[2]), widths[2])
    coarse = block(block(conv(middle, widths[3], strides=2), widths[3]), widths[3])
    widest = block(conv(coarse, widths[4], strides=2), widths[4])
    up = layers.UpSampling2D(2, interpolation="nearest")
    x = conv(
        layers.Add()(
            [conv(widest, _NECK, 1, relu=False), layers.AveragePooling2D(2)(conv(coarse, _NECK, 1, relu=False))]
        ),
        _NECK,
    )
    x = conv(layers.Add()([up(x), conv(coarse, _NECK, 1, relu=False)]), _NECK)
    x = conv(layers.Add()([layers.UpSampling2D(2)(x), conv(middle, _NECK, 1, relu=False)]), _NECK)
    x = layers.Add()([layers.UpSampling2D(2)(x), conv(fine, _NECK, 1, relu=False)])
    x = conv(conv(x, _NECK), _NECK)
    x = conv(x, 2 * _NECK, 1)
    maps = layers.Conv2D(Maps.COUNT, 1, name="maps", dtype="float32")(x)
    model = keras.Model(pixels, maps, name="reader")
    seed_weights(model, seed)
    bias = model.get_layer("maps").bias
    start = keras.ops.convert_to_numpy(bias).copy()
    start[Maps.OBJECT] = -4.6  # nearly all cells have no digit's center
    bias.assign(start)
    return model
