"""Opset, IR version and parameters are read from the bytes, without the onnx package."""

from pathlib import Path

import pytest

import mnistkit
from mnistkit.core.errors import ModelFileError
from mnistkit.core.onnx_header import read_header

EXPORTS = Path(mnistkit.__file__).parents[1] / "exports"


def field(number, value):
    """One protobuf field: a varint for a number, else bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    parts = []
    while True:
        parts.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(parts)


def tensor(*sizes, kind=1, packed=False):
    dims = field(1, b"".join(map(varint, sizes))) if packed else b"".join(field(1, size) for size in sizes)
    return dims + field(2, kind) + field(9, b"any bytes")


def model(*graph, ir=8):
    opsets = field(8, field(1, b"") + field(2, 17)) + field(8, field(1, b"com.example") + field(2, 300))
    fixed = varint(99 << 3 | 1) + bytes(8) + varint(98 << 3 | 5) + bytes(4)  # unknown fields of a fixed size
    return field(1, ir) + field(2, b"someone") + fixed + field(7, b"".join(graph)) + opsets


def test_the_fields():
    graph = [field(1, b""), field(1, b""), field(5, tensor(784, 32)), field(5, tensor(32, packed=True))]
    header = read_header(model(*graph))
    assert header.opsets == {"ai.onnx": 17, "com.example": 300}
    assert (header.ir_version, header.producer) == (8, "someone")
    assert (header.nodes, header.parameters) == (2, 784 * 32 + 32)


def test_whole_numbers_are_no_parameters_and_a_scalar_is_one():
    graph = [field(5, tensor(2, kind=7)), field(5, tensor()), field(5, tensor(3, kind=10))]
    assert read_header(model(*graph)).parameters == 1 + 3


def test_the_tutorials_file():
    if not EXPORTS.is_dir():
        pytest.skip("tested from an installed wheel")
    header = read_header((EXPORTS / "mnist-jax.onnx").read_bytes())
    assert (header.opsets, header.ir_version, header.producer) == ({"ai.onnx": 17}, 8, "mnistkit")
    assert header.parameters == 784 * 32 + 32 + 32 * 10 + 10


@pytest.mark.parametrize(
    "content",
    [b"\x0b", b"<html>", model(field(5, tensor(2)))[:-3], b"\xff" * 20, b"\x3a\xff\x01", field(2, b"\xff")],
    ids=repr,
)
def test_other_bytes(content):
    with pytest.raises(ModelFileError, match="not an ONNX model"):
        read_header(content)
