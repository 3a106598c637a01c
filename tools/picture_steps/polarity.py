"""Steps 2 and 3: one gray plane from color and transparency, turned so that ink is bright."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picture_steps.planes import mean, pool
from picture_steps.resampling import both_ways, on_coarse_grid

if TYPE_CHECKING:
    from picture_steps.graph_builder import GraphBuilder, Size, Value

LUMA = [0.299, 0.587, 0.114]  # ITU-R BT.601


def gray_along(w: GraphBuilder, color: Value, direction: Value) -> Value:
    """``[3, h, w]`` seen along a direction in color space: ``[h, w]``."""
    return w.ReduceSum(w.Mul(color, w.Reshape(direction, w.ints(3, 1, 1))), w.ints(0), keepdims=0)


def flatten(w: GraphBuilder, planes: Value) -> Value:
    """One gray plane from color (times alpha) and alpha."""
    color, alpha = w.ops("Split", planes, w.ints(3, 1), names=w.fresh(2), axis=0)
    visible = w.Max(mean(w, alpha), 1e-6)
    luma = gray_along(w, color, w.constant(LUMA))
    alpha2 = w.Squeeze(alpha, w.ints(0))
    typical = w.Div(mean(w, luma), visible)
    # What the visible part looks like: one even color means the shape is in the transparency alone.
    solid = w.Div(luma, w.Max(alpha2, 1e-3))
    spread = w.Sqrt(w.Div(mean(w, w.Mul(alpha2, w.Pow(w.Sub(solid, typical), 2))), visible))
    mean_color = w.Div(w.ReduceMean(color, axes=[1, 2], keepdims=1), visible)
    page = w.Where(w.Greater(spread, 0.08), mean_color, w.Cast(w.Less(typical, 0.5), to=1))
    page = erased_page(w, page, solid=solid, alpha=alpha2, visible=visible)
    shown = w.Add(color, w.Mul(page, w.Sub(1, alpha)))
    # The direction in color space along which the picture varies most, found from luma by two steps of power
    # iteration: yellow on white differs in blue alone.
    centered = w.Reshape(w.Sub(shown, w.ReduceMean(shown, axes=[1, 2], keepdims=1)), w.ints(3, -1))
    pairs = w.Mul(w.Unsqueeze(centered, w.ints(0)), w.Unsqueeze(centered, w.ints(1)))
    covariance = w.ReduceMean(pairs, axes=[2], keepdims=0)
    direction = w.constant([[v] for v in LUMA])
    for _ in range(2):
        direction = w.MatMul(covariance, direction)
        direction = w.Div(direction, w.Max(w.ReduceSum(w.Abs(direction), keepdims=1), 1e-9))
    return gray_along(w, shown, direction)


def erased_page(w: GraphBuilder, page: Value, *, solid: Value, alpha: Value, visible: Value) -> Value:
    """The page behind a drawing, white or black where an eraser has painted in that color over a transparent canvas.

    The stripes of an eraser are as opaque as ink. Ink is dark and its page white, unless there is twice as much white
    beside black. What covers most of the canvas is no drawing.
    """

    def share(where: Value) -> Value:
        return w.Div(mean(w, w.Mul(alpha, w.Cast(where, to=1))), visible)

    white, dark, black = share(w.Greater(solid, 0.9)), share(w.Less(solid, 0.6)), share(w.Less(solid, 0.1))
    drawn = w.Less(visible, 0.4)
    mostly_white = w.Greater(white, w.Mul(dark, 2))
    on_white = w.And(w.Greater(w.Min(white, dark), 0.03), w.Not(mostly_white))
    on_black = w.And(w.Greater(black, 0.03), mostly_white)
    page = w.Where(w.And(drawn, on_white), 1, page)
    return w.Where(w.And(drawn, on_black), 0, page)


def ink_bright(w: GraphBuilder, gray: Value, size: Size) -> Value:
    """Turned so that ink is bright: ink is the rarer side, and the border is paper."""
    coarse, up, across = on_coarse_grid(w, gray, size)
    around = pool(w, coarse, "AveragePool", 27)
    detail = w.Sub(gray, both_ways(w, up, around, across))
    second = w.Max(mean(w, w.Mul(detail, detail)), 1e-9)
    skew = w.Div(mean(w, w.Pow(detail, 3)), w.Pow(second, 1.5))
    rings = []
    for axis, n in enumerate(size):
        # A little inside, where a frame drawn around the picture no longer counts.
        first = w.Div(n, w.constant(20, "int64"))
        both = (first, w.Sub(w.Sub(n, w.constant(1, "int64")), first))
        rings += [w.Reshape(w.Gather(gray, index, axis=axis), w.ints(-1)) for index in both]
    border = w.Concat(*rings, axis=0)
    average = mean(w, gray)
    deviation = w.Sqrt(w.Max(mean(w, w.Pow(w.Sub(gray, average), 2)), 1e-9))
    frame = w.Div(w.Sub(mean(w, border), average), deviation)
    dark_ink = w.Less(w.Sub(skew, frame), 0)
    return w.Where(dark_ink, w.Neg(gray), gray)
