"""Whether ink has so nearly the shape of an operator or a bracket that mnistkit's reader may take it for one.

`mnistkit.digits.reader.signs` tells signs by connected ink. Here all ink in a digit's box is measured, and each limit
is wider: what passes is in doubt, not a sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mnistkit.digits.number_graph.boxes import median

if TYPE_CHECKING:
    from mnistkit.digits.number_graph.graph import Graph
    from mnistkit.digits.number_graph.tensor import Tensor

_INK: Final = 0.3  # as in mnistkit.digits.segmentation
_SHARE: Final = 0.2  # of the box: how near to its axes or diagonals ink lies
_ON_AXES, _ON_DIAGONALS = 0.8, 0.77
_DOT_WIDE, _DOT_HIGH = 0.38, 0.56  # heights of a digit
_DASH_SLOPE, _DASH_HIGH = 0.5, 0.08
_BRACKET_WIDE, _BRACKET_HIGH = 0.6, 0.68
_THIN, _HOLLOW, _BENT = 0.36, 0.08, 0.045


def may_be_signs(g: Graph, part: Tensor, height: Tensor) -> list[Tensor]:
    """Whether ink may be an operator, and whether it may be a bracket: two bools.

    Args:
        g: The graph.
        part: Of one digit's box, float32 ``[rows, columns]``; has some ink.
        height: Of the usual digit, in cells.
    """
    inked = (part > _INK).cast("float32")
    rows, columns = inked.max(1), inked.max(0)
    (top, bottom), (left, right) = _ends(g, rows), _ends(g, columns)
    inked = inked.cut(top, bottom, 0).cut(left, right, 1)
    deep, across = inked.size(0).cast("float32"), inked.size(1).cast("float32")
    high, wide = deep / height, across / height
    total = inked.sum().most(1)
    y = (g.arange(inked.size(0)).cast("float32") / (deep - 1).most(1) - 0.5).apply("Abs").unsqueeze(1)
    x = (g.arange(inked.size(1)).cast("float32") / (across - 1).most(1) - 0.5).apply("Abs").unsqueeze(0)
    on_axes = (inked * ((x < _SHARE) | (y < _SHARE)).cast("float32")).sum() / total
    on_diagonals = (inked * ((x - y).apply("Abs") < _SHARE).cast("float32")).sum() / total
    in_parts = inked.max(1).min().equals(0)
    is_dot = (wide <= _DOT_WIDE) & (high <= _DOT_HIGH)
    is_dash = high <= wide * _DASH_SLOPE + _DASH_HIGH
    operator = (on_axes > _ON_AXES) | (on_diagonals > _ON_DIAGONALS) | is_dot | is_dash | in_parts
    bracket = (wide < _BRACKET_WIDE) & (high > _BRACKET_HIGH) & ~in_parts & _is_bent(g, inked, height)
    return [operator, bracket]


def _is_bent(g: Graph, inked: Tensor, height: Tensor) -> Tensor:
    """Whether ink is one thin stroke from top to bottom that is not straight."""
    widths = inked.sum(1)
    first = inked.argmax(1).cast("float32")
    column = g.arange(inked.size(1)).cast("float32").unsqueeze(0)
    last = (inked * column).max(1)
    thin = (median(g, widths) <= height * _THIN) & (median(g, last - first + 1 - widths) <= height * _HOLLOW)
    count = inked.size(0)
    middle, y = (first + last) / 2, g.arange(count).cast("float32")
    from_y = y - y.mean()
    slope = (from_y * (middle - middle.mean())).sum() / (from_y * from_y).sum().most(1e-6)
    rest = middle - middle.mean() - slope * from_y
    third = (count // 3).most(1)
    ends = (rest.cut(0, third).mean() + rest.cut(-third, count).mean()) / 2
    between = g.join([rest.cut(third, -third), ends.reshape(1)]).mean()
    return thin & ((between - ends).apply("Abs") > height * _BENT)


def _ends(g: Graph, some: Tensor) -> tuple[Tensor, Tensor]:
    """The first place with ink and one past the last."""
    place = g.arange(some.size())
    last = (place * some.cast("int64")).max() + 1
    return some.argmax(0), last
