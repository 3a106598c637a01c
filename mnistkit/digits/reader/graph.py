"""The net's ONNX graph between padding and decoding; see `mnistkit.digits.reader.export` for inputs and outputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mnistkit.core import contract
from mnistkit.digits.contract import CLASSES
from mnistkit.digits.reader.net import MULTIPLE, OFFSET_UNIT, STRIDE, UNIT, Maps
from mnistkit.digits.reader.peaks import LEAST_CHANCE, MOST_PEAKS, OVERLAP

if TYPE_CHECKING:
    import onnx

_LEAST_HALF: Final = 2048  # numbers of a tensor that is kept in 16 bits
_NEVER: Final = -1e4  # logit
_OUTPUTS: Final = {
    "boxes": ["digits", 4],
    "chances": ["digits"],
    "classes": ["digits", CLASSES],
    "turns": ["digits", 4],
}


def build_graph(net: onnx.ModelProto) -> onnx.ModelProto:
    """The net with padding before and decoding behind it, its large weights in 16 bits.

    Args:
        net: The exported net: ``[batch, rows, columns, 2]`` -> maps, rows and columns multiples of 32.
    """
    from onnx import TensorProto, compose, helper

    inner = compose.add_prefix_graph(net.graph, "net/")
    before, after = _Nodes(), _Nodes()
    _pad(before, inner.input[0].name)
    _find_peaks(after, inner.output[0].name)
    _read_cells(after, inner.output[0].name)
    _leave_out_overlaps(after)
    weights, widened = _in_16_bits(inner)
    graph = helper.make_graph(
        [*widened, *before.nodes, *inner.node, *after.nodes],
        "reader",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["rows", "columns", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in _OUTPUTS.items()],
        [*weights, *before.constants.values(), *after.constants.values()],
    )
    model = helper.make_model(
        graph,
        producer_name=contract.PRODUCER,
        ir_version=contract.IR_VERSION,
        opset_imports=[helper.make_opsetid("", contract.OPSET)],
    )
    for key, value in (("format_version", contract.FORMAT_VERSION), ("kind", "reader")):
        model.metadata_props.add(key=contract.PREFIX + key, value=value)
    return model


class _Nodes:
    """Nodes and constants of a part of the graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, kind: str, inputs: str, outputs: str, **attributes: Any) -> None:
        """A node; names are divided by spaces."""
        from onnx import helper

        names = outputs.split()
        self.nodes.append(helper.make_node(kind, inputs.split(), names, name=f"{kind}/{names[0]}", **attributes))

    def keep(self, **values: Any) -> None:
        """Constants: int64, or float32 where a number has a point."""
        from onnx import numpy_helper

        for name, value in values.items():
            array = np.array(value)
            dtype = np.float32 if array.dtype.kind == "f" else np.int64
            self.constants[name] = numpy_helper.from_array(array.astype(dtype), name)


def _pad(part: _Nodes, source: str) -> None:
    """Rows and columns up to the next multiple, by repeating the last ones; and a batch of one."""
    from onnx import TensorProto

    part.keep(multiple=[MULTIPLE, MULTIPLE], none_before=[0, 0, 0], no_channel=[0], batch_axis=[0])
    part.add("Shape", "pixels", "shape", start=0, end=2)
    part.add("Neg", "shape", "minus_shape")
    part.add("Mod", "minus_shape multiple", "missing")
    part.add("Concat", "none_before missing no_channel", "pads", axis=0)
    part.add("Cast", "pixels", "wide_pixels", to=TensorProto.INT32)  # older runtimes pad no 8 bits
    part.add("Pad", "wide_pixels pads", "padded", mode="edge")
    part.add("Cast", "padded", "padded_pixels", to=TensorProto.UINT8)
    part.add("Unsqueeze", "padded_pixels batch_axis", source)


def _find_peaks(part: _Nodes, maps: str) -> None:
    """The cells that are higher than the eight around them, the highest first: ``logits`` and ``chosen``."""
    part.keep(
        zero=[0], one=[1], last_axis=[3], flat=[-1], most=[MOST_PEAKS], never=_NEVER,
        least=math.log(LEAST_CHANCE / (1 - LEAST_CHANCE)),
    )  # fmt: skip
    part.add("Slice", f"{maps} zero one last_axis", "heat_last")
    part.add("Transpose", "heat_last", "heat", perm=[0, 3, 1, 2])
    part.add("MaxPool", "heat", "highest", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    part.add("Equal", "heat highest", "is_peak")
    part.add("Where", "is_peak heat never", "peaks")
    part.add("Reshape", "peaks flat", "flat_peaks")
    part.add("Shape", "flat_peaks", "cells")
    part.add("Min", "cells most", "count")
    part.add("TopK", "flat_peaks count", "top_logits top_cells", axis=0)
    part.add("Greater", "top_logits least", "is_kept")
    part.add("Compress", "top_logits is_kept", "logits", axis=0)
    part.add("Compress", "top_cells is_kept", "chosen", axis=0)


def _read_cells(part: _Nodes, maps: str) -> None:
    """What the chosen cells say: ``all_boxes``, ``all_chances``, ``all_classes``, ``all_turns``."""
    from onnx import TensorProto

    part.keep(
        cell_shape=[-1, Maps.COUNT], widths=[1, CLASSES, 2, 2, 4], half=0.5, stride=float(STRIDE), unit=float(UNIT),
        offset_unit=float(OFFSET_UNIT), least_log=-4.0, most_log=4.0,
    )  # fmt: skip
    part.add("Reshape", f"{maps} cell_shape", "all_cells")
    part.add("Gather", "all_cells chosen", "at", axis=0)
    part.add("Split", "at widths", "unused_heat class_logits log_size offset turn_logits", axis=1)
    part.add("Shape", "heat", "columns", start=3, end=4)
    part.add("Div", "chosen columns", "row")
    part.add("Mod", "chosen columns", "column")
    part.add("Unsqueeze", "row one", "row_of_each")
    part.add("Unsqueeze", "column one", "column_of_each")
    part.add("Concat", "column_of_each row_of_each", "place", axis=1)
    part.add("Cast", "place", "place_float", to=TensorProto.FLOAT)
    part.add("Add", "place_float half", "cell_middle")
    part.add("Mul", "cell_middle stride", "cell_pixels")
    part.add("Mul", "offset offset_unit", "offset_pixels")
    part.add("Add", "cell_pixels offset_pixels", "middle")
    part.add("Clip", "log_size least_log most_log", "log_size_clipped")
    part.add("Exp", "log_size_clipped", "size_units")
    part.add("Mul", "size_units unit", "size")
    part.add("Concat", "middle size", "all_boxes", axis=1)
    part.add("Sigmoid", "logits", "all_chances")
    part.add("Softmax", "class_logits", "all_classes", axis=1)
    part.add("Softmax", "turn_logits", "all_turns", axis=1)


def _leave_out_overlaps(part: _Nodes) -> None:
    """The outputs: without what overlaps a surer one, whatever their classes."""
    part.keep(first_two=[0, 1], most_kept=[MOST_PEAKS], overlap=[OVERLAP], third=2)
    part.add("Unsqueeze", "all_boxes zero", "boxes_of_batch")
    part.add("Unsqueeze", "all_chances first_two", "chances_of_batch")
    part.add(
        "NonMaxSuppression", "boxes_of_batch chances_of_batch most_kept overlap", "kept_triples", center_point_box=1
    )
    part.add("Gather", "kept_triples third", "kept", axis=1)
    for name in _OUTPUTS:
        part.add("Gather", f"all_{name} kept", name, axis=0)


def _in_16_bits(graph: onnx.GraphProto) -> tuple[list[Any], list[Any]]:
    """Initializers with the large ones in 16 bits, and the nodes that widen them when the file is loaded."""
    from onnx import TensorProto, helper, numpy_helper

    kept, nodes = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _LEAST_HALF:
            kept.append(tensor)
            continue
        name = f"{tensor.name}/half"
        kept.append(numpy_helper.from_array(values.astype(np.float16), name))
        made = helper.make_node("Cast", [name], [tensor.name], name=f"widen/{tensor.name}", to=TensorProto.FLOAT)
        nodes.append(made)
    return kept, nodes
