"""What an ``.onnx`` file says of itself that onnxruntime does not tell: opset, IR version, parameters.

The few fields are read straight from the protobuf bytes; the onnx package, which would parse the whole file, is not
needed. Source of the numbers: onnx/onnx.proto and the protobuf encoding guide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnistkit.core.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_IR_VERSION, _MODEL_PRODUCER, _MODEL_GRAPH, _MODEL_OPSET = 1, 2, 7, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_TENSOR_DIMS, _TENSOR_TYPE = 1, 2
_TENSOR_NAME = 8
_NODE_INPUT, _NODE_TYPE = 1, 4
_NODE_ATTRIBUTE, _ATTRIBUTE_NAME, _ATTRIBUTE_INT = 5, 1, 3
_WEIGHTS = {
    1: "float32", 2: "uint8", 3: "int8", 10: "float16", 11: "float64", 16: "bfloat16", 21: "uint4", 22: "int4"
}  # fmt: skip
_FLOATS = frozenset({"float32", "float16", "float64", "bfloat16"})
_PACKED = b"MatMulNBits"
"""onnxruntime's operator whose second input holds 4-bit numbers two by two, as bytes."""
_LONGEST_VARINT = 10


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        ir_version: Version of the file format.
        producer: The program that wrote it.
        opsets: Version of each set of operators by its domain; ``"ai.onnx"`` is ONNX' own.
        nodes: Number of operations, without those inside loops and branches.
        weights: Numbers in the initializers by element type: floats and bytes, no indices and shapes.
    """

    ir_version: int
    producer: str
    opsets: dict[str, int]
    nodes: int
    weights: dict[str, int]

    @property
    def parameters(self) -> int:
        """Number of floating-point weights."""
        return sum(count for kind, count in self.weights.items() if kind in _FLOATS)


def read_header(content: bytes) -> Header:
    """Read what is at the top of a file.

    Raises:
        ModelFileError: The bytes are not those of an ONNX model.
    """
    ir_version, producer, nodes = 0, "", 0
    opsets: dict[str, int] = {}
    weights: dict[str, int] = {}
    packed: set[bytes] = set()
    data = memoryview(content)
    try:
        for number, value in fields(data):
            if number == _MODEL_IR_VERSION and isinstance(value, int):
                ir_version = value
            elif number == _MODEL_PRODUCER and isinstance(value, memoryview):
                producer = bytes(value).decode()
            elif number == _MODEL_OPSET and isinstance(value, memoryview):
                domain, version = _opset(value)
                opsets[domain] = version
            elif number == _MODEL_GRAPH and isinstance(value, memoryview):
                for part, inner in fields(value):
                    nodes += part == _GRAPH_NODE
                    if part == _GRAPH_NODE and isinstance(inner, memoryview) and _PACKED in bytes(inner[:4096]):
                        packed |= _packed_input(inner)
                    if part == _GRAPH_INITIALIZER and isinstance(inner, memoryview):
                        kind, size = _type_and_size(inner)
                        if kind == "uint8" and packed and _name(inner) in packed:
                            kind, size = "int4", 2 * size
                        if kind is not None:
                            weights[kind] = weights.get(kind, 0) + size
    except (ValueError, IndexError) as error:
        raise ModelFileError(f"not an ONNX model ({error})") from error
    return Header(ir_version, producer, opsets, nodes, weights)


def _opset(data: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in fields(data):
        if number == _OPSET_DOMAIN and isinstance(value, memoryview):
            domain = bytes(value).decode()
        elif number == _OPSET_VERSION and isinstance(value, int):
            version = value
    return domain or "ai.onnx", version


def _packed_input(node: memoryview) -> set[bytes]:
    """Name of the initializer in which an operation keeps 4-bit numbers; none where it keeps others."""
    inputs: list[bytes] = []
    kind, bits = b"", 4
    for number, value in fields(node):
        if isinstance(value, int):
            continue
        if number == _NODE_INPUT:
            inputs.append(bytes(value))
        elif number == _NODE_TYPE:
            kind = bytes(value)
        elif number == _NODE_ATTRIBUTE:
            parts = dict(fields(value))
            if bytes(parts.get(_ATTRIBUTE_NAME, b"")) == b"bits":
                bits = int(parts.get(_ATTRIBUTE_INT, 0))
    return {inputs[1]} if kind == _PACKED and bits == 4 and len(inputs) > 1 else set()  # noqa: PLR2004  # see the name


def _name(tensor: memoryview) -> bytes:
    return next((bytes(v) for number, v in fields(tensor) if number == _TENSOR_NAME and isinstance(v, memoryview)), b"")


def weight_count(tensor: memoryview) -> int:
    """Number of weights in an initializer; 0 for whole numbers, which are shapes and indices."""
    kind, size = _type_and_size(tensor)
    return size if kind in _FLOATS else 0


def _type_and_size(tensor: memoryview) -> tuple[str | None, int]:
    """Element type of an initializer, ``None`` where it holds no weights, and how many elements it has."""
    kind = next((value for number, value in fields(tensor) if number == _TENSOR_TYPE and isinstance(value, int)), 0)
    return _WEIGHTS.get(kind), math.prod(whole_numbers(tensor, _TENSOR_DIMS))


def whole_numbers(message: memoryview, wanted: int) -> list[int]:
    """The numbers of a repeated field, packed or not."""
    found: list[int] = []
    for number, value in fields(message):
        if number == wanted and isinstance(value, int):
            found.append(value)
        elif number == wanted and isinstance(value, memoryview):
            place = 0
            while place < len(value):
                one, place = varint(value, place)
                found.append(one)
    return found


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of each field of one message; what has a length is skipped over, not copied.

    Raises:
        ValueError: The bytes are no protobuf message.
        IndexError: They end within a number.
    """
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = varint(data, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = varint(data, place)
        elif kind in {_FIXED32, _FIXED64}:
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"field {number} has the unknown type {kind}")
        if place + length > len(data):
            raise ValueError(f"field {number} ends after the file")
        yield number, data[place : place + length]
        place += length


def varint(data: memoryview, place: int) -> tuple[int, int]:
    """The number at ``place``, and the place after it; errors as for `fields`."""
    value = 0
    for count in range(_LONGEST_VARINT):
        byte = data[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            return value, place + count + 1
    raise ValueError("a number is too long")
