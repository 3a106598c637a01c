"""Steps 8 and 9: hairlines brought to the width of MNIST's strokes, and the ink placed as MNIST places it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from picture_steps.graph_builder import GraphBuilder
from picture_steps.planes import extent, longest_side, stroke_width, total
from picture_steps.resampling import area_weights, both_ways, positions, size_of

if TYPE_CHECKING:
    from picture_steps.graph_builder import Value

THIN = 2.0  # stroke width of the thinner MNIST digits, in pixels of the 20x20 box


def thicken(w: GraphBuilder, foreground: Value) -> Value:
    """Strokes thinner than MNIST's are widened: as many one-pixel dilations as the difference asks for."""
    from onnx import TensorProto, helper

    width = stroke_width(w, foreground)
    unit = w.Div(longest_side(w, foreground), 20)
    missing = w.Mul(w.Sub(w.Mul(unit, THIN), width), 0.5)
    steps = w.Cast(w.Round(w.Max(missing, 0)), to=7)

    b = GraphBuilder("wide_")
    four = b.Unsqueeze("wide_in", b.ints(0, 1))
    b.op(
        "Squeeze",
        b.MaxPool(four, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]),
        b.ints(0, 1),
        name="wide_out",
    )
    b.op("Identity", "wide_go", name="wide_go_out")
    body = helper.make_graph(
        b.nodes,
        "wide",
        [
            helper.make_tensor_value_info("wide_i", TensorProto.INT64, []),
            helper.make_tensor_value_info("wide_go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("wide_in", TensorProto.FLOAT, [None, None]),
        ],
        [
            helper.make_tensor_value_info("wide_go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("wide_out", TensorProto.FLOAT, [None, None]),
        ],
        b.initializers,
    )
    return w.Loop(steps, w.constant(True, "bool"), foreground, body=body)


def center(w: GraphBuilder, foreground: Value, found: Value, *, name: Value) -> None:
    """Ink into the 20x20 box of the 28x28 image, as MNIST was made: whole-pixel shifts, center of mass at (14, 14)."""
    cell = w.Div(longest_side(w, foreground), 20)
    mass = w.Max(total(w, foreground), 1e-6)
    weights = []
    for axis in range(2):
        n = size_of(w, foreground, axis)
        first, last = extent(w, foreground, axis)
        profile = w.ReduceSum(foreground, w.ints(1 - axis), keepdims=0)
        middle = w.Add(positions(w, n), 0.5)
        # in cells from the edge of the box
        mass_center = w.Div(w.Sub(w.Div(total(w, w.Mul(profile, middle)), mass), first), cell)
        cells = w.Div(w.Sub(last, first), cell)
        # Pixel (14, 14) has its middle at 14.5; the box stays inside the image.
        shift = w.Max(w.Min(w.Round(w.Sub(14.5, mass_center)), w.Floor(w.Sub(28, cells))), 0)
        edges = w.Add(first, w.Mul(w.Sub(w.constant(list(range(29))), shift), cell))
        weights.append(area_weights(w, edges, n, axis=axis))
    small = both_ways(w, weights[0], foreground, weights[1])
    top = w.Div(total(w, w.Pow(small, 4)), w.Max(total(w, w.Pow(small, 3)), 1e-9))
    small = w.Min(w.Div(small, w.Max(w.Min(top, 0.9), 0.05)), 1)
    w.op("Where", found, small, w.constant(0), name=name)
