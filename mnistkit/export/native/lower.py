"""Model in, ModelProto out: trace, hand each record to its handler, tidy up, serialise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import KerasTensor, tree

from mnistkit.core.errors import InputError, UnsupportedError
from mnistkit.export.native import decompositions as _decompositions  # noqa: F401  importing registers the decompositions
from mnistkit.export.native import lowerings as _lowerings  # noqa: F401  importing registers the handlers
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.lower_record import attributes_of, flat, handler_of, no_handler, tensors_in, write_record
from mnistkit.export.native.names import sanitize_name
from mnistkit.export.native.passes import optimize as run_passes
from mnistkit.export.native.records import KeptState, Trace, UnsupportedItem, Weight
from mnistkit.export.native.serialize import IO, serialize
from mnistkit.export.native.symbolic_dim import SymbolicDim
from mnistkit.export.native.trace import trace

MINIMUM_OPSET = 17


@dataclass(frozen=True, slots=True)
class Conversion:
    """A written model.

    Attributes:
        proto: The ``onnx.ModelProto``.
        layers: For each Keras layer path, the names of the graph outputs with that layer's outputs; empty unless asked.
        inputs: Structure of input names, as the Keras model takes its inputs.
        outputs: Structure of output names, as the Keras model gives its outputs.
        notes: What a reader of the report should know about the types that are computed in.
        states: The variables in which layers keep tensors between calls; the last inputs of the graph have their values
            before the call, the last outputs those after it, both in this order.
    """

    proto: Any
    layers: dict[str, list[str]]
    inputs: Any
    outputs: Any
    notes: tuple[str, ...] = ()
    states: tuple[Any, ...] = ()


class NoExporterError(UnsupportedError):
    """The model cannot be written, and what another exporter wrote could not be checked."""


class NewerOpsetError(UnsupportedError):
    """The model cannot be written with this opset, and can with a newer one."""

    def __init__(self, message: str, opset: int) -> None:
        super().__init__(message)
        self.opset = opset


def convert(
    model: Any,
    *,
    opset: int = 17,
    ir_version: int = 8,
    input_names: list[str] | None = None,
    output_names: list[str] | None = None,
    batch: int | None = None,
    inputs: Any = None,
    optimize: bool = True,
    layer_outputs: bool = False,
    stateful: bool = True,
) -> Conversion:
    """Write a Keras model as an ONNX model, at inference.

    Args:
        model: A built Keras model.
        opset: ONNX operator set, 17 or newer.
        ir_version: ONNX file format version.
        input_names: Names instead of Keras', in the flat order of the model's inputs.
        output_names: Names instead of the output layers', in the flat order of the model's outputs.
        batch: Fix the batch dimension to this size.
        inputs: Structure of ``keras.InputSpec`` or ``KerasTensor``, for a model that was never called.
        optimize: Keep image tensors channels-first, fold batch normalisations and paddings, use Gemm.
        layer_outputs: Add every layer's outputs to the graph's outputs, to find the first layer that differs.
        stateful: What layers with ``stateful=True`` keep between calls becomes inputs and outputs, after the model's
            own; else every call begins with zeros.

    Returns:
        The ``onnx.ModelProto`` and what goes with it: the same bytes, when serialised deterministically, for the same
        weights on every backend.

    Raises:
        UnsupportedError: Layers or operations without a translation; all of them are listed.
        ExportError: The model cannot be traced.
        InputError: The number of names does not fit the model, or the opset is too old.
    """
    if opset < MINIMUM_OPSET:
        raise InputError(
            f"the native exporter needs opset {MINIMUM_OPSET} or newer, got {opset}; leave opset out for the default"
        )
    traced = trace(model, batch=batch, inputs=inputs, stateful=stateful)
    graph = Graph(opset=opset, layouts=optimize)
    ins = _name_inputs(graph, traced, input_names)
    outs = _reserve_outputs(graph, traced, output_names)
    problems = _walk(graph, traced)
    if problems:
        listing = "; ".join(dict.fromkeys(str(problem) for problem in problems))
        message = f"{len(problems)} parts of the model cannot be written as ONNX: {listing}"
        needed = [problem.opset for problem in problems if problem.opset is not None]
        if any(problem.is_final for problem in problems):
            raise NoExporterError(message)
        if len(needed) == len(problems):
            raise NewerOpsetError(message, max(needed))
        raise UnsupportedError(message)
    finals = [_finish(graph, tensor, name) for tensor, name in zip(flat(traced.outputs), outs, strict=True)]
    kept = [_finish(graph, state.after, graph.unique(_state_name(state, "next_state"))) for state in traced.states]
    taps, layers = _taps(graph, traced) if layer_outputs else ([], {})
    nodes, initializers = run_passes(graph, [io.name for io in finals + kept + taps], enabled=optimize)
    proto = serialize(nodes, initializers, ins, finals + kept + taps, opset=opset, ir_version=ir_version)
    return Conversion(
        proto,
        layers,
        tree.pack_sequence_as(traced.input_structure, [io.name for io in ins[: len(traced.inputs)]]),
        _pack_names(traced.outputs, [io.name for io in finals]),
        tuple(sorted(graph.notes)),
        tuple(state.variable for state in traced.states),
    )


def _pack_names(outputs: Any, names: list[str]) -> Any:
    """The structure of the outputs with names in place of tensors; an optional answer that was not given stays None."""
    rest = iter(names)
    return tree.pack_sequence_as(outputs, [None if x is None else next(rest) for x in tree.flatten(outputs)])


def find_unsupported(model: Any, *, inputs: Any = None) -> list[UnsupportedItem]:
    """List every layer or operation that the native exporter cannot translate; empty when it can write the model.

    Args:
        model: A built Keras model.
        inputs: As for :func:`convert`.

    Raises:
        ExportError: The model cannot be traced at all.
    """
    traced = trace(model, inputs=inputs)
    graph = Graph(opset=MINIMUM_OPSET)
    _name_inputs(graph, traced, None)
    return list(dict.fromkeys(_walk(graph, traced)))


# -- the walk ---------------------------------------------------------------------------------------------------------


def _walk(graph: Graph, traced: Trace) -> list[UnsupportedItem]:
    problems = list(traced.unsupported)
    needed = _needed(traced)
    broken = {id(x) for x in tensors_in(traced.unsupported_outputs)}
    for index, record in enumerate(traced.records):
        if not needed[index]:
            continue
        if any(id(x) in broken for x in tensors_in((record.args, record.kwargs, attributes_of(record)))):
            broken.update(id(x) for x in tensors_in(record.outputs))
            handler = handler_of(record)
            if handler is None:
                problems.append(no_handler(record))
            continue
        problem = write_record(graph, record)
        if problem is not None:
            problems.append(problem)
            broken.update(id(x) for x in tensors_in(record.outputs))
    return problems


def _needed(traced: Trace) -> list[bool]:
    """Mark the records that an output (of the model or of a layer) depends on: masks that nobody reads are left out."""
    wanted = {id(x) for x in [*flat(traced.outputs), *(state.after for state in traced.states)]}
    needed = [False] * len(traced.records)
    for index in range(len(traced.records) - 1, -1, -1):
        record = traced.records[index]
        if any(id(x) in wanted for x in flat(record.outputs)):
            needed[index] = True
            wanted.update(id(x) for x in tensors_in((record.args, record.kwargs, attributes_of(record))))
    return needed


# -- ends -------------------------------------------------------------------------------------------------------------


def _name_inputs(graph: Graph, traced: Trace, given: list[str] | None) -> list[IO]:
    names = list(given) if given is not None else [sanitize_name(name) for name in traced.input_names]
    if len(names) != len(traced.inputs):
        raise InputError(f"{len(names)} input names for {len(traced.inputs)} inputs; give one for each")
    result = []
    for tensor, name, dtype in zip(traced.inputs, names, traced.input_dtypes, strict=True):
        graph.unique.reserve(name)
        graph.tensors[id(tensor)] = Value(name, dtype, tuple(tensor.shape))
        shape = tuple(
            ("batch" if axis == 0 else f"{name}_{axis}") if isinstance(size, SymbolicDim) else int(size)
            for axis, size in enumerate(tensor.shape)
        )
        result.append(IO(name, dtype, shape))
    for state in traced.states:
        name = graph.unique(_state_name(state, "state"))
        shape = tuple(int(size) for size in state.before.shape)
        graph.tensors[id(state.before)] = Value(name, state.before.dtype, shape)
        result.append(IO(name, state.before.dtype, shape))
    for tensor, io in zip(traced.inputs, result, strict=False):
        for axis, size in enumerate(tensor.shape):
            if isinstance(size, SymbolicDim):
                graph.dim_names.setdefault(size.expr_key(), io.shape[axis])
    return result


def _state_name(state: KeptState, what: str) -> str:
    layer, place = state.name
    return f"{sanitize_name(layer).replace('/', '_')}_{what}_{place}"


def _reserve_outputs(graph: Graph, traced: Trace, given: list[str] | None) -> list[str]:
    count = len(flat(traced.outputs))
    if given is not None and len(given) != count:
        raise InputError(f"{len(given)} output names for {count} outputs; give one for each")
    if given is not None:
        for name in given:
            graph.unique.reserve(name)
        return list(given)
    return [graph.unique(sanitize_name(name)) for name in traced.output_names]


def _finish(graph: Graph, tensor: Any, name: str) -> IO:
    """Give a tensor of the model the name of an output."""
    graph.scope = ""
    value = graph.to_logical(graph.value(tensor))
    node = graph.identity(value, name)
    shape = tensor.shape if isinstance(tensor, (KerasTensor, Weight)) else value.shape or ()
    return IO(node, value.dtype, graph.dim_shape(tuple(shape)))


def _taps(graph: Graph, traced: Trace) -> tuple[list[IO], dict[str, list[str]]]:
    taps: list[IO] = []
    layers: dict[str, list[str]] = {}
    for path, outputs in traced.layer_outputs:
        for index, tensor in enumerate(flat(outputs)):
            if not isinstance(tensor, KerasTensor) or id(tensor) not in graph.tensors:
                continue
            io = _finish(graph, tensor, graph.unique(f"{path}/output" if index == 0 else f"{path}/output_{index}"))
            taps.append(io)
            layers.setdefault(path, []).append(io.name)
    return taps, layers
