"""Nodes and arrays to ``onnx.ModelProto``: always the same bytes for the same graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from mnistkit.core.contract import PRODUCER
from mnistkit.export.native.graph import Node

_ML = "ai.onnx.ml."  # prefix of an operator outside the default domain

_TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "bfloat16": onnx.TensorProto.BFLOAT16,
    "float64": onnx.TensorProto.DOUBLE,
    "int8": onnx.TensorProto.INT8,
    "int16": onnx.TensorProto.INT16,
    "int32": onnx.TensorProto.INT32,
    "int64": onnx.TensorProto.INT64,
    "uint8": onnx.TensorProto.UINT8,
    "uint16": onnx.TensorProto.UINT16,
    "uint32": onnx.TensorProto.UINT32,
    "uint64": onnx.TensorProto.UINT64,
    "bool": onnx.TensorProto.BOOL,
    "string": onnx.TensorProto.STRING,
    "float8_e4m3fn": onnx.TensorProto.FLOAT8E4M3FN,
    "float8_e5m2": onnx.TensorProto.FLOAT8E5M2,
    "int4": onnx.TensorProto.INT4,
    "uint4": onnx.TensorProto.UINT4,
    "complex64": onnx.TensorProto.COMPLEX64,
}


@dataclass(frozen=True, slots=True)
class IO:
    """An input or output of the graph; a size is an int, a name, or None."""

    name: str
    dtype: str
    shape: tuple[Any, ...]


def serialize(
    nodes: list[Node],
    initializers: dict[str, np.ndarray[Any, Any]],
    inputs: list[IO],
    outputs: list[IO],
    *,
    opset: int,
    ir_version: int,
) -> onnx.ModelProto:
    """Build the protobuf; it may be larger than one file can hold (see `mnistkit.export.atomic_save`)."""
    model = onnx.ModelProto()
    model.ir_version = ir_version
    model.producer_name = PRODUCER
    imported = model.opset_import.add()
    imported.domain = ""
    imported.version = opset
    if any(node.op.startswith(_ML) for node in nodes):
        classic = model.opset_import.add()
        classic.domain = _ML[:-1]
        classic.version = 3
    _fill(model.graph, "model", nodes, initializers, inputs, outputs)
    return model


def subgraph(
    nodes: list[Node], initializers: dict[str, np.ndarray[Any, Any]], inputs: list[IO], outputs: list[IO]
) -> onnx.GraphProto:
    """Build the body of a loop."""
    graph = onnx.GraphProto()
    _fill(graph, "step", nodes, initializers, inputs, outputs)
    return graph


def _fill(
    graph: Any,
    name: str,
    nodes: list[Node],
    initializers: dict[str, np.ndarray[Any, Any]],
    inputs: list[IO],
    outputs: list[IO],
) -> None:
    graph.name = name
    for io in inputs:
        _value_info(graph.input.add(), io)
    for io in outputs:
        _value_info(graph.output.add(), io)
    for node in nodes:
        _node(graph.node.add(), node)
    for tensor, array in initializers.items():
        _tensor(graph.initializer.add(), array, tensor)


def tensor_type(dtype: str) -> int:
    """Return ONNX's number for Keras' name of a type."""
    return int(_TYPES[dtype])


def _value_info(proto: Any, io: IO) -> None:
    proto.name = io.name
    tensor = proto.type.tensor_type
    tensor.elem_type = tensor_type(io.dtype)
    tensor.shape.SetInParent()
    for size in io.shape:
        dim = tensor.shape.dim.add()
        if isinstance(size, str):
            dim.dim_param = size
        elif size is not None:
            dim.dim_value = size


def _node(proto: Any, node: Node) -> None:
    proto.op_type = node.op.removeprefix(_ML)
    if proto.op_type != node.op:
        proto.domain = _ML[:-1]
    proto.name = node.name
    proto.input.extend(node.inputs)
    proto.output.extend(node.outputs)
    for key in sorted(node.attrs):
        _attribute(proto.attribute.add(), key, node.attrs[key])


def _attribute(proto: Any, key: str, value: Any) -> None:
    kinds = onnx.AttributeProto
    proto.name = key
    if key in {"to", "dtype"} and isinstance(value, str):
        proto.i, proto.type = tensor_type(value), kinds.INT
    elif isinstance(value, (bool, int, np.integer)):
        proto.i, proto.type = int(value), kinds.INT
    elif isinstance(value, (float, np.floating)):
        proto.f, proto.type = float(value), kinds.FLOAT
    elif isinstance(value, str):
        proto.s, proto.type = value.encode(), kinds.STRING
    elif isinstance(value, np.ndarray):
        _tensor(proto.t, value, "")
        proto.type = kinds.TENSOR
    elif isinstance(value, onnx.GraphProto):
        proto.g.CopyFrom(value)
        proto.type = kinds.GRAPH
    elif all(isinstance(item, str) for item in value):
        proto.strings.extend(item.encode() for item in value)
        proto.type = kinds.STRINGS
    elif all(isinstance(item, (int, np.integer)) for item in value):
        proto.ints.extend(int(item) for item in value)
        proto.type = kinds.INTS
    else:
        proto.floats.extend(float(item) for item in value)
        proto.type = kinds.FLOATS


def _tensor(proto: Any, array: np.ndarray[Any, Any], name: str) -> None:
    proto.name = name
    proto.dims.extend(array.shape)
    kind = str(array.dtype)
    if array.dtype.kind in "OUS":
        proto.data_type = onnx.TensorProto.STRING
        proto.string_data.extend(item if isinstance(item, bytes) else str(item).encode() for item in array.ravel())
        return
    proto.data_type = tensor_type(kind)
    if kind in {"int4", "uint4"}:  # two in each byte, the first in its low half
        halves = np.append(array.astype(np.int8).ravel() & 15, np.zeros(array.size % 2, np.int8)).astype(np.uint8)
        proto.raw_data = (halves[0::2] | halves[1::2] << 4).tobytes()
        return
    little = array if array.dtype.byteorder != ">" else array.astype(array.dtype.newbyteorder("<"))
    proto.raw_data = np.ascontiguousarray(little).tobytes()
