"""Step 5: ruled and squared paper, and frames along the border, subtracted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picture_steps.planes import ink_level, opening, pool, spread_over, total, within
from picture_steps.resampling import both_ways, indices, on_coarse_grid, size_of

if TYPE_CHECKING:
    from picture_steps.graph_builder import GraphBuilder, Size, Value


def without_lines(w: GraphBuilder, lifted: Value, size: Size) -> Value:
    """Ruled and squared paper: thin lines that run from one border of the picture to the other are subtracted."""
    # Both directions are looked for in the same plane: taking out one leaves gaps in the other at every crossing.
    without = []
    for upright in (False, True):
        plane = w.Transpose(lifted, perm=[1, 0]) if upright else lifted
        here = size[::-1] if upright else size
        # Ink counts no more than a line would, so that a line goes on where a stroke crosses it. Widened first, so that
        # a slant of 3 degrees passes a long horizontal opening; what is thick after that is no line.
        level = w.Mul(ink_level(w, lifted), 0.5)
        wide = pool(w, w.Min(plane, level), "MaxPool", 5, 1)
        long = opening(w, wide, 61, axis=1)
        thick = opening(w, long, 13, axis=0)
        ground, long = long, w.Relu(w.Sub(long, thick))
        # Border to border: from each side walk along cells that hold such a line.
        # The walk may cross a thick stroke, but a line begins and ends thin.
        least = w.Max(w.Mul(ink_level(w, lifted), 0.05), 3 / 255)
        strong = w.Greater(ground, least)
        cells, up, across = on_coarse_grid(w, w.Cast(strong, to=1), here)
        cells = w.Cast(w.Greater(pool(w, cells, "MaxPool", 3, 5), 0.15), to=1)
        ends, _, _ = on_coarse_grid(w, w.Cast(w.Greater(long, least), to=1), here)
        ends = w.Mul(cells, w.Cast(w.Greater(pool(w, ends, "MaxPool", 3, 5), 0.15), to=1))
        last = w.Sub(size_of(w, cells, 1), w.constant(1, "int64"))
        column = indices(w, size_of(w, cells, 1))
        both = cells
        for border in (w.constant(0, "int64"), last):
            start = w.Mul(ends, w.Cast(w.Equal(column, border), to=1))
            both = w.Mul(both, spread_over(w, start, cells))
        crossing = w.Cast(w.Greater(both_ways(w, up, pool(w, both, "MaxPool", 3), across), 0.3), to=1)
        line = w.Mul(w.Min(long, plane), crossing)
        # The opening is the line's own level: ink that lies on it is darker and stays.
        # A frame around the picture is as dark as the ink, and gone altogether.
        edge = w.Mul(crossing, w.Cast(w.Greater(long, 0), to=1))
        edge = w.Mul(edge, w.Unsqueeze(w.Sub(1, within(w, here[0], 8)), w.ints(1)))
        plane = w.Mul(w.Relu(w.Sub(plane, w.Mul(line, 1.3))), w.Sub(1, edge))
        cleaned = w.Transpose(plane, perm=[1, 0]) if upright else plane
        # A digit that itself runs from border to border is not paper: it would take nearly all ink with it.
        left = w.Div(total(w, w.Pow(cleaned, 3)), w.Max(total(w, w.Pow(lifted, 3)), 1e-12))
        without.append(w.Where(w.Greater(left, 0.3), cleaned, lifted))
    return w.Min(*without)
