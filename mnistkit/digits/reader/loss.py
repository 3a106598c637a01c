"""What the net is to learn, from boxes: where centers are, and there the class, the size and the way up.

Sources: Zhou et al. 2019, "Objects as Points" (the heat map and its focal loss); Tian et al. 2019, "FCOS" (every cell
near a center learns its box).
"""

from __future__ import annotations

from typing import Any, Final

from mnistkit.core.keras_backend import load_keras
from mnistkit.digits.reader.canvas import IGNORED
from mnistkit.digits.reader.net import OFFSET_UNIT, STRIDE, UNIT, Maps

_NEAR: Final = 0.4  # of the heat: cells that learn the box and the class
_SPREAD: Final = 0.13  # of a digit's size: standard deviation of its heat
_LEAST_SPREAD: Final = 1.4  # pixels


def reader_loss(boxes: Any, maps: Any) -> Any:
    """The loss of a batch.

    Args:
        boxes: float32 ``[batch, boxes, 6]``, as `mnistkit.digits.reader.pages.Page` has them.
        maps: The net's answer, ``[batch, rows, columns, 19]``.

    Returns:
        A scalar.
    """
    ops = load_keras().ops
    boxes, maps = ops.convert_to_tensor(boxes, "float32"), ops.convert_to_tensor(maps)
    shape = ops.shape(maps)
    batch, rows, columns = shape[0], shape[1], shape[2]
    maps = ops.reshape(ops.cast(maps, "float32"), (batch, rows * columns, Maps.COUNT))
    x = (ops.arange(columns, dtype="float32") + 0.5) * STRIDE
    y = (ops.arange(rows, dtype="float32") + 0.5) * STRIDE
    x = ops.reshape(ops.broadcast_to(x[None, :], (rows, columns)), (1, rows * columns, 1))
    y = ops.reshape(ops.broadcast_to(y[:, None], (rows, columns)), (1, rows * columns, 1))
    center_x, center_y, wide, high, kind = (boxes[:, None, :, i] for i in range(5))
    is_digit = ops.cast(kind >= 0, "float32")
    is_ignored = ops.cast(ops.abs(kind - IGNORED) < 0.5, "float32")  # noqa: PLR2004
    # Heat is 1 in the cell that has the center, and falls from there.
    heat_x = (ops.floor(center_x / STRIDE) + 0.5) * STRIDE - x
    heat_y = (ops.floor(center_y / STRIDE) + 0.5) * STRIDE - y
    spread_x = ops.maximum(wide * _SPREAD, _LEAST_SPREAD)
    spread_y = ops.maximum(high * _SPREAD, _LEAST_SPREAD)
    each = ops.exp(-0.5 * ((heat_x / spread_x) ** 2 + (heat_y / spread_y) ** 2)) * is_digit
    heat = ops.max(each, axis=2)
    within = ops.cast(ops.abs(x - center_x) <= wide / 2 + STRIDE, "float32")
    within = within * ops.cast(ops.abs(y - center_y) <= high / 2 + STRIDE, "float32")
    judged = 1.0 - ops.max(within * is_ignored, axis=2)
    nearest = ops.argmax(each, axis=2)
    target = ops.take_along_axis(boxes, ops.repeat(nearest[:, :, None], 6, axis=2), axis=1)

    # Focal loss: an easy cell counts little.
    logit = maps[:, :, Maps.OBJECT]
    chance = ops.sigmoid(logit)
    is_center = ops.cast(heat > 0.999, "float32")  # noqa: PLR2004
    yes = ops.softplus(-logit) * (1 - chance) ** 2
    no = ops.softplus(logit) * chance**2 * (1 - heat) ** 4
    found = ops.sum(is_center * yes + (1 - is_center) * no * judged) / (ops.sum(is_center) + 1.0)

    weight = heat * ops.cast(heat > _NEAR, "float32")
    upright = weight * ops.cast(target[:, :, 5] < 0.5, "float32")  # noqa: PLR2004
    classes = ops.one_hot(ops.cast(ops.maximum(target[:, :, 4], 0), "int32"), 10)
    scores = ops.log_softmax(maps[:, :, Maps.CLASS], axis=-1)
    named = -ops.sum(scores * classes, axis=-1)
    named = ops.sum(named * upright) / (ops.sum(upright) + 1.0)
    ways = ops.one_hot(ops.cast(ops.maximum(target[:, :, 5], 0), "int32"), 4)
    turned = -ops.sum(ops.log_softmax(maps[:, :, Maps.TURN], axis=-1) * ways, axis=-1)
    size = ops.log(ops.maximum(target[:, :, 2:4], 1.0) / UNIT)
    sized = ops.sum(ops.abs(maps[:, :, Maps.SIZE] - size), axis=-1)
    away = (target[:, :, 0:2] - ops.concatenate([x, y], axis=2)) / OFFSET_UNIT
    moved = ops.sum(ops.abs(maps[:, :, Maps.OFFSET] - away), axis=-1)
    boxed = ops.sum((0.5 * turned + 0.5 * sized + 0.5 * moved) * weight) / (ops.sum(weight) + 1.0)
    return found + named + boxed
