"""Averages over cells and linear interpolation, both as products with matrices of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from picture_steps.graph_builder import GraphBuilder, Size, Value

COARSE = 6  # paper, lines and polarity are looked for on a grid this much coarser


def edges_of(w: GraphBuilder, n_out: Value, n_in: Value) -> Value:
    """Edges of ``n_out`` equal cells over ``n_in`` pixels: float32 ``[n_out + 1]``."""
    steps = w.Cast(w.Range(w.constant(0, "int64"), w.Add(n_out, w.constant(1, "int64")), w.constant(1, "int64")), to=1)
    return w.Mul(steps, w.Div(w.Cast(n_in, to=1), w.Cast(n_out, to=1)))


def area_weights(w: GraphBuilder, edges: Value, n_in: Value, *, axis: int = 0) -> Value:
    """Weights of the average over each cell; a cell outside the pixels weighs them with zero.

    ``[cells, n_in]`` for axis 0, to be multiplied from the left; ``[n_in, cells]`` for axis 1, from the right. Written
    down both ways because onnxruntime fuses a Transpose into the product, with other rounding.
    """
    left = w.Unsqueeze(w.Slice(edges, w.ints(0), w.ints(-1), w.ints(0)), w.ints(1 - axis))
    right = w.Unsqueeze(w.Slice(edges, w.ints(1), w.ints(1 << 30), w.ints(0)), w.ints(1 - axis))
    pixel = w.Unsqueeze(positions(w, n_in), w.ints(axis))
    overlap = w.Relu(w.Sub(w.Min(right, w.Add(pixel, 1)), w.Max(left, pixel)))
    return w.Div(overlap, w.Sub(right, left))


def linear_weights(w: GraphBuilder, n_out: Value, n_in: Value, *, axis: int) -> Value:
    """Weights of linear interpolation between cell centers, flat beyond the outermost; shaped as `area_weights`."""
    edges = edges_of(w, n_out, n_in)
    before, after = (
        w.Slice(edges, w.ints(0), w.ints(-1), w.ints(0)),
        w.Slice(edges, w.ints(1), w.ints(1 << 30), w.ints(0)),
    )
    position = w.Min(w.Max(w.Sub(w.Mul(0.5, w.Add(before, after)), 0.5), 0), w.Sub(w.Cast(n_in, to=1), 1))
    at, cell = w.Unsqueeze(position, w.ints(1 - axis)), w.Unsqueeze(positions(w, n_in), w.ints(axis))
    return w.Relu(w.Sub(1, w.Abs(w.Sub(at, cell))))


def indices(w: GraphBuilder, n: Value) -> Value:
    """0, 1, .. n - 1 as int64."""
    return w.Range(w.constant(0, "int64"), n, w.constant(1, "int64"))


def positions(w: GraphBuilder, n: Value) -> Value:
    """0, 1, .. n - 1 as float32."""
    return w.Cast(indices(w, n), to=1)


def size_of(w: GraphBuilder, plane: Value, axis: int) -> Value:
    """One dimension of a tensor as an int64 scalar."""
    return w.Gather(w.Shape(plane), w.constant(axis, "int64"))


def both_ways(w: GraphBuilder, rows: Value, plane: Value, columns: Value) -> Value:
    """A plane resampled in rows and in columns."""
    return w.MatMul(w.MatMul(rows, plane), columns)


def on_coarse_grid(w: GraphBuilder, plane: Value, size: Size) -> tuple[Value, Value, Value]:
    """The plane on the coarse grid, and the two matrices that bring a coarse plane back."""
    return on_grid(w, plane, size, COARSE)


def on_grid(w: GraphBuilder, plane: Value, size: Size, cell: int) -> tuple[Value, Value, Value]:
    """The plane on a grid of cells this large, and the two matrices that bring a plane of that grid back."""
    back, weights = [], []
    for axis, n in enumerate(size):
        m = w.Div(w.Add(n, w.constant(cell - 1, "int64")), w.constant(cell, "int64"))
        weights.append(area_weights(w, edges_of(w, m, n), n, axis=axis))
        back.append(linear_weights(w, n, m, axis=axis))
    return both_ways(w, weights[0], plane, weights[1]), back[0], back[1]
