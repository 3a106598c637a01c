"""Step 6: noise measured, ink stretched to 0..1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picture_steps.planes import ink_level, pool, total
from picture_steps.resampling import both_ways, on_coarse_grid

if TYPE_CHECKING:
    from picture_steps.graph_builder import GraphBuilder, Size, Value


def foreground_of(w: GraphBuilder, lifted: Value, size: Size) -> tuple[Value, Value, Value]:
    """Ink stretched to 0..1 with the paper at 0; the same without what may be noise; whether there is any (bool)."""
    lifted = evened(w, lifted, size)
    peak = ink_level(w, lifted)
    # Paper: everything at some distance from ink. Its mean and spread say how low a stroke's edge may reach.
    near_ink = pool(w, w.Cast(w.Greater(lifted, w.Mul(peak, 0.4)), to=1), "MaxPool", 9)
    paper = w.Sub(1, near_ink)
    area = w.Max(total(w, paper), 1)
    mean = w.Div(total(w, w.Mul(lifted, paper)), area)
    spread = w.Sqrt(w.Div(total(w, w.Mul(w.Pow(w.Sub(lifted, mean), 2), paper)), area))
    ground = w.Min(w.Add(mean, spread), w.Mul(peak, 0.4))
    floor = w.Min(w.Max(w.Add(mean, w.Mul(spread, 4)), w.Mul(peak, 0.1)), w.Mul(peak, 0.5))
    found = w.And(w.Greater(peak, w.Add(mean, w.Mul(spread, 4))), w.Greater(peak, 6 / 255))
    white = w.Max(w.Sub(w.Mul(peak, 1.05), ground), 1e-6)
    # Paper below the floor is gone altogether; above it the strokes keep their own soft edges.
    kept = w.Where(w.Greater(lifted, floor), w.Div(w.Relu(w.Sub(lifted, ground)), white), 0)
    # On clean paper all ink is sure; where shadows and lines were left, only what stands well above them is.
    least = w.Min(w.Mul(w.Add(mean, w.Mul(spread, 4)), 1.5), w.Mul(peak, 0.5))
    return w.Min(kept, 1), w.Where(w.Greater(lifted, least), w.Min(kept, 1), 0), found


def evened(w: GraphBuilder, lifted: Value, size: Size) -> Value:
    """Ink in the shade as strong as ink in the light, up to twice; measured where there is ink, as `ink_level` is."""
    peak = ink_level(w, lifted)
    cubes, up, across = on_coarse_grid(w, w.Pow(lifted, 3), size)
    squares, _, _ = on_coarse_grid(w, w.Pow(lifted, 2), size)
    local = w.Div(pool(w, cubes, "AveragePool", 9), w.Max(pool(w, squares, "AveragePool", 9), 1e-9))
    gain = w.Where(w.Greater(local, w.Mul(peak, 0.3)), w.Div(peak, w.Max(local, w.Mul(peak, 0.5))), 1)
    return w.Mul(lifted, w.Max(both_ways(w, up, gain, across), 1))
