"""The ways to a smaller file, each by a tool of onnxruntime's.

8-bit weights keep to 7 of their bits (``reduce_range``): on x86 processors without VNNI, onnxruntime adds two products
in 16 bits, which overflow with more, so that the same file would answer differently from machine to machine. Unsigned
weights would not overflow, and take longer there than float32. Source: onnxruntime's page "Quantize ONNX models",
section "Data type selection".
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.core.runtime import Runtime
from mnistkit.publish.drawn_inputs import batch_axis
from mnistkit.publish.shrink.tools import load_tool, quiet, read_proto, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mnistkit.publish.drawn_inputs import Arrays

_WATCHED = 8  # runs, of one row where the batch is free
_PER_CHANNEL = 13  # opset in which DequantizeLinear got its axis
_BLOCK = 32  # weights that share a scale in 4-bit files
_LARGE = 64  # rows and columns of a matrix, from which 4 bits are tried
_INSIDE_DYNAMIC = ["MatMul", "Gather", "LSTM", "Attention", "EmbedLayerNormalization"]
"""Without Conv: an integer convolution with scales found as it runs takes ten times as long as one of floats."""
_INSIDE_STATIC = ["Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", "MaxPool", "Relu", "Clip"]
"""Where the work is, and what passes values on; sums, softmax and normalizations stay float32."""
_PASSING_ON = ["Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"]


@dataclass(frozen=True, slots=True)
class Method:
    """One way.

    Attributes:
        name: In the table.
        kind: ``"fp16"``, ``"int8"`` or ``"int4"``.
        words: What it does.
        types: Element types that most of its weights must have.
        convert: From a float32 model and inputs to calibrate on to the smaller model; raises what the tool raises.
    """

    name: str
    kind: str
    words: str
    types: tuple[str, ...]
    convert: Callable[[Any, Sequence[Arrays]], Any]


def _float16(proto: Any, calibration: Sequence[Arrays]) -> Any:
    tool = load_tool("onnxruntime.transformers.float16")
    with quiet():
        smaller = tool.convert_float_to_float16(copy.deepcopy(proto), keep_io_types=True)
    _check_overflow(smaller, calibration)
    return smaller


def _check_overflow(proto: Any, calibration: Sequence[Arrays]) -> None:
    """Look at every float16 value between the operations, on a few rows.

    A processor computes most of a float16 file in float32 and never sees that a value is too large; a GPU does.

    Raises:
        InputError: One is infinite or NaN.
    """
    onnx = load_tool("onnx")
    watched = copy.deepcopy(proto)
    there = {one.name for one in watched.graph.output}
    names = [name for node in watched.graph.node for name in node.output if name and name not in there]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    runtime = Runtime(watched.SerializeToString(), device="cpu", optimize=False)
    batched = batch_axis(runtime)[0]
    for run in calibration[:_WATCHED]:
        found = runtime.run({name: array[:1] for name, array in run.items()} if batched else run)
        if not all(np.isfinite(array).all() for array in found.values() if array.dtype == np.float16):
            raise InputError("it overflows: a value inside passes 65,504, where float16 ends")


def _dynamic(proto: Any, calibration: Sequence[Arrays]) -> Any:  # noqa: ARG001  # one form for all
    tool = load_tool("onnxruntime.quantization")
    with quiet(), scratch() as folder:
        tool.quantize_dynamic(
            copy.deepcopy(proto),
            folder / "int8.onnx",
            per_channel=True,
            reduce_range=True,
            weight_type=tool.QuantType.QInt8,
            op_types_to_quantize=_INSIDE_DYNAMIC,
            extra_options={"MatMulConstBOnly": True},
        )
        return read_proto(folder / "int8.onnx")


def _static(proto: Any, calibration: Sequence[Arrays]) -> Any:
    opset = max((entry.version for entry in proto.opset_import if entry.domain in {"", "ai.onnx"}), default=0)
    if opset < _PER_CHANNEL:
        raise InputError(f"needs opset {_PER_CHANNEL} for scales per channel, and the file has {opset}")
    tool = load_tool("onnxruntime.quantization")
    with quiet(), scratch() as folder:
        tool.quantize_static(
            _prepared(proto),
            folder / "int8.onnx",
            _reader(tool, calibration),
            per_channel=True,
            reduce_range=True,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
            op_types_to_quantize=[*_INSIDE_STATIC, *_PASSING_ON],
            extra_options={"MatMulConstBOnly": True},
        )
        return read_proto(folder / "int8.onnx")


def _four_bits(proto: Any, calibration: Sequence[Arrays]) -> Any:  # noqa: ARG001  # one form for all
    if not _has_large_matrix(proto):
        raise InputError(f"no matrix of {_LARGE} rows and columns or more")
    nbits = load_tool("onnxruntime.quantization.matmul_nbits_quantizer")
    model = load_tool("onnxruntime.quantization.onnx_model").ONNXModel(copy.deepcopy(proto))
    with quiet():
        model.replace_gemm_with_matmul()
        tool = nbits.MatMulNBitsQuantizer(
            model.model,
            block_size=_BLOCK,
            is_symmetric=True,
            op_types_to_quantize=("MatMul", "Gather"),
            quant_axes=(("MatMul", 0), ("Gather", 1)),
            nodes_to_exclude=_small(model.model),
        )
        tool.process()
    return tool.model.model


METHODS = (
    Method("fp16", "fp16", "float16 inside, float32 inputs and outputs", ("float16",), _float16),
    Method("int8-static", "int8", "8-bit weights, activations calibrated", ("int8", "uint8"), _static),
    Method("int8-dynamic", "int8", "8-bit weights, activations scaled as it runs", ("int8", "uint8"), _dynamic),
    Method("int4", "int4", "4-bit weights, in blocks of 32", ("int4", "uint4"), _four_bits),
)


def _reader(tool: Any, calibration: Sequence[Arrays]) -> Any:
    class Reader(tool.CalibrationDataReader):  # onnxruntime's class, loaded here
        def __init__(self) -> None:
            self._rows = iter(calibration)

        def get_next(self) -> Any:
            return next(self._rows, None)

    return Reader()


def _prepared(proto: Any) -> Any:
    """The model as onnxruntime's own first step leaves it: folded, with the shapes that the quantizer asks for.

    The step optimizes, which some models do not survive; they are quantized as they are.
    """
    tool = load_tool("onnxruntime.quantization.shape_inference")
    with scratch() as folder:
        before, after = folder / "before.onnx", folder / "after.onnx"
        before.write_bytes(proto.SerializeToString())
        try:
            tool.quant_pre_process(str(before), str(after), skip_symbolic_shape=True)
            return read_proto(after)
        except Exception:  # noqa: BLE001  # as above; what cannot be quantized then is told by the quantizer
            return copy.deepcopy(proto)


def _weights(proto: Any) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}


def _has_large_matrix(proto: Any) -> bool:
    shapes = _weights(proto)
    used = (n for n in proto.graph.node if n.op_type in {"MatMul", "Gemm", "Gather"})
    return any(_is_large(shapes.get(name, ())) for node in used for name in node.input)


def _is_large(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and min(shape) >= _LARGE and math.prod(shape) > 0  # noqa: PLR2004  # a matrix


def _small(proto: Any) -> list[str]:
    """Names of the nodes that stay as they are: those without a large matrix of float32; every node gets a name."""
    shapes, names = _weights(proto), []
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"shrink_{number}"
        place = {"MatMul": 1, "Gather": 0}.get(node.op_type)
        if place is not None and not _is_large(shapes.get(node.input[place], ())):
            names.append(node.name)
    return names
