"""What a Keras model is called with and what it answers, under names free of the process-wide counters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras
import onnx

from mnistkit.core.contract import BATCH
from mnistkit.core.errors import ExportError, InputError
from mnistkit.core.runtime import TensorInfo
from mnistkit.export.native.signature import signature as input_signature
from mnistkit.export.native.trace import trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a model, and how to call it.

    Attributes:
        inputs: Inputs in the flat order of the model's own structure.
        outputs: Outputs likewise.
        structure: The nesting in which the model takes its inputs, with anything as leaves.
        keywords: Argument names, when the model takes more than one argument; then ``structure`` is a list of them.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    structure: Any
    keywords: tuple[str, ...]

    def __str__(self) -> str:
        inputs, outputs = ("; ".join(map(str, tensors)) or "nothing" for tensors in (self.inputs, self.outputs))
        return f"{inputs} -> {outputs}"

    @property
    def batch(self) -> int | None:
        """Size of the batch axis where the model itself fixes it, as ``keras.Input(batch_size=N)`` does."""
        sizes = {size for tensor in self.inputs for size in tensor.shape[:1] if isinstance(size, int)}
        return sizes.pop() if len(sizes) == 1 else None

    def renamed(self, *, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None) -> Signature:
        """The same with other names.

        Raises:
            InputError: There are more or fewer names than tensors, or one is empty or used twice.
        """
        changes: dict[str, Any] = {}
        for kind, names in (("inputs", inputs), ("outputs", outputs)):
            tensors: tuple[TensorInfo, ...] = getattr(self, kind)
            if names is None:
                continue
            if len(names) != len(tensors) or not all(names):
                raise InputError(f"{len(names)} names for {len(tensors)} {kind}: {', '.join(names)}; give one for each")
            changes[kind] = tuple(replace(tensor, name=name) for tensor, name in zip(tensors, names, strict=True))
        result = replace(self, **changes)
        every = [tensor.name for tensor in (*result.inputs, *result.outputs)]
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise InputError(f"names used twice: {', '.join(twice)}; give every input and output its own")
        return result

    def with_batch(self, size: int) -> Signature:
        """The same with the batch axis fixed."""

        def fixed(tensors: tuple[TensorInfo, ...]) -> tuple[TensorInfo, ...]:
            return tuple(
                replace(tensor, shape=tuple(size if axis == BATCH else axis for axis in tensor.shape))
                for tensor in tensors
            )

        return replace(self, inputs=fixed(self.inputs), outputs=fixed(self.outputs))

    def call(self, model: Any, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Keras' inference answers by output name, for arrays by input name."""
        flat = self.apply(model, self.tensors(arrays))
        return self.named([keras.ops.convert_to_numpy(answer) for answer in flat])

    def tensors(self, arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Arrays by input name as Keras' tensors, in the order of the inputs."""
        return [keras.ops.convert_to_tensor(arrays[tensor.name], dtype=tensor.dtype) for tensor in self.inputs]

    def apply(self, model: Any, tensors: Sequence[Any]) -> list[Any]:
        """Keras' inference answers to tensors, in the order of the outputs; an answer ``None`` is no output."""
        packed = keras.tree.pack_sequence_as(self.structure, list(tensors))
        if self.keywords:
            named = dict(zip(self.keywords, packed, strict=True))
            answers = model(named.pop(self.keywords[0]), **named, training=False)
        else:
            answers = model(packed, training=False)
        return [answer for answer in keras.tree.flatten(answers) if answer is not None]

    def named(self, answers: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Answers in the order of the outputs, by their names."""
        return {tensor.name: answer for tensor, answer in zip(self.outputs, answers, strict=True)}


def signature_of_graph(model: Any, graph: onnx.GraphProto) -> Signature:
    """Signature of a model that the native exporter wrote: names and shapes are the graph's."""
    structure, _, keywords = input_signature(model)
    return Signature(_declared(graph.input), _declared(graph.output), structure, tuple(keywords))


def signature_of_model(model: Any) -> Signature:
    """Signature of a model that another exporter is to write: names and shapes as the native exporter would give them.

    Raises:
        ExportError: Nothing says what the model is called with.
    """
    structure, names, keywords = input_signature(model)
    specs = keras.tree.flatten(structure)
    inputs = tuple(
        TensorInfo(name, spec.dtype, _sizes(spec.shape, name)) for name, spec in zip(names, specs, strict=True)
    )
    try:
        traced = trace(model)
    except ExportError:  # the native exporter cannot follow this model; its outputs are known to Keras alone
        flat = [tensor for tensor in keras.tree.flatten(getattr(model, "outputs", None) or []) if tensor is not None]
        found = [(f"output_{n}", str(tensor.dtype), tuple(tensor.shape)) for n, tensor in enumerate(flat)]
    else:
        flat = [tensor for tensor in keras.tree.flatten(traced.outputs) if tensor is not None]
        # a free size is an int of a special type there
        shapes = [tuple(size if type(size) is int else None for size in tensor.shape) for tensor in flat]
        found = [
            (name, str(tensor.dtype), shape)
            for name, tensor, shape in zip(traced.output_names, flat, shapes, strict=True)
        ]
    if not found:
        raise ExportError(f"{model.name}: its outputs are not known before a call; build it as a functional model")
    taken = {tensor.name for tensor in inputs}
    outputs = tuple(
        TensorInfo(name if name not in taken else f"{name}_output", dtype, _sizes(shape, None))
        for name, dtype, shape in found
    )
    return Signature(inputs, outputs, structure, tuple(keywords))


def _declared(values: Any) -> tuple[TensorInfo, ...]:
    found = []
    for value in values:
        tensor = value.type.tensor_type
        sizes = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
        found.append(TensorInfo(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, sizes))
    return tuple(found)


def _sizes(shape: Sequence[int | None], name: str | None) -> tuple[int | str | None, ...]:
    """Shape with the batch axis and the other free axes of an input named; free axes of outputs have no name."""
    sizes: list[int | str | None] = [
        size if size is not None or name is None else f"{name}_{axis}" for axis, size in enumerate(shape)
    ]
    if sizes and shape[0] is None:
        sizes[0] = BATCH
    return tuple(sizes)
