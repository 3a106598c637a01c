"""The picture graph: any picture in, the digit as MNIST would have shown it out, as one ONNX graph.

    picture uint8 [height, width, channels]  ->  seen float32 [28, 28], ink float32 []

Pictures with many digits take the same steps in two halves, `build_strokes_graph` and `build_place_graph`, with
`mnistkit.digits.segmentation` between them.

The steps, each a function below, in this order:

    reduce      area averages to a working size with the longest side at `SIDE`, whatever the size of the picture
    flatten     channels and transparency to one grey plane in which ink differs most from paper
    polarity    ink bright, whichever way round it was
    background  shadow and paper subtracted: a grey opening with a window wider than any stroke
    strokes     noise measured, ink stretched to 0..1
    thicken     hairlines brought to the width MNIST strokes have
    place       crop to the ink, 20x20 box keeping the aspect, centre of mass to the middle

Shapes depend on the picture's size and never on its content: resampling is a product with a matrix of area weights
that is computed from edges, so cropping needs no dynamic slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.contract import IR_VERSION, OPSET, PRODUCER
from mnistkit.digits.graph_writer import GraphWriter, Value
from mnistkit.digits.pictures import WORKING_SIDE as SIDE

if TYPE_CHECKING:
    import onnx

    Size = tuple[Value, Value]  # rows and columns, int64 scalars

COARSE = 6  # the background is estimated on a grid this much coarser
# Windows of the opening in coarse cells, each for strokes narrower than so many pixels; the last is 30 % of the longest
# side, more than the thickest stroke people draw.
WINDOWS = ((5, 9.0), (9, 22.0), (17, 1e9))
CELL = 4  # connected ink is followed on a grid this much coarser
BAND = 1 << 19  # input values handled at a time while reducing, so that a photo never becomes one big float array


def build_picture_graph() -> onnx.ModelProto:
    """The normaliser alone, deterministic to the byte.

    Returns:
        A model with input ``picture`` (uint8 ``[height, width, channels]``, 1 to 4 channels: grey, grey and alpha, RGB,
        RGBA) and outputs ``seen`` (float32 ``[28, 28]`` in [0, 1], ink bright) and ``ink`` (float32 scalar: the share
        of the picture that is ink, 0 when nothing is drawn).
    """
    from onnx import TensorProto, helper

    w = GraphWriter()
    write_normaliser(w, "picture", seen="seen", ink="ink")
    return _model(
        w,
        "picture",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, ["height", "width", "channels"])],
        [
            helper.make_tensor_value_info("seen", TensorProto.FLOAT, [28, 28]),
            helper.make_tensor_value_info("ink", TensorProto.FLOAT, []),
        ],
    )


def build_strokes_graph() -> onnx.ModelProto:
    """The first half of the picture graph, for pictures with many digits: where is ink?

    Returns:
        A model with inputs ``picture`` (as for `build_picture_graph`) and ``side`` (float32 scalar: how many cells the
        longest side is reduced or enlarged to) and outputs ``strokes`` (float32 ``[rows, columns]`` in [0, 1], ink
        bright, all 0 when nothing is drawn) and ``sure`` (the same without what may be noise).
    """
    from onnx import TensorProto, helper

    w = GraphWriter()
    strokes, sure, found, _ = _ink(w, "picture", side="side")
    w.op("Where", found, strokes, w.constant(0), name="strokes")
    w.op("Where", found, sure, w.constant(0), name="sure")
    return _model(
        w,
        "strokes",
        [
            helper.make_tensor_value_info("picture", TensorProto.UINT8, ["height", "width", "channels"]),
            helper.make_tensor_value_info("side", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "columns"]) for name in ("strokes", "sure")],
    )


def build_place_graph() -> onnx.ModelProto:
    """The second half of the picture graph, for one digit out of many: how would MNIST have shown these strokes?

    Returns:
        A model with input ``strokes`` (float32 ``[rows, columns]`` in [0, 1], one digit alone with some room around it)
        and output ``seen`` (float32 ``[28, 28]``).
    """
    from onnx import TensorProto, helper

    w = GraphWriter()
    _place(w, _thicken(w, "strokes"), w.constant(True, "bool"), seen="seen")
    return _model(
        w,
        "place",
        [helper.make_tensor_value_info("strokes", TensorProto.FLOAT, ["rows", "columns"])],
        [helper.make_tensor_value_info("seen", TensorProto.FLOAT, [28, 28])],
    )


def _model(w: GraphWriter, name: str, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
    from onnx import helper

    return helper.make_model(
        helper.make_graph(w.nodes, name, inputs, outputs, w.initializers),
        producer_name=PRODUCER,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def write_normaliser(w: GraphWriter, picture: Value, *, seen: Value, ink: Value) -> None:
    """Write the steps into ``w``; the results get the names ``seen`` and ``ink``."""
    strokes, sure, found, size = _ink(w, picture, side=SIDE)
    strokes = _digit(w, strokes, sure, size)
    strokes = _thicken(w, strokes)
    _place(w, strokes, found, seen=seen)
    w.op("Where", found, _mean(w, strokes), w.constant(0), name=ink)


def _ink(w: GraphWriter, picture: Value, *, side: Value | int) -> tuple[Value, Value, Value, Size]:
    """From the picture to its ink, all of it: `_strokes` says what comes back; and the working size."""
    planes, size = _reduce(w, picture, side)
    grey = _flatten(w, planes)
    bright = _polarity(w, grey, size)
    lifted = _background(w, bright, size)
    lifted = _without_lines(w, lifted, size)
    return *_strokes(w, lifted, size), size


# --- resampling -----------------------------------------------------------------------------------------------------


def _edges(w: GraphWriter, n_out: Value, n_in: Value) -> Value:
    """Edges of ``n_out`` equal cells over ``n_in`` pixels: float32 ``[n_out + 1]``."""
    steps = w.Cast(w.Range(w.constant(0, "int64"), w.Add(n_out, w.constant(1, "int64")), w.constant(1, "int64")), to=1)
    return w.Mul(steps, w.Div(w.Cast(n_in, to=1), w.Cast(n_out, to=1)))


def _area_weights(w: GraphWriter, edges: Value, n_in: Value, *, axis: int = 0) -> Value:
    """Weights of the average over each cell; a cell outside the pixels weighs them with zero.

    ``[cells, n_in]`` for axis 0, to be multiplied from the left; ``[n_in, cells]`` for axis 1, from the right. Written
    down both ways because onnxruntime fuses a Transpose into the product, with other rounding.
    """
    left = w.Unsqueeze(w.Slice(edges, w.ints(0), w.ints(-1), w.ints(0)), w.ints(1 - axis))
    right = w.Unsqueeze(w.Slice(edges, w.ints(1), w.ints(1 << 30), w.ints(0)), w.ints(1 - axis))
    pixel = w.Unsqueeze(_count(w, n_in), w.ints(axis))
    overlap = w.Relu(w.Sub(w.Min(right, w.Add(pixel, 1)), w.Max(left, pixel)))
    return w.Div(overlap, w.Sub(right, left))


def _linear_weights(w: GraphWriter, n_out: Value, n_in: Value, *, axis: int) -> Value:
    """Weights of linear interpolation between cell centres, flat beyond the outermost; shaped as `_area_weights`."""
    edges = _edges(w, n_out, n_in)
    before, after = (
        w.Slice(edges, w.ints(0), w.ints(-1), w.ints(0)),
        w.Slice(edges, w.ints(1), w.ints(1 << 30), w.ints(0)),
    )
    position = w.Min(w.Max(w.Sub(w.Mul(0.5, w.Add(before, after)), 0.5), 0), w.Sub(w.Cast(n_in, to=1), 1))
    place, cell = w.Unsqueeze(position, w.ints(1 - axis)), w.Unsqueeze(_count(w, n_in), w.ints(axis))
    return w.Relu(w.Sub(1, w.Abs(w.Sub(place, cell))))


def _count(w: GraphWriter, n: Value) -> Value:
    """0, 1, .. n - 1 as float32."""
    return w.Cast(w.Range(w.constant(0, "int64"), n, w.constant(1, "int64")), to=1)


def _size(w: GraphWriter, plane: Value, axis: int) -> Value:
    """One dimension of a tensor as an int64 scalar."""
    return w.Gather(w.Shape(plane), w.constant(axis, "int64"))


def _both_ways(w: GraphWriter, rows: Value, plane: Value, columns: Value) -> Value:
    return w.MatMul(w.MatMul(rows, plane), columns)


def _reduce(w: GraphWriter, picture: Value, side: Value | int) -> tuple[Value, Size]:  # noqa: PLR0915 - one loop body, told in one go
    """Area averages with the longest side at ``side``: float32 ``[4, h, w]`` in [0, 1], colour times alpha, and alpha.

    Works through the picture in bands of rows, so that memory stays small beside the picture itself. The working size
    comes back too: every later plane has it, and what is computed from it is then written into the graph once.
    """
    import onnx
    from onnx import helper

    one = w.constant(1, "int64")
    height, width, channels = (_size(w, picture, axis) for axis in range(3))
    longest = w.Cast(w.Max(height, width), to=1)

    def scaled(n: Value) -> Value:
        return w.Max(w.Cast(w.Round(w.Div(w.Mul(w.Cast(n, to=1), side), longest)), to=7), one)

    rows, columns = scaled(height), scaled(width)
    see_through = w.Equal(w.Mod(channels, w.constant(2, "int64")), w.constant(0, "int64"))
    values = w.Mul(w.Mul(height, width), channels)
    bands = w.Min(w.Add(w.Div(values, w.constant(BAND, "int64")), one), rows)
    per_band = w.Div(w.Sub(w.Add(rows, bands), one), bands)
    column_weights = _area_weights(w, _edges(w, columns, width), width, axis=1)
    all_edges = _edges(w, rows, height)

    b = GraphWriter("band_")
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
            helper.make_tensor_value_info("band_i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("band_go", onnx.TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("band_go_out", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("band_out", onnx.TensorProto.FLOAT, [None, None, None]),
        ],
        b.initializers,
    )
    stack = w.Loop(bands, w.constant(True, "bool"), body=body)  # [bands, per_band, channels, columns]
    shape = [w.ints(-1), *(w.Unsqueeze(n, w.ints(0)) for n in (channels, columns))]
    stack = w.Slice(w.Reshape(stack, w.Concat(*shape, axis=0)), w.ints(0), w.Unsqueeze(rows, w.ints(0)), w.ints(0))
    stack = w.Transpose(stack, perm=[1, 0, 2])
    # Colour and alpha out of 1 to 4 channels: a table per channel count, four rows cut to those there are.
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
    """Colour times alpha: what is transparent has no say in an average."""
    b = GraphWriter("alpha_")
    block = b.Cast(block, to=1)
    alpha = b.Div(b.Slice(block, b.ints(-1), b.ints(1 << 30), b.ints(2)), 255)
    colour = b.Slice(block, b.ints(0), b.ints(-1), b.ints(2))
    b.op("Concat", b.Mul(colour, alpha), b.Mul(alpha, 255), name="alpha_out", axis=2)
    return _branch(b, "alpha_out")


def _unchanged(block: Value) -> onnx.GraphProto:
    b = GraphWriter("opaque_")
    b.op("Cast", block, name="opaque_out", to=1)
    return _branch(b, "opaque_out")


def _branch(b: GraphWriter, out: Value) -> onnx.GraphProto:
    from onnx import TensorProto, helper

    return helper.make_graph(
        b.nodes, out, [], [helper.make_tensor_value_info(out, TensorProto.FLOAT, [None, None, None])], b.initializers
    )


# --- what is ink ----------------------------------------------------------------------------------------------------

LUMA = [0.299, 0.587, 0.114]  # ITU-R BT.601


def _mean(w: GraphWriter, plane: Value) -> Value:
    return w.ReduceMean(plane, keepdims=0)


def _total(w: GraphWriter, plane: Value) -> Value:
    return w.ReduceSum(plane, keepdims=0)


def _grey(w: GraphWriter, colour: Value, direction: Value) -> Value:
    """``[3, h, w]`` seen along a direction in colour space: ``[h, w]``."""
    return w.ReduceSum(w.Mul(colour, w.Reshape(direction, w.ints(3, 1, 1))), w.ints(0), keepdims=0)


def _flatten(w: GraphWriter, planes: Value) -> Value:
    """One grey plane from colour (times alpha) and alpha."""
    colour, alpha = w.ops("Split", planes, w.ints(3, 1), names=w.fresh(2), axis=0)
    visible = w.Max(_mean(w, alpha), 1e-6)
    luma = _grey(w, colour, w.constant(LUMA))
    alpha2 = w.Squeeze(alpha, w.ints(0))
    typical = w.Div(_mean(w, luma), visible)
    # What the visible part looks like: one even colour means the shape is in the transparency alone.
    solid = w.Div(luma, w.Max(alpha2, 1e-3))
    spread = w.Sqrt(w.Div(_mean(w, w.Mul(alpha2, w.Pow(w.Sub(solid, typical), 2))), visible))
    mean_colour = w.Div(w.ReduceMean(colour, axes=[1, 2], keepdims=1), visible)
    page = w.Where(w.Greater(spread, 0.08), mean_colour, w.Cast(w.Less(typical, 0.5), to=1))
    shown = w.Add(colour, w.Mul(page, w.Sub(1, alpha)))
    # The direction in colour space along which the picture varies most, found from luma by two steps of power
    # iteration: yellow on white differs in blue alone.
    centred = w.Reshape(w.Sub(shown, w.ReduceMean(shown, axes=[1, 2], keepdims=1)), w.ints(3, -1))
    pairs = w.Mul(w.Unsqueeze(centred, w.ints(0)), w.Unsqueeze(centred, w.ints(1)))
    covariance = w.ReduceMean(pairs, axes=[2], keepdims=0)
    direction = w.constant([[v] for v in LUMA])
    for _ in range(2):
        direction = w.MatMul(covariance, direction)
        direction = w.Div(direction, w.Max(w.ReduceSum(w.Abs(direction), keepdims=1), 1e-9))
    return _grey(w, shown, direction)


def _pool(w: GraphWriter, plane: Value, kind: str, size: int, across: int | None = None) -> Value:
    """A pooling of a ``[h, w]`` plane at its own resolution; the window is cut at the borders, not padded."""
    across = size if across is None else across
    pads = [size // 2, across // 2, size // 2, across // 2]
    more = {"count_include_pad": 0} if kind == "AveragePool" else {}
    four = w.Unsqueeze(plane, w.ints(0, 1))
    return w.Squeeze(w.op(kind, four, kernel_shape=[size, across], pads=pads, strides=[1, 1], **more), w.ints(0, 1))


def _opening(w: GraphWriter, plane: Value, length: int, *, axis: int) -> Value:
    """The plane without what is shorter than ``length`` along an axis: the minimum, then the maximum, over a window."""
    return _extreme(w, _extreme(w, plane, "Min", length, axis=axis), "Max", length, axis=axis)


def _extreme(w: GraphWriter, plane: Value, kind: str, length: int, *, axis: int) -> Value:
    """Minimum or maximum over a long window, cut at the borders: each step doubles the window, so few are needed."""
    before, after = ([0, 0] for _ in range(2))
    before[axis] = after[axis] = length // 2
    outside = w.constant(3e38 if kind == "Min" else -3e38)
    spread, window = w.Pad(plane, w.ints(*before, *after), outside), 1
    while window < length:
        step = min(window, length - window)
        first = w.Slice(spread, w.ints(0), w.ints(-step), w.ints(axis))
        last = w.Slice(spread, w.ints(step), w.ints(1 << 30), w.ints(axis))
        spread, window = w.op(kind, first, last), window + step
    return spread


def _coarse(w: GraphWriter, plane: Value, size: Size) -> tuple[Value, Value, Value]:
    """The plane on the coarse grid, and the two matrices that bring a coarse plane back."""
    return _gridded(w, plane, size, COARSE)


def _gridded(w: GraphWriter, plane: Value, size: Size, cell: int) -> tuple[Value, Value, Value]:
    back, cut = [], []
    for axis, n in enumerate(size):
        m = w.Div(w.Add(n, w.constant(cell - 1, "int64")), w.constant(cell, "int64"))
        cut.append(_area_weights(w, _edges(w, m, n), n, axis=axis))
        back.append(_linear_weights(w, n, m, axis=axis))
    return _both_ways(w, cut[0], plane, cut[1]), back[0], back[1]


def _polarity(w: GraphWriter, grey: Value, size: Size) -> Value:
    """Turned so that ink is bright: ink is the rarer side, and the border is paper."""
    coarse, up, across = _coarse(w, grey, size)
    around = _pool(w, coarse, "AveragePool", 27)
    detail = w.Sub(grey, _both_ways(w, up, around, across))
    second = w.Max(_mean(w, w.Mul(detail, detail)), 1e-9)
    skew = w.Div(_mean(w, w.Pow(detail, 3)), w.Pow(second, 1.5))
    rings = []
    for axis, n in enumerate(size):
        # A little inside, where a frame drawn around the picture no longer counts.
        first = w.Div(n, w.constant(20, "int64"))
        both = (first, w.Sub(w.Sub(n, w.constant(1, "int64")), first))
        rings += [w.Reshape(w.Gather(grey, place, axis=axis), w.ints(-1)) for place in both]
    border = w.Concat(*rings, axis=0)
    mean = _mean(w, grey)
    deviation = w.Sqrt(w.Max(_mean(w, w.Pow(w.Sub(grey, mean), 2)), 1e-9))
    frame = w.Div(w.Sub(_mean(w, border), mean), deviation)
    dark_ink = w.Less(w.Sub(skew, frame), 0)
    return w.Where(dark_ink, w.Neg(grey), grey)


def _background(w: GraphWriter, bright: Value, size: Size) -> Value:
    """What rises above the paper: the plane minus its opening, never negative.

    A first look with the widest window tells how wide the strokes are; the smallest window that is safely wider follows
    shadows best.
    """
    coarse, up, across = _coarse(w, bright, size)

    def paper(window: int) -> Value:
        low = w.Neg(_pool(w, w.Neg(coarse), "MaxPool", window))
        opened = _pool(w, low, "MaxPool", window)
        return _pool(w, opened, "AveragePool", window // 2 | 1)

    widest = paper(WINDOWS[-1][0])
    first = w.Relu(w.Sub(bright, _both_ways(w, up, widest, across)))
    core = w.Cast(w.Greater(first, w.Mul(_peak(w, first), 0.5)), to=1)
    # The thin lines of a frame around the picture say nothing about the strokes inside.
    for axis, n in enumerate(size):
        core = w.Mul(core, w.Unsqueeze(_within(w, n, 8), w.ints(1 - axis)))
    width = _stroke_width(w, core)
    chosen = widest
    for window, limit in reversed(WINDOWS[:-1]):
        chosen = w.Where(w.Less(width, limit), paper(window), chosen)
    return w.Relu(w.Sub(bright, _both_ways(w, up, chosen, across)))


def _peak(w: GraphWriter, lifted: Value) -> Value:
    """The level of full ink: a mean that counts a value by its cube, so neither paper nor one hot pixel decides."""
    return w.Div(_total(w, w.Pow(lifted, 4)), w.Max(_total(w, w.Pow(lifted, 3)), 1e-12))


def _stroke_width(w: GraphWriter, ink: Value) -> Value:
    """Twice the area by the outline, in pixels; the outline of soft ink is its total variation."""
    here = w.ints(0, 0)
    padded = w.Pad(ink, w.ints(1, 1, 1, 1))
    inner = w.Slice(padded, here, w.ints(-1, -1), w.ints(0, 1))
    down = w.Sub(w.Slice(padded, w.ints(1, 0), w.ints(1 << 30, -1), w.ints(0, 1)), inner)
    right = w.Sub(w.Slice(padded, w.ints(0, 1), w.ints(-1, 1 << 30), w.ints(0, 1)), inner)
    outline = _total(w, w.Sqrt(w.Add(w.Mul(down, down), w.Mul(right, right))))
    return w.Div(w.Mul(_total(w, ink), 2), w.Max(outline, 1e-6))


def _without_lines(w: GraphWriter, lifted: Value, size: Size) -> Value:
    """Ruled and squared paper: thin lines that run from one border of the picture to the other are subtracted."""
    # Both directions are looked for in the same plane: taking out one leaves gaps in the other at every crossing.
    without = []
    for upright in (False, True):
        plane = w.Transpose(lifted, perm=[1, 0]) if upright else lifted
        here = size[::-1] if upright else size
        # Ink counts no more than a line would, so that a line goes on where a stroke crosses it. Widened first, so that
        # a slant of 3 degrees passes a long horizontal opening; what is thick after that is no line.
        level = w.Mul(_peak(w, lifted), 0.5)
        wide = _pool(w, w.Min(plane, level), "MaxPool", 5, 1)
        long = _opening(w, wide, 61, axis=1)
        thick = _opening(w, long, 13, axis=0)
        ground, long = long, w.Relu(w.Sub(long, thick))
        # Border to border: from each side walk along cells that hold such a line.
        # The walk may cross a thick stroke, but a line begins and ends thin.
        least = w.Max(w.Mul(_peak(w, lifted), 0.05), 3 / 255)
        strong = w.Greater(ground, least)
        cells, up, across = _coarse(w, w.Cast(strong, to=1), here)
        cells = w.Cast(w.Greater(_pool(w, cells, "MaxPool", 3, 5), 0.15), to=1)
        ends, _, _ = _coarse(w, w.Cast(w.Greater(long, least), to=1), here)
        ends = w.Mul(cells, w.Cast(w.Greater(_pool(w, ends, "MaxPool", 3, 5), 0.15), to=1))
        last = w.Sub(_size(w, cells, 1), w.constant(1, "int64"))
        column = w.Range(w.constant(0, "int64"), _size(w, cells, 1), w.constant(1, "int64"))
        both = cells
        for border in (w.constant(0, "int64"), last):
            start = w.Mul(ends, w.Cast(w.Equal(column, border), to=1))
            both = w.Mul(both, _walk(w, start, cells))
        crossing = w.Cast(w.Greater(_both_ways(w, up, _pool(w, both, "MaxPool", 3), across), 0.3), to=1)
        line = w.Mul(w.Min(long, plane), crossing)
        # The opening is the line's own level: ink that lies on it is darker and stays.
        # A frame around the picture is as dark as the ink, and gone altogether.
        edge = w.Mul(crossing, w.Cast(w.Greater(long, 0), to=1))
        edge = w.Mul(edge, w.Unsqueeze(w.Sub(1, _within(w, here[0], 8)), w.ints(1)))
        plane = w.Mul(w.Relu(w.Sub(plane, w.Mul(line, 1.3))), w.Sub(1, edge))
        cleaned = w.Transpose(plane, perm=[1, 0]) if upright else plane
        # A digit that itself runs from border to border is not paper: it would take nearly all ink with it.
        left = w.Div(_total(w, w.Pow(cleaned, 3)), w.Max(_total(w, w.Pow(lifted, 3)), 1e-12))
        without.append(w.Where(w.Greater(left, 0.3), cleaned, lifted))
    return w.Min(*without)


def _within(w: GraphWriter, n: Value, margin: int) -> Value:
    """1 where an index lies at least ``margin`` from both ends, else 0: float32 ``[n]``."""
    index = _count(w, n)
    inside = w.And(w.GreaterOrEqual(index, margin), w.Less(index, w.Sub(w.Cast(n, to=1), margin)))
    return w.Cast(inside, to=1)


def _walk(w: GraphWriter, start: Value, ground: Value) -> Value:
    """Spread the values of ``start`` over all of ``ground`` (0 or 1) connected with them; the largest wins."""
    from onnx import TensorProto, helper

    name = f"walk{len(w.nodes)}_"
    start, ground = w.Unsqueeze(start, w.ints(0, 1)), w.Unsqueeze(ground, w.ints(0, 1))
    b = GraphWriter(name)
    here = f"{name}in"
    for step in range(8):  # several steps for one question whether anything moved
        grown = b.MaxPool(here, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
        here = b.op("Mul", grown, ground, name=f"{name}out" if step == 7 else None)  # noqa: PLR2004 - the last step
    moved = b.Cast(b.Greater(b.ReduceMax(b.Sub(f"{name}out", f"{name}in"), keepdims=0), 0), to=9)
    b.op("Identity", moved, name=f"{name}more")
    body = helper.make_graph(
        b.nodes,
        "walk",
        [
            helper.make_tensor_value_info(f"{name}i", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"{name}go", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"{name}in", TensorProto.FLOAT, [1, 1, None, None]),
        ],
        [
            helper.make_tensor_value_info(f"{name}more", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"{name}out", TensorProto.FLOAT, [1, 1, None, None]),
        ],
        b.initializers,
    )
    return w.Squeeze(w.Loop(w.constant(200, "int64"), w.constant(True, "bool"), start, body=body), w.ints(0, 1))


def _strokes(w: GraphWriter, lifted: Value, size: Size) -> tuple[Value, Value, Value]:
    """Ink stretched to 0..1 with the paper at 0; the ink that is surely ink; and whether there is any (bool scalar)."""
    lifted = _evened(w, lifted, size)
    peak = _peak(w, lifted)
    # Paper: everything at some distance from ink. Its mean and spread say how low a stroke's edge may reach.
    near_ink = _pool(w, w.Cast(w.Greater(lifted, w.Mul(peak, 0.4)), to=1), "MaxPool", 9)
    paper = w.Sub(1, near_ink)
    area = w.Max(_total(w, paper), 1)
    mean = w.Div(_total(w, w.Mul(lifted, paper)), area)
    spread = w.Sqrt(w.Div(_total(w, w.Mul(w.Pow(w.Sub(lifted, mean), 2), paper)), area))
    ground = w.Min(w.Add(mean, spread), w.Mul(peak, 0.4))
    floor = w.Min(w.Max(w.Add(mean, w.Mul(spread, 4)), w.Mul(peak, 0.1)), w.Mul(peak, 0.5))
    found = w.And(w.Greater(peak, w.Add(mean, w.Mul(spread, 4))), w.Greater(peak, 6 / 255))
    white = w.Max(w.Sub(w.Mul(peak, 1.05), ground), 1e-6)
    # Paper below the floor is gone altogether; above it the strokes keep their own soft edges.
    kept = w.Where(w.Greater(lifted, floor), w.Div(w.Relu(w.Sub(lifted, ground)), white), 0)
    # On clean paper all ink is sure; where shadows and lines were left, only what stands well above them is.
    sure = w.Min(w.Mul(w.Add(mean, w.Mul(spread, 4)), 1.5), w.Mul(peak, 0.5))
    return w.Min(kept, 1), w.Where(w.Greater(lifted, sure), w.Min(kept, 1), 0), found


def _evened(w: GraphWriter, lifted: Value, size: Size) -> Value:
    """Ink in the shade as strong as ink in the light, up to twice; measured where there is ink, as `_peak` is."""
    peak = _peak(w, lifted)
    cubes, up, across = _coarse(w, w.Pow(lifted, 3), size)
    squares, _, _ = _coarse(w, w.Pow(lifted, 2), size)
    local = w.Div(_pool(w, cubes, "AveragePool", 9), w.Max(_pool(w, squares, "AveragePool", 9), 1e-9))
    gain = w.Where(w.Greater(local, w.Mul(peak, 0.3)), w.Div(peak, w.Max(local, w.Mul(peak, 0.5))), 1)
    return w.Mul(lifted, w.Max(_both_ways(w, up, gain, across), 1))


def _digit(w: GraphWriter, strokes: Value, sure: Value, size: Size) -> Value:
    """The largest connected piece of sure ink and what belongs to it; dust and other marks are dropped."""
    mass, *back = _gridded(w, sure, size, CELL)
    rows, columns = _size(w, mass, 0), _size(w, mass, 1)
    ground = w.Cast(w.Greater(_pool(w, mass, "MaxPool", 3), 0.05), to=1)  # strokes one cell apart are one piece
    count = w.Mul(rows, columns)
    index = w.Reshape(
        w.Add(w.Range(w.constant(0, "int64"), count, w.constant(1, "int64")), w.constant(1, "int64")), w.Shape(mass)
    )
    label = w.Cast(_walk(w, w.Mul(w.Cast(index, to=1), ground), ground), to=7)
    flat = w.Reshape(label, w.ints(-1))
    zeros = w.ConstantOfShape(w.Reshape(w.Add(count, w.constant(1, "int64")), w.ints(1)), value=_zero())
    sums = w.ScatterElements(zeros, flat, w.Reshape(mass, w.ints(-1)), reduction="add")
    # What runs into the border is rather the edge of the paper or a finger than the digit.
    border = w.Sub(1, _inner(w, rows, columns))
    touching = w.ScatterElements(zeros, flat, w.Reshape(w.Mul(border, ground), w.ints(-1)), reduction="add")
    score = w.Where(w.Greater(touching, 0), w.Mul(sums, 0.25), sums)
    score = w.Mul(
        score,
        w.Cast(
            w.Greater(
                w.Range(w.constant(0, "int64"), w.Add(count, w.constant(1, "int64")), w.constant(1, "int64")),
                w.constant(0, "int64"),
            ),
            to=1,
        ),
    )
    best = w.ReduceMax(score, keepdims=0)
    scores = w.Reshape(w.Gather(score, flat), w.Shape(mass))
    main = w.Mul(w.Cast(w.GreaterOrEqual(scores, best), to=1), ground)
    # Near: within half the main piece's size of its box. Large enough: no dust.
    (top, bottom), (left, right) = _extent(w, main, 0), _extent(w, main, 1)
    reach = w.Mul(w.Max(w.Sub(bottom, top), w.Sub(right, left)), 0.5)
    near = []
    for axis, first, last in ((0, top, bottom), (1, left, right)):
        place = w.Cast(w.Range(w.constant(0, "int64"), _size(w, mass, axis), w.constant(1, "int64")), to=1)
        inside = w.And(w.Greater(place, w.Sub(first, reach)), w.Less(place, w.Add(last, reach)))
        near.append(w.Unsqueeze(w.Cast(inside, to=1), w.ints(1 - axis)))
    belongs = w.Mul(w.Mul(w.Mul(near[0], near[1]), ground), w.Cast(w.GreaterOrEqual(scores, w.Mul(best, 0.06)), to=1))
    region = w.Cast(w.Greater(_both_ways(w, back[0], w.Max(belongs, main), back[1]), 0), to=1)
    return w.Mul(strokes, region)


def _zero() -> onnx.TensorProto:
    from onnx import helper

    return helper.make_tensor("zero", 1, [1], [0.0])


def _inner(w: GraphWriter, rows: Value, columns: Value) -> Value:
    """1 inside, 0 on the border of a ``[rows, columns]`` plane."""
    parts = []
    for n, axis in ((rows, 1), (columns, 0)):
        place = w.Range(w.constant(0, "int64"), n, w.constant(1, "int64"))
        last = w.Sub(n, w.constant(1, "int64"))
        inside = w.And(w.Greater(place, w.constant(0, "int64")), w.Less(place, last))
        parts.append(w.Unsqueeze(w.Cast(inside, to=1), w.ints(axis)))
    return w.Mul(parts[0], parts[1])


def _extent(w: GraphWriter, strokes: Value, axis: int) -> tuple[Value, Value]:
    """First and one past the last row (axis 0) or column (axis 1) with ink, as float32 scalars."""
    inked = w.Greater(w.ReduceMax(strokes, axes=[1 - axis], keepdims=0), 0.1)
    n = _size(w, strokes, axis)
    index = w.Cast(w.Range(w.constant(0, "int64"), n, w.constant(1, "int64")), to=1)
    first = w.ReduceMin(w.Where(inked, index, w.Cast(n, to=1)), keepdims=0)
    last = w.ReduceMax(w.Where(inked, w.Add(index, 1), 0), keepdims=0)
    return first, last


def _longest(w: GraphWriter, strokes: Value) -> Value:
    (top, bottom), (left, right) = _extent(w, strokes, 0), _extent(w, strokes, 1)
    return w.Max(w.Max(w.Sub(bottom, top), w.Sub(right, left)), 1)


THIN = 2.0  # stroke width of the thinner MNIST digits, in pixels of the 20x20 box, measured as below


def _thicken(w: GraphWriter, strokes: Value) -> Value:
    """Strokes thinner than MNIST's are widened: as many one-pixel dilations as the difference asks for."""
    from onnx import TensorProto, helper

    width = _stroke_width(w, strokes)
    unit = w.Div(_longest(w, strokes), 20)
    missing = w.Mul(w.Sub(w.Mul(unit, THIN), width), 0.5)
    steps = w.Cast(w.Round(w.Max(missing, 0)), to=7)

    b = GraphWriter("wide_")
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
    return w.Loop(steps, w.constant(True, "bool"), strokes, body=body)


# --- where it goes --------------------------------------------------------------------------------------------------


def _place(w: GraphWriter, strokes: Value, found: Value, *, seen: Value) -> None:
    """Ink into the 20x20 box of the 28x28 image, as MNIST was made: whole-pixel shifts, centre of mass at (14, 14)."""
    cell = w.Div(_longest(w, strokes), 20)
    mass = w.Max(_total(w, strokes), 1e-6)
    weights = []
    for axis in range(2):
        n = _size(w, strokes, axis)
        first, last = _extent(w, strokes, axis)
        profile = w.ReduceSum(strokes, w.ints(1 - axis), keepdims=0)
        middle = w.Add(w.Cast(w.Range(w.constant(0, "int64"), n, w.constant(1, "int64")), to=1), 0.5)
        centre = w.Div(
            w.Sub(w.Div(_total(w, w.Mul(profile, middle)), mass), first), cell
        )  # in cells from the box's edge
        cells = w.Div(w.Sub(last, first), cell)
        # Pixel (14, 14) has its middle at 14.5; the box stays inside the image.
        shift = w.Max(w.Min(w.Round(w.Sub(14.5, centre)), w.Floor(w.Sub(28, cells))), 0)
        edges = w.Add(first, w.Mul(w.Sub(w.constant(list(range(29))), shift), cell))
        weights.append(_area_weights(w, edges, n, axis=axis))
    small = _both_ways(w, weights[0], strokes, weights[1])
    top = w.Div(_total(w, w.Pow(small, 4)), w.Max(_total(w, w.Pow(small, 3)), 1e-9))
    small = w.Min(w.Div(small, w.Max(w.Min(top, 0.9), 0.05)), 1)
    w.op("Where", found, small, w.constant(0), name=seen)
