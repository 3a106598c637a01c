"""What a Keras model is called with and what it answers, under names free of the process-wide counters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras
import onnx

from mnistkit.core.contract import BATCH
from mnistkit.core.errors import ExportError, InputError
from mnistkit.core.tensors import TensorInfo
from mnistkit.export.native.signature import signature as input_signature
from mnistkit.export.native.signature import state_variables
from mnistkit.export.native.size_decisions import FreeSizeError
from mnistkit.export.native.trace import trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mnistkit.export.native import Conversion


TEXT = ("object", "str", "string")
"""Names that the types of inputs of text go by."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a model, and how to call it.

    Attributes:
        inputs: Inputs in the flat order of the model's own structure.
        outputs: Outputs likewise.
        structure: The nesting in which the model takes its inputs, with anything as leaves.
        keywords: Argument names, when the model takes more than one argument; then ``structure`` is a list of them.
        outputs_by_name: The model answers with a dict, whose order is that of its keys and not the user's.
        states: Variables in which layers keep tensors between calls. Their values before a call are the last inputs,
            those after it the last outputs.
        reset: Such variables that are zero at the begin of every call instead.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    structure: Any
    keywords: tuple[str, ...]
    outputs_by_name: bool = False
    states: tuple[Any, ...] = ()
    reset: tuple[Any, ...] = ()

    def __str__(self) -> str:
        inputs, outputs = ("; ".join(map(str, tensors)) or "nothing" for tensors in (self.inputs, self.outputs))
        return f"{inputs} -> {outputs}"

    @property
    def batch(self) -> int | None:
        """Size of the batch axis where the model itself fixes it, as ``keras.Input(batch_size=N)`` does."""
        sizes = {size for tensor in self.inputs for size in tensor.shape[:1] if isinstance(size, int)}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def state_names(self) -> tuple[tuple[str, str], ...]:
        """For each kept state the name of its input and that of its output."""
        count = len(self.states)
        pairs = zip(self.inputs[-count:], self.outputs[-count:], strict=True) if count else ()
        return tuple((before.name, after.name) for before, after in pairs)

    def check_order(self, *, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None) -> None:
        """Refuse names in order for tensors that have none.

        Raises:
            InputError: The model takes, or gives, several tensors by name.
        """
        named = {"inputs": (inputs, _has_dict(self.structure)), "outputs": (outputs, self.outputs_by_name)}
        for kind, (names, by_name) in named.items():
            old = self._own(kind)
            if names is not None and by_name and len(old) > 1:
                known = ", ".join(tensor.name for tensor in old)
                pairs = " ".join(f"--rename {tensor.name}=NEW" for tensor in old)
                raise InputError(
                    f"the model's {kind} have names and no order ({known}); rename each by its own: {pairs}, or "
                    "rename={...} in Python"
                )

    def renamed_by(self, names: Mapping[str, str]) -> Signature:
        """The same with other names for some tensors, by their present names.

        Raises:
            InputError: No input or output has such a name, or a new one is empty or used twice.
        """
        known = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise InputError(f"nothing to rename is called {', '.join(unknown)}; there are {', '.join(known)}")
        return self.renamed(
            inputs=[names.get(tensor.name, tensor.name) for tensor in self.inputs],
            outputs=[names.get(tensor.name, tensor.name) for tensor in self.outputs],
        )

    def renamed(self, *, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None) -> Signature:
        """The same with other names.

        States keep their names where only the model's own inputs or outputs get new ones.

        Raises:
            InputError: There are more or fewer names than tensors, or one is empty or used twice.
        """
        changes: dict[str, Any] = {}
        for kind, names in (("inputs", inputs), ("outputs", outputs)):
            tensors: tuple[TensorInfo, ...] = getattr(self, kind)
            if names is None:
                continue
            states = tensors[len(names) :] if len(names) == len(self._own(kind)) else ()
            given = [*names, *(tensor.name for tensor in states)]
            if len(given) != len(tensors) or not all(given):
                raise InputError(f"{len(names)} names for {len(tensors)} {kind}: {', '.join(names)}; give one for each")
            changes[kind] = tuple(replace(tensor, name=name) for tensor, name in zip(tensors, given, strict=True))
        result = replace(self, **changes)
        every = [tensor.name for tensor in (*result.inputs, *result.outputs)]
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise InputError(f"names used twice: {', '.join(twice)}; give every input and output its own")
        return result

    def _own(self, kind: str) -> tuple[TensorInfo, ...]:
        """The inputs or outputs without the states."""
        tensors: tuple[TensorInfo, ...] = getattr(self, kind)
        return tensors[: len(tensors) - len(self.states)]

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
        return [
            keras.ops.convert_to_tensor(arrays[tensor.name], dtype="string" if tensor.dtype in TEXT else tensor.dtype)
            for tensor in self.inputs
        ]

    def apply(self, model: Any, tensors: Sequence[Any], variables: Sequence[tuple[Any, Any]] = ()) -> list[Any]:
        """Keras' inference answers to tensors, in the order of the outputs; an answer ``None`` is no output.

        Args:
            model: The Keras model. What its layers keep between calls stays as it is.
            tensors: The inputs, in their order.
            variables: Variables of the model, and the values that they are to have.
        """
        own = len(tensors) - len(self.states)
        values = [*variables, *zip(self.states, tensors[own:], strict=True)]
        values += [(variable, keras.ops.zeros_like(variable.value)) for variable in self.reset]
        if not values:
            return self._call(model, tensors)
        with keras.StatelessScope(state_mapping=values) as scope:
            answers = self._call(model, tensors[:own])
            return [*answers, *(scope.get_current_value(variable) for variable in self.states)]

    def _call(self, model: Any, tensors: Sequence[Any]) -> list[Any]:
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


def _has_dict(structure: Any) -> bool:
    if isinstance(structure, dict):
        return len(structure) > 1 or any(map(_has_dict, structure.values()))
    return isinstance(structure, (list, tuple)) and any(map(_has_dict, structure))


def signature_of_conversion(model: Any, written: Conversion, *, inputs: Any = None, stateful: bool = True) -> Signature:
    """Signature of a model that the native exporter wrote: names and shapes are the graph's.

    Args:
        model: The Keras model.
        written: What was written.
        inputs: As for `signature_of_model`.
        stateful: As for `mnistkit.export.native.convert`.
    """
    structure, _, keywords = input_signature(model, inputs=inputs)
    graph = written.proto.graph
    return Signature(
        _declared(graph.input),
        _declared(graph.output),
        structure,
        tuple(keywords),
        _has_dict(written.outputs),
        states=written.states,
        reset=() if stateful else tuple(state_variables(model)),
    )


def signature_of_model(model: Any, *, inputs: Any = None) -> Signature:
    """Signature of a model that another exporter is to write: names and shapes as the native exporter would give them.

    Args:
        model: The Keras model.
        inputs: What it is called with, as for `mnistkit.export.native.convert`; the model's own inputs by default.

    Raises:
        FreeSizeError: The model decides by a free size, which no exporter can write.
        ExportError: Nothing says what the model is called with.
    """
    structure, names, keywords = input_signature(model, inputs=inputs)
    specs = keras.tree.flatten(structure)
    tensors = tuple(
        TensorInfo(name, spec.dtype, _sizes(spec.shape, name)) for name, spec in zip(names, specs, strict=True)
    )
    by_name = False
    try:
        traced = trace(model, inputs=inputs)
    except FreeSizeError:
        raise
    except ExportError:  # the native exporter cannot follow this model; its outputs are known to Keras alone
        flat = [tensor for tensor in keras.tree.flatten(getattr(model, "outputs", None) or []) if tensor is not None]
        found = [(f"output_{n}", str(tensor.dtype), tuple(tensor.shape)) for n, tensor in enumerate(flat)]
    else:
        by_name = _has_dict(traced.outputs)
        flat = [tensor for tensor in keras.tree.flatten(traced.outputs) if tensor is not None]
        # a free size is an int of a special type there
        shapes = [tuple(size if type(size) is int else None for size in tensor.shape) for tensor in flat]
        found = [
            (name, str(tensor.dtype), shape)
            for name, tensor, shape in zip(traced.output_names, flat, shapes, strict=True)
        ]
    if not found:
        raise ExportError(f"{model.name}: its outputs are not known before a call; build it as a functional model")
    taken = {tensor.name for tensor in tensors}
    outputs = tuple(
        TensorInfo(name if name not in taken else f"{name}_output", dtype, _sizes(shape, None))
        for name, dtype, shape in found
    )
    return Signature(tensors, outputs, structure, tuple(keywords), by_name)


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
