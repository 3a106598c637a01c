"""Step 4: shadow and paper subtracted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picture_steps.planes import ink_level, pool, stroke_width, within
from picture_steps.resampling import both_ways, on_coarse_grid

if TYPE_CHECKING:
    from picture_steps.graph_builder import GraphBuilder, Size, Value

# Windows of the opening in coarse cells, each for strokes narrower than so many pixels; the last is 30 % of the longest
# side, more than the thickest stroke people draw.
WINDOWS = ((5, 9.0), (9, 22.0), (17, 1e9))


def without_background(w: GraphBuilder, bright: Value, size: Size) -> Value:
    """What rises above the paper: the plane minus its opening, never negative.

    A first look with the widest window tells how wide the strokes are; the smallest window that is safely wider follows
    shadows best.
    """
    coarse, up, across = on_coarse_grid(w, bright, size)

    def paper(window: int) -> Value:
        low = w.Neg(pool(w, w.Neg(coarse), "MaxPool", window))
        opened = pool(w, low, "MaxPool", window)
        return pool(w, opened, "AveragePool", window // 2 | 1)

    widest = paper(WINDOWS[-1][0])
    first = w.Relu(w.Sub(bright, both_ways(w, up, widest, across)))
    core = w.Cast(w.Greater(first, w.Mul(ink_level(w, first), 0.5)), to=1)
    # The thin lines of a frame around the picture say nothing about the strokes inside.
    for axis, n in enumerate(size):
        core = w.Mul(core, w.Unsqueeze(within(w, n, 8), w.ints(1 - axis)))
    width = stroke_width(w, core)
    chosen = widest
    for window, limit in reversed(WINDOWS[:-1]):
        chosen = w.Where(w.Less(width, limit), paper(window), chosen)
    return w.Relu(w.Sub(bright, both_ways(w, up, chosen, across)))
