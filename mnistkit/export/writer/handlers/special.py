"""Operations written as other operations of ``keras.ops``."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from mnistkit.export.writer.registry import register_rewrite


@register_rewrite("Arctan2")
def arctan2(_: Any, x1: Any, x2: Any) -> Any:
    """The angle of ``(x2, x1)``: ``arctan`` of the ratio, moved by π on the left half plane."""
    up = ops.where(ops.less(x1, 0), -math.pi, math.pi)
    safe = ops.where(ops.equal(x2, 0), 1.0, x2)
    angle = ops.arctan(ops.divide(x1, safe))
    angle = ops.where(ops.less(x2, 0), ops.add(angle, up), angle)
    vertical = ops.where(ops.equal(x1, 0), 0.0, ops.multiply(up, 0.5))
    return ops.where(ops.equal(x2, 0), vertical, angle)
