"""Layers that Keras has quantized (``model.quantize("int8")`` and the other modes), called on symbolic tensors.

What is called is Keras' own ``quantized_call``, so the arithmetic is that of the version of Keras at hand. It runs on a
copy of the layer in which the variables are symbolic too. So everything that is done to the stored integers is recorded
and not computed: the file has the integers, and the operations on them. Five functions of Keras are replaced for it
(:mod:`.patches`):

* ``custom_gradient`` calls the function and drops the gradient;
* ``unpack_int4`` of a variable is one operation, which is written as ONNX' own 4-bit type;
* ``dequantize_with_sz_map`` repeats the scale of each group, where the groups are equally long and in order;
* ``quantize_and_dequantize`` of a variable stores it in 8-bit floats;
* ``keras.src.backend.backend`` names no backend: layers take the same way on all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import KerasTensor, ops

from mnistkit.core.errors import one_line
from mnistkit.export.native.arrays import to_numpy
from mnistkit.export.native.registry import UnsupportedOp
from mnistkit.export.native.value_types import copied_operation, held_type

if TYPE_CHECKING:
    from mnistkit.export.native.current_trace import ActiveTracer
    from mnistkit.export.native.records import Record


class StoredWeight(keras.Operation):
    """A variable of a quantized layer, read during its call."""


class UnpackedInt4(keras.Operation):
    """Numbers of four bits, of which a variable has two in each byte.

    Args:
        length: How many numbers the packed axis has.
        axis: The packed axis, from 0.
        signed: Whether they are -8 to 7; else 0 to 15.
    """

    def __init__(self, length: int, axis: int, *, signed: bool) -> None:
        super().__init__(name="unpack_int4")
        self.length, self.axis, self.signed = length, axis, signed


class Float8Codes(keras.Operation):
    """A variable divided by a scale, limited to the range of a float of 8 bits, and rounded to it."""

    def __init__(self, dtype: str) -> None:
        super().__init__(name="float8")
        self.dtype = dtype


class StoredTensor(KerasTensor):
    """The symbolic tensor that stands for a variable."""

    variable: Any


def call_quantized(tracer: ActiveTracer, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do what ``layer.quantized_call`` does, on symbolic tensors.

    Args:
        tracer: Writes the operations down.
        layer: A layer with a quantization mode; it is not changed.
        args: As for ``layer.call``.
        kwargs: Likewise.

    Raises:
        UnsupportedOp: Keras has no such call for the layer.
        Exception: The call does not run on symbolic tensors.
    """
    stored = {name: _stored(tracer, value) for name, value in vars(layer).items() if isinstance(value, keras.Variable)}
    tracer.quantized_calls += 1
    try:
        return copied_operation(layer, stored).quantized_call(*args, **kwargs)
    except NotImplementedError as error:
        raise UnsupportedOp(
            f"quantized to {layer.quantization_mode}, which Keras does not compute for it "
            f"({one_line(error, limit=120)}); give it a dtype_policy without quantization",
            is_final=True,
        ) from error
    finally:
        tracer.quantized_calls -= 1


def _stored(tracer: ActiveTracer, variable: Any) -> StoredTensor:
    dtype = held_type(keras.backend.standardize_dtype(variable.dtype))  # the policy's, within the layer's call
    tensor = StoredTensor(variable.shape, dtype=dtype)
    tensor.variable = variable
    tracer.record(StoredWeight(name=variable.name), (variable,), {}, tensor)
    return tensor


# -- replacements -----------------------------------------------------------------------------------------------------


def without_gradient(
    _: ActiveTracer, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``custom_gradient``: a function that gives its answer alone for symbolic tensors."""
    function = args[0] if args else next(iter(kwargs.values()))

    def answer(*values: Any, **named: Any) -> Any:
        if any(isinstance(x, KerasTensor) for x in (*values, *named.values())):
            return function(*values, **named)[0]
        return original(function)(*values, **named)

    return answer


def unpack_int4(
    tracer: ActiveTracer, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``keras.quantizers.unpack_int4``: the 4-bit numbers of a variable are not computed but stored as such."""
    given = _bound(original, args, kwargs)
    found = _variable_of(tracer, given["packed"])
    if found is None:
        return original(*args, **kwargs)
    stored, is_transposed = found
    axis = given["axis"] % len(stored.shape)
    axis = len(stored.shape) - 1 - axis if is_transposed else axis
    shape = [given["orig_len"] if place == axis else size for place, size in enumerate(stored.shape)]
    unpacked = KerasTensor(shape, dtype=given["dtype"])
    target = UnpackedInt4(given["orig_len"], axis, signed=given["dtype"] == "int8")
    tracer.record(target, (stored.variable,), {}, unpacked)
    return ops.transpose(unpacked) if is_transposed else unpacked


def dequantize_groups(
    tracer: ActiveTracer, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``dequantize_with_sz_map``: without an index for each row, where the groups are equally long and in order."""
    given = _bound(original, args, kwargs)
    found = _variable_of(tracer, given["g_idx"])
    if found is None:
        return original(*args, **kwargs)
    groups = to_numpy(found[0].variable.value).astype(np.int64)
    length = int((groups == 0).sum())
    if length == 0 or not np.array_equal(groups, np.arange(groups.size) // length):
        return original(*args, **kwargs)
    scale = given["scale"]
    axis = given.get("group_axis", -1) % len(scale.shape)
    if groups[-1] + 1 != scale.shape[axis]:
        return original(*args, **kwargs)

    def spread(x: Any) -> Any:
        if x.shape[axis] == 1:
            return x
        rows = ops.repeat(x, length, axis=axis)
        rest = length * (int(groups[-1]) + 1) - groups.size
        return rows[(slice(None),) * axis + (slice(0, groups.size),)] if rest else rows

    zero = ops.cast(given["zero"], scale.dtype)
    return ops.multiply(ops.subtract(given["weights_matrix"], spread(zero)), spread(scale))


def store_float8(
    tracer: ActiveTracer, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``keras.quantizers.quantize_and_dequantize``: a variable is stored in 8 bits."""
    given = _bound(original, args, kwargs)
    found, scale = _variable_of(tracer, given["inputs"]), _variable_of(tracer, given["scale"])
    if found is None or scale is None or found[1]:
        return original(*args, **kwargs)
    codes = KerasTensor(found[0].shape, dtype=given["quantized_dtype"])
    tracer.record(Float8Codes(given["quantized_dtype"]), (found[0].variable, scale[0].variable), {}, codes)
    dtype = given["compute_dtype"]
    return ops.multiply(ops.cast(codes, dtype), ops.cast(given["scale"], dtype))


def name_no_backend(
    tracer: ActiveTracer, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """``keras.src.backend.backend``: quantized layers ask it for a way around a product that PyTorch lacks."""
    return "numpy" if tracer.quantized_calls else str(original(*args, **kwargs))


def _bound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def _variable_of(tracer: ActiveTracer, tensor: Any) -> tuple[StoredTensor, bool] | None:
    """Return the variable that a tensor is, and whether its axes are in reverse order; None for any other tensor."""
    is_transposed = False
    while isinstance(tensor, KerasTensor):
        if isinstance(tensor, StoredTensor):
            return tensor, is_transposed
        record: Record | None = next((r for r in reversed(tracer.trace.records) if r.outputs is tensor), None)
        kind = type(record.target).__name__ if record is not None else ""
        if record is None or not (kind == "ConvertToTensor" or (kind == "Transpose" and record.target.axes is None)):
            return None
        is_transposed ^= kind == "Transpose"
        tensor = record.args[0]
    return None
