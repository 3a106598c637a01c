"""Just enough of the protobuf wire format to find and change weights in an ``.onnx`` file without the onnx package.

Source: protobuf.dev "Encoding", and onnx.proto for the field numbers.
"""

import struct
from dataclasses import dataclass

import numpy as np

MODEL_GRAPH, GRAPH_INITIALIZER = 7, 5
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW = 1, 2, 8, 9
FLOAT = 1


@dataclass(frozen=True, slots=True)
class Weight:
    """Where a float32 initializer's bytes lie."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


def weights_of(content):
    """The float32 initializers of a file."""
    found = []
    for field, start, stop in _fields(content, 0, len(content)):
        if field == MODEL_GRAPH:
            for inner, begin, end in _fields(content, start, stop):
                if inner == GRAPH_INITIALIZER:
                    found += _weight(content, begin, end)
    return found


def read(content, weight):
    return np.frombuffer(content[weight.start : weight.stop], "<f4").reshape(weight.shape)


def replaced(content, weight, values):
    """The file with other values in one weight."""
    fresh = np.ascontiguousarray(values, "<f4").tobytes()
    assert len(fresh) == weight.stop - weight.start
    return content[: weight.start] + fresh + content[weight.stop :]


def largest(content):
    """The weight with the most numbers, which in the tutorial's model is the hidden layer's kernel."""
    return max(weights_of(content), key=lambda weight: weight.stop - weight.start)


def classes_bias(content):
    """The ten numbers that are added to the scores of the classes."""
    return next(weight for weight in weights_of(content) if weight.shape in {(10,), (1, 10)})


def _weight(content, begin, end):
    dims, kind, name, raw = [], None, "", None
    for field, start, stop in _fields(content, begin, end):
        if field == TENSOR_DIMS:
            dims += _varints(content, start, stop)
        elif field == TENSOR_TYPE:
            kind = _varint(content, start)[0]
        elif field == TENSOR_NAME:
            name = content[start:stop].decode()
        elif field == TENSOR_RAW:
            raw = start, stop
    return [Weight(name, tuple(dims), *raw)] if kind == FLOAT and raw else []


def _fields(content, position, end):
    """Field numbers with the place of their content; a varint's content is the varint itself."""
    while position < end:
        tag, position = _varint(content, position)
        wire = tag & 7
        if wire == 2:
            length, position = _varint(content, position)
            stop = position + length
        elif wire == 0:
            stop = _varint(content, position)[1]
        else:
            stop = position + struct.calcsize({1: "<d", 5: "<f"}[wire])
        yield tag >> 3, position, stop
        position = stop


def _varints(content, position, stop):
    while position < stop:
        value, position = _varint(content, position)
        yield value


def _varint(content, position):
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
