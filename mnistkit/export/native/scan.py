"""Any Keras cell, repeated along time, as one ONNX Scan.

The step is traced once, into its own list of records, and written as the body of the Scan. Everything the body takes
from outside is handed to it as a state that does not change, so the body depends on nothing but its inputs.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops, tree

from mnistkit.core.errors import ExportError
from mnistkit.export.native import backend_behavior
from mnistkit.export.native.current_trace import active_tracer
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.keras_hooks import takes_argument
from mnistkit.export.native.lower_record import attributes_of, tensors_in, write_record
from mnistkit.export.native.records import Record
from mnistkit.export.native.registry import UnsupportedOp, register_layer_decomposition, register_lowering
from mnistkit.export.native.serialize import IO, subgraph
from mnistkit.export.native.symbolic_dim import FreeSize, SymbolicDim, make_tensor

# Layers and cells whose answer is their first state. The cells of the convolutional layers have no public name.
_STATE_IS_ANSWER = (
    keras.layers.ConvLSTM1D,
    keras.layers.ConvLSTM2D,
    keras.layers.ConvLSTM3D,
    keras.layers.GRUCell,
    keras.layers.LSTMCell,
    keras.layers.SimpleRNNCell,
)


def first_states(layer: Any, sequences: Any, initial_state: Any) -> list[Any]:
    """Return the states that a recurrent layer begins with: those given, those kept from the last call, or zeros."""
    if initial_state is None:
        batch = ops.shape(sequences)[0]
        kept = active_tracer().kept_states(layer, batch) if layer.stateful else None
        initial_state = layer.get_initial_state(batch_size=batch) if kept is None else kept
    return list(initial_state) if tree.is_nested(initial_state) else [initial_state]


def holds_states(layer: Any, initial_state: Any) -> bool:
    """Say whether masked steps answer with the layer's first state, and this is not what it answered before."""
    is_usual = isinstance(layer, _STATE_IS_ANSWER) or isinstance(layer.cell, _STATE_IS_ANSWER)
    begins_with_zeros = initial_state is None and not layer.stateful
    if is_usual and begins_with_zeros:
        return False
    with active_tracer().suspend():
        return backend_behavior.masked_steps_answer_with_state()


def keep_states(layer: Any, states: Any) -> None:
    """Keep the states that a recurrent layer ends with, where it has ``stateful=True``."""
    if layer.stateful:
        active_tracer().keep_states(layer, states)


@register_layer_decomposition("RNN", "ConvLSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def rnn(layer: Any, sequences: Any, initial_state: Any = None, mask: Any = None, **_: Any) -> Any:
    """Any cell."""
    return rnn_call(layer, sequences, initial_state=initial_state, mask=mask)


def rnn_call(layer: Any, sequences: Any, *, initial_state: Any, mask: Any) -> Any:
    """Do what ``RNN.call`` does, on symbolic tensors."""
    if isinstance(mask, (list, tuple)):
        mask = mask[0]
    first = first_states(layer, sequences, initial_state)
    start = tree.map_structure(lambda x: ops.cast(x, layer.cell.compute_dtype), first)
    every, last, final = scan(layer, sequences, start, mask, holds_state=holds_states(layer, initial_state))
    output = ops.cast(every if layer.return_sequences else last, layer.compute_dtype)
    final = tree.map_structure(lambda x: ops.cast(x, layer.compute_dtype), final)
    keep_states(layer, final)
    return (output, *final) if layer.return_state else output


class Scan(keras.Operation):
    """A recorded loop: its step's records, and which tensors of the step are what."""

    def __init__(self, name: str, *, backwards: bool) -> None:
        super().__init__(name=name)
        self.backwards = backwards
        self.records: list[Record] = []
        self.states_in: list[KerasTensor] = []
        self.items_in: list[KerasTensor] = []
        self.states_out: list[KerasTensor] = []
        self.items_out: list[KerasTensor] = []
        self.captured: list[KerasTensor] = []
        self.specs: list[KerasTensor] = []


def scan(layer: Any, sequences: Any, start: Any, mask: Any, *, holds_state: bool) -> tuple[Any, Any, Any]:
    """Record the loop; return (every output, last output, final states).

    Args:
        layer: The recurrent layer.
        sequences: What it loops over.
        start: Its states before the first step.
        mask: Which steps count, or None.
        holds_state: A masked step answers with the first state; else with the answer before.
    """
    tracer = active_tracer()
    cell = layer.cell
    flags = {"training": False} if takes_argument(cell, "training") else {}
    batch, time = sequences.shape[0], sequences.shape[1]

    def step(x: Any, states: Any) -> tuple[Any, Any]:
        output, new = cell(x, states, **flags)
        return output, new if tree.is_nested(new) else [new]

    # once to learn what the output looks like, once for the record
    item = _inner([sequences], batch, skip=1)[0]
    flat = tree.flatten(start)
    with tracer.sub_trace():
        output, _ = step(item, tree.pack_sequence_as(start, _inner(flat, batch, like=item)))
    first = ops.zeros((batch, *output.shape[1:]), dtype=output.dtype)

    op = Scan("scan", backwards=bool(layer.go_backwards))
    item = _inner([sequences], batch, skip=1)[0]
    op.items_in = [item]
    op.states_in = _inner([*flat, first], batch, like=item)
    if mask is not None:
        op.items_in.append(_inner([mask], batch, like=item, skip=1)[0])
    with tracer.sub_trace() as records:
        states = tree.pack_sequence_as(start, op.states_in[:-1])
        output, new = step(item, states)
        new = tree.flatten(new)
        if mask is not None:
            before = op.states_in[0 if holds_state else -1]
            held = ops.zeros_like(output) if layer.zero_output_for_mask else before
            output = _where(op.items_in[1], output, held)
            new = [_where(op.items_in[1], a, b) for a, b in zip(new, op.states_in[:-1], strict=True)]
    op.records = records
    op.states_out = [*new, output]
    op.items_out = [output]
    inside = {id(x) for x in op.states_in + op.items_in}
    inside.update(id(x) for record in records for x in tree.flatten(record.outputs))
    used = _used(records)
    op.captured = list({id(x): x for x in used if id(x) not in inside}.values())

    def outer(x: Any, *, timed: bool = False) -> Any:
        return make_tensor((batch, *([time] if timed else []), *x.shape[1:]), x.dtype)

    op.specs = [*(outer(x) for x in flat), outer(output), outer(output, timed=True)]
    inputs = [*flat, first, *op.captured, sequences, *([] if mask is None else [mask])]
    tracer.record(op, (inputs,), {}, op.specs)
    finals = op.specs[: len(flat)]
    return op.specs[-1], op.specs[-2], tree.pack_sequence_as(start, finals)


def _inner(tensors: list[Any], batch: Any, *, like: Any = None, skip: int = 0) -> list[KerasTensor]:
    """Make the step's own tensors: without the time axis, with a batch size that is the step's own."""

    def own(size: Any) -> Any:
        return FreeSize(size.first_size, size.second_size) if isinstance(size, SymbolicDim) else size

    made: list[KerasTensor] = []
    for x in tensors:
        size = x.shape[0]
        if isinstance(batch, SymbolicDim):
            size = own(batch) if like is None else like.shape[0]
        made.append(make_tensor((size, *map(own, x.shape[1 + skip :])), x.dtype))
    return made


def _where(mask: Any, a: Any, b: Any) -> Any:
    return ops.where(ops.reshape(mask, (mask.shape[0], *[1] * (len(a.shape) - 1))), a, b)


def _used(records: list[Record]) -> list[KerasTensor]:
    return [x for record in records for x in tensors_in((record.args, record.kwargs, attributes_of(record)))]


@register_lowering(Scan)
def write_scan(graph: Graph, op: Scan, inputs: Any) -> list[Value]:
    """Write the loop."""
    states = len(op.states_in) + len(op.captured)
    values = [graph.to_logical(graph.value(x)) for x in inputs]
    body = _body(graph, op)
    items = len(op.items_in)
    names, _ = graph.raw(
        "Scan",
        [*values],
        outputs=states + len(op.items_out),
        attrs={
            "body": body,
            "num_scan_inputs": items,
            "scan_input_axes": [1] * items,
            "scan_input_directions": [int(op.backwards)] * items,
            "scan_output_axes": [1] * len(op.items_out),
        },
    )
    kept = names[: len(op.states_in)] + names[states:]
    return [Value(name, spec.dtype, tuple(spec.shape)) for name, spec in zip(kept, op.specs, strict=True)]


def _body(graph: Graph, op: Scan) -> Any:
    """Write the step as a graph of its own."""
    sub = Graph(opset=graph.opset, layouts=graph.layouts)
    sub.unique = graph.unique
    sub.notes = graph.notes
    scope = graph.scope
    sub.scope = scope
    ins = []
    for x in [*op.states_in, *op.captured, *op.items_in]:
        name = sub.unique(f"{scope}/step/in" if scope else "step/in")
        sub.tensors[id(x)] = Value(name, x.dtype, tuple(x.shape))
        ins.append(IO(name, x.dtype, tuple(None if isinstance(s, SymbolicDim) else int(s) for s in x.shape)))
    for record in op.records:
        problem = write_record(sub, record)
        if problem is not None:
            raise UnsupportedOp(f"its step cannot be written: {problem}")
    outs = []
    sub.scope = scope
    for x in [*op.states_out, *op.captured, *op.items_out]:
        name = sub.unique(f"{scope}/step/out" if scope else "step/out")
        value = sub.to_logical(sub.value(x))
        if isinstance(x, KerasTensor):
            value = sub.cast(value, x.dtype)
        sub.identity(value, name)
        outs.append(IO(name, value.dtype, tuple(None if isinstance(s, SymbolicDim) else int(s) for s in x.shape)))
    if not outs:
        raise ExportError("a loop without a state; give the cell a state_size")
    return subgraph(sub.nodes, sub.initializers, ins, outs)


__all__ = ["Scan", "first_states", "holds_states", "keep_states", "rnn_call", "scan"]
