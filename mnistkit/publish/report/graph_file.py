"""The operations of an ``.onnx`` file, read from its bytes, and the shapes between them, asked of onnxruntime.

Source of the field numbers: onnx/onnx.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnistkit.core.errors import InputError, MissingExtraError, ModelFileError
from mnistkit.core.onnx_header import fields, weight_count, whole_numbers
from mnistkit.core.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.core.tensors import TensorInfo

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTEGERS = 1, 6, 8
_TENSOR_NAME, _VALUE_NAME = 8, 1
_DEEPEST = 20  # loops within loops
_MOST_BYTES = 512 * 1024**2  # of a file that is handed to onnxruntime twice


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes:
        operator: ``"Conv"``, ``"Relu"`` and so on.
        name: Its own name; may be empty.
        inputs: Names of the tensors it takes; those that a loop or a branch inside it takes as well.
        outputs: Names of the tensors it gives.
        kernel: ``kernel_shape`` of a convolution or pooling, else empty.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernel: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """The operations of a file, in the order in which they can run.

    Attributes:
        nodes: The operations, without those inside loops and branches.
        weights: Number of floating-point weights of each initializer by name; 0 for whole numbers.
        inputs: Names of the graph's inputs that are no initializers.
        outputs: Names of its outputs.
    """

    nodes: tuple[Node, ...]
    weights: dict[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(content: bytes) -> Graph:
    """Read the operations of a file.

    Raises:
        ModelFileError: The bytes are not those of an ONNX model.
    """
    try:
        for number, value in fields(memoryview(content)):
            if number == _MODEL_GRAPH and isinstance(value, memoryview):
                return _read_graph(value)
    except (ValueError, IndexError) as error:
        raise ModelFileError(f"not an ONNX model ({error})") from error
    raise ModelFileError("not an ONNX model (it has no graph)")


def read_shapes(content: bytes, graph: Graph) -> dict[str, TensorInfo]:
    """Types and shapes of all tensors, as onnxruntime infers them; empty where it cannot.

    Every tensor is declared an output of the graph. A protobuf message may be written in parts, so the new outputs
    stand behind the file's own bytes.
    """
    known = {*graph.outputs, *graph.weights}
    wanted = dict.fromkeys(name for node in graph.nodes for name in node.outputs if name and name not in known)
    if len(content) > _MOST_BYTES:
        return {}
    more = b"".join(_field(_GRAPH_OUTPUT, _field(_VALUE_NAME, name.encode())) for name in wanted)
    try:
        runtime = Runtime(content + _field(_MODEL_GRAPH, more), device="cpu", threads=1, optimize=False)
    except (ModelFileError, MissingExtraError, InputError, TypeError):  # TypeError: a tensor that has no shape at all
        return {}
    return {tensor.name: tensor for tensor in (*runtime.inputs, *runtime.outputs)}


def _read_graph(data: memoryview) -> Graph:
    nodes: list[Node] = []
    weights: dict[str, int] = {}
    inputs: list[str] = []
    outputs: list[str] = []
    for number, value in fields(data):
        if not isinstance(value, memoryview):
            continue
        if number == _GRAPH_NODE:
            nodes.append(_read_node(value, depth=0))
        elif number == _GRAPH_INITIALIZER:
            weights[_text(value, _TENSOR_NAME)] = weight_count(value)
        elif number == _GRAPH_INPUT:
            inputs.append(_text(value, _VALUE_NAME))
        elif number == _GRAPH_OUTPUT:
            outputs.append(_text(value, _VALUE_NAME))
    return Graph(tuple(nodes), weights, tuple(name for name in inputs if name not in weights), tuple(outputs))


def _read_node(data: memoryview, *, depth: int) -> Node:
    if depth > _DEEPEST:
        raise ValueError("graphs are nested too deeply")
    inputs, outputs, name, operator = [], [], "", ""
    kernel: tuple[int, ...] = ()
    for number, value in fields(data):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE_INPUT:
            inputs.append(_decoded(value))
        elif number == _NODE_OUTPUT:
            outputs.append(_decoded(value))
        elif number == _NODE_NAME:
            name = _decoded(value)
        elif number == _NODE_OPERATOR:
            operator = _decoded(value)
        elif number == _NODE_ATTRIBUTE:
            if _text(value, _ATTRIBUTE_NAME) == "kernel_shape":
                kernel = tuple(whole_numbers(value, _ATTRIBUTE_INTEGERS))
            inputs.extend(_taken_inside(value, depth=depth))
    return Node(operator, name, tuple(dict.fromkeys(inputs)), tuple(outputs), kernel)


def _taken_inside(attribute: memoryview, *, depth: int) -> Iterator[str]:
    """What the operations of a loop's or branch's own graph take; some of it comes from outside."""
    for number, value in fields(attribute):
        if number == _ATTRIBUTE_GRAPH and isinstance(value, memoryview):
            for part, inner in fields(value):
                if part == _GRAPH_NODE and isinstance(inner, memoryview):
                    yield from _read_node(inner, depth=depth + 1).inputs


def _text(message: memoryview, wanted: int) -> str:
    for number, value in fields(message):
        if number == wanted and isinstance(value, memoryview):
            return _decoded(value)
    return ""


def _decoded(value: memoryview) -> str:
    return bytes(value).decode(errors="replace")


def _field(number: int, content: bytes) -> bytes:
    """A field with a length, as protobuf writes it."""
    return bytes([number << 3 | 2]) + _length(len(content)) + content


def _length(size: int) -> bytes:
    written = bytearray()
    while size > 0x7F:  # noqa: PLR2004  # seven bits a byte
        written.append(size & 0x7F | 0x80)
        size >>= 7
    written.append(size)
    return bytes(written)
