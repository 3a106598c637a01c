"""Step 1: area averages with the longest side at the working size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from picture_steps.graph_builder import GraphBuilder
from picture_steps.resampling import area_weights, edges_of, size_of

if TYPE_CHECKING:
    import onnx

    from picture_steps.graph_builder import Size, Value

BAND = 1 << 19  # input values handled at a time, so that a photo never becomes one big float array


def reduce(w: GraphBuilder, picture: Value, side: Value | int) -> tuple[Value, Size]:  # noqa: PLR0915 - one loop body, told in one go
    """Area averages with the longest side at ``side``: float32 ``[4, h, w]`` in [0, 1], color times alpha, and alpha.

    Works through the picture in bands of rows, so that memory stays small beside the picture itself. The working size
    comes back too: every later plane has it, and what is computed from it is then written into the graph once.
    """
    from onnx import TensorProto, helper

    one = w.constant(1, "int64")
    height, width, channels = (size_of(w, picture, axis) for axis in range(3))
    longest = w.Cast(w.Max(height, width), to=1)

    def scaled(n: Value) -> Value:
        return w.Max(w.Cast(w.Round(w.Div(w.Mul(w.Cast(n, to=1), side), longest)), to=7), one)

    rows, columns = scaled(height), scaled(width)
    see_through = w.Equal(w.Mod(channels, w.constant(2, "int64")), w.constant(0, "int64"))
    values = w.Mul(w.Mul(height, width), channels)
    bands = w.Min(w.Add(w.Div(values, w.constant(BAND, "int64")), one), rows)
    per_band = w.Div(w.Sub(w.Add(rows, bands), one), bands)
    column_weights = area_weights(w, edges_of(w, columns, width), width, axis=1)
    all_edges = edges_of(w, rows, height)

    b = GraphBuilder("band_")
    first = b.Mul("band_i", per_band)
    last = b.Min(b.Add(first, per_band), rows)
    first = b.Min(first, rows)
    # A band may start past the end when the rows do not divide; it then repeats the last row and is cut off below.
    wanted = b.Min(
        b.Add(first, b.Range(b.constant(0, "int64"), b.Add(per_band, b.constant(1, "int64")), b.constant(1, "int64"))),
        rows,
    )
    edges = b.Gather(all_edges, wanted)
    start = b.Cast(b.Floor(b.Gather(all_edges, first)), to=7)
    stop = b.Min(b.Cast(b.Ceil(b.Gather(all_edges, last)), to=7), height)
    start = b.Min(start, b.Sub(height, b.constant(1, "int64")))
    stop = b.Max(stop, b.Add(start, b.constant(1, "int64")))
    block = b.Slice(picture, b.Unsqueeze(start, b.ints(0)), b.Unsqueeze(stop, b.ints(0)), b.ints(0))
    block = b.If(see_through, then_branch=_premultiplied(block), else_branch=_unchanged(block))  # [k, width, channels]
    depth = b.Sub(stop, start)
    # Cells past the end have zero width: give them one, their rows are cut off.
    offset = b.Sub(edges, b.Cast(start, to=1))
    left = b.Unsqueeze(b.Slice(offset, b.ints(0), b.ints(-1), b.ints(0)), b.ints(1))
    right = b.Unsqueeze(b.Slice(offset, b.ints(1), b.ints(1 << 30), b.ints(0)), b.ints(1))
    pixel = b.Cast(b.Range(b.constant(0, "int64"), depth, b.constant(1, "int64")), to=1)
    weights = b.Relu(b.Sub(b.Min(right, b.Add(pixel, 1)), b.Max(left, pixel)))
    weights = b.Div(weights, b.Max(b.Sub(right, left), 1e-6))
    flat = b.Reshape(block, b.Concat(b.Unsqueeze(depth, b.ints(0)), b.ints(-1), axis=0))
    band = b.MatMul(weights, flat)  # [per_band, width * channels]
    shape = [b.Unsqueeze(n, b.ints(0)) for n in (per_band, width, channels)]
    band = b.Transpose(b.Reshape(band, b.Concat(*shape, axis=0)), perm=[0, 2, 1])
    rows_of_planes = b.Reshape(band, b.Concat(b.ints(-1), b.Unsqueeze(width, b.ints(0)), axis=0))
    shape = [b.Unsqueeze(n, b.ints(0)) for n in (per_band, channels, columns)]
    b.op("Reshape", b.MatMul(rows_of_planes, column_weights), b.Concat(*shape, axis=0), name="band_out")
    b.op("Identity", "band_go", name="band_go_out")
    body = helper.make_graph(
        b.nodes,
        "band",
        [
            helper.make_tensor_value_info("band_i", TensorProto.INT64, []),
            helper.make_tensor_value_info("band_go", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("band_go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("band_out", TensorProto.FLOAT, [None, None, None]),
        ],
        b.initializers,
    )
    stack = w.Loop(bands, w.constant(True, "bool"), body=body)  # [bands, per_band, channels, columns]
    shape = [w.ints(-1), *(w.Unsqueeze(n, w.ints(0)) for n in (channels, columns))]
    stack = w.Slice(w.Reshape(stack, w.Concat(*shape, axis=0)), w.ints(0), w.Unsqueeze(rows, w.ints(0)), w.ints(0))
    stack = w.Transpose(stack, perm=[1, 0, 2])
    # Color and alpha out of 1 to 4 channels: a table per channel count, four rows cut to those there are.
    table: list[Any] = [
        [[1, 1, 1, 0]],
        [[1, 1, 1, 0], [0, 0, 0, 1]],
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]],
        np.eye(4),
    ]
    padded = np.stack([np.pad(np.transpose(rows), ((0, 0), (0, 4 - len(rows)))) for rows in table])
    which = w.Sub(channels, one)
    spread = w.Slice(w.Gather(w.constant(padded), which), w.ints(0), w.Unsqueeze(channels, w.ints(0)), w.ints(1))
    opaque = w.Gather(w.constant([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]), which)
    flat = w.MatMul(
        w.Div(spread, 255),
        w.Reshape(stack, w.Concat(w.Unsqueeze(channels, w.ints(0)), w.ints(-1), axis=0)),
    )
    planes = w.Reshape(flat, w.Concat(w.ints(4), w.Unsqueeze(rows, w.ints(0)), w.Unsqueeze(columns, w.ints(0)), axis=0))
    return w.Add(planes, w.Reshape(opaque, w.ints(4, 1, 1))), (rows, columns)


def _premultiplied(block: Value) -> onnx.GraphProto:
    """Color times alpha: what is transparent has no say in an average."""
    b = GraphBuilder("alpha_")
    block = b.Cast(block, to=1)
    alpha = b.Div(b.Slice(block, b.ints(-1), b.ints(1 << 30), b.ints(2)), 255)
    color = b.Slice(block, b.ints(0), b.ints(-1), b.ints(2))
    b.op("Concat", b.Mul(color, alpha), b.Mul(alpha, 255), name="alpha_out", axis=2)
    return _branch(b, "alpha_out")


def _unchanged(block: Value) -> onnx.GraphProto:
    b = GraphBuilder("opaque_")
    b.op("Cast", block, name="opaque_out", to=1)
    return _branch(b, "opaque_out")


def _branch(b: GraphBuilder, out: Value) -> onnx.GraphProto:
    from onnx import TensorProto, helper

    return helper.make_graph(
        b.nodes, out, [], [helper.make_tensor_value_info(out, TensorProto.FLOAT, [None, None, None])], b.initializers
    )
