"""LSTM, GRU and SimpleRNN as the ONNX operators of these names, with a free time axis.

Weights are put into ONNX's order of gates (``iofc`` for LSTM, ``zrh`` for GRU: the same as Keras'). Keras' masks need
not be a prefix: a masked step leaves the state alone, wherever it is. So the unmasked steps are gathered to the front,
the operator runs on that many, and each step reads the output of the last unmasked one before it.

Everything else that repeats (custom cells, stacks, convolutional LSTMs, activations that ONNX does not list) is written
as a Scan: see :mod:`mnistkit.export.native.scan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import activations, layers, ops

from mnistkit.export.native.graph import Array, Graph, Value
from mnistkit.export.native.registry import register_layer_decomposition, register_lowering
from mnistkit.export.native.scan import first_states, holds_states, keep_states, rnn_call

# Keras' function: ONNX's name, alpha and beta (None: has none)
_ACTIVATIONS: dict[Any, tuple[str, float | None, float | None]] = {
    activations.tanh: ("Tanh", None, None),
    activations.sigmoid: ("Sigmoid", None, None),
    activations.relu: ("Relu", None, None),
    activations.hard_sigmoid: ("HardSigmoid", 1.0 / 6.0, 0.5),
    activations.softsign: ("Softsign", None, None),
    activations.linear: ("Affine", 1.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the three operators: its name, number of gates and their order in ONNX."""

    op: str
    gates: int
    order: tuple[int, ...]
    states: int


_KINDS = {
    "LSTM": _Kind("LSTM", 4, (0, 3, 1, 2), 2),
    "GRU": _Kind("GRU", 3, (0, 1, 2), 1),
    "SimpleRNN": _Kind("RNN", 1, (0,), 1),
}


class Recurrence(keras.Operation):
    """One direction of a recurrent layer over a whole sequence; recorded in place of the layer."""

    def __init__(self, layer: Any, kind: str, *, begins_with_state: bool) -> None:
        super().__init__(name=kind.lower())
        self.layer = layer
        self.kind = kind
        self.begins_with_state = begins_with_state  # masked steps before the first other one answer with the state

    def compute_output_spec(self, sequences: Any, initial_state: Any, mask: Any = None) -> Any:
        """Return (all outputs, last output, states)."""
        del mask
        batch, time = sequences.shape[:2]
        units = self.layer.cell.units
        kind = self.layer.compute_dtype
        every = keras.KerasTensor((batch, time, units), kind)
        return (
            every,
            keras.KerasTensor((batch, units), kind),
            [keras.KerasTensor((batch, units), kind) for _ in initial_state],
        )


@register_layer_decomposition("LSTM", "GRU", "SimpleRNN")
def recurrent(layer: Any, sequences: Any, initial_state: Any = None, mask: Any = None, **_: Any) -> Any:
    """Record one operator where the activations allow it."""
    kind = next(name for name in _KINDS if isinstance(layer, getattr(layers, name)))
    used = [layer.cell.activation, getattr(layer.cell, "recurrent_activation", layer.cell.activation)]
    if any(function not in _ACTIVATIONS for function in used):
        return rnn_call(layer, sequences, initial_state=initial_state, mask=mask)
    if isinstance(mask, (list, tuple)):
        mask = mask[0]
    states = [ops.cast(state, layer.compute_dtype) for state in first_states(layer, sequences, initial_state)]
    begins = holds_states(layer, initial_state)
    every, last, final = Recurrence(layer, kind, begins_with_state=begins).symbolic_call(sequences, states, mask)
    keep_states(layer, final)
    output = every if layer.return_sequences else last
    return (output, *final) if layer.return_state else output


@register_lowering(Recurrence)
def recurrence(graph: Graph, op: Recurrence, sequences: Any, initial_state: Any, mask: Any = None) -> list[Value]:
    """Write the operator, with masked steps skipped."""
    layer, kind = op.layer, _KINDS[op.kind]
    x = graph.value(sequences)
    dtype = x.dtype
    work = dtype if dtype in {"float32", "float64"} else "float32"  # runtimes have no half-precision recurrences
    x = graph.cast(x, work)
    states = [graph.cast(state, work) for state in initial_state]
    mask = None if mask is None else graph.cast(mask, "bool")
    if layer.go_backwards:
        x = _reverse(graph, x)
        mask = None if mask is None else _reverse(graph, mask)
    lengths = front = None
    if mask is not None:
        lengths = graph.node(
            "ReduceSum", graph.cast(mask, "int32"), graph.ints(1), keepdims=0, shape=(x.shape or ())[:1]
        )
        x, front = _gather_front(graph, x, mask)
    weights, attrs = _weights(graph, layer, kind, work)
    starts = [graph.unsqueeze(state, 0) for state in states]
    bias = weights[2] if len(weights) > 2 else None  # noqa: PLR2004  W, R and then maybe B
    inputs = [graph.node("Transpose", x, perm=[1, 0, 2]), weights[0], weights[1], bias, lengths, *starts]
    results = graph.nodes_out(kind.op, *inputs, dtypes=[work] * (1 + kind.states), **attrs)
    shape = x.shape or ()
    units = int(layer.cell.units)
    # (time, directions, batch, units) to (batch, time, units)
    every = graph.node("Squeeze", results[0], graph.ints(1))
    every = graph.node("Transpose", every, perm=[1, 0, 2], shape=(shape[0], shape[1], units))
    final = [graph.node("Squeeze", state, graph.ints(0), shape=(shape[0], units)) for state in results[1:]]
    last = final[0]
    if mask is not None:
        assert lengths is not None
        assert front is not None
        none = graph.unsqueeze(graph.node("Equal", lengths, graph.const(0, "int32"), dtype="bool", shape=shape[:1]), 1)
        final = [graph.node("Where", none, start, end, dtype=work) for start, end in zip(states, final, strict=True)]
        start = states[0] if op.begins_with_state else None
        every = _spread_back(graph, every, mask, start, zero=bool(getattr(layer, "zero_output_for_mask", False)))
        end = graph.node("Gather", every, graph.const(-1, "int64"), axis=1)
        last = end
    return [graph.cast(value, dtype) for value in (every, last, *final)]


def _reverse(graph: Graph, value: Value) -> Value:
    far = np.iinfo(np.int64).min
    return graph.node("Slice", value, graph.ints(-1), graph.ints(far), graph.ints(1), graph.ints(-1), shape=value.shape)


def _gather_front(graph: Graph, x: Value, mask: Value) -> tuple[Value, Value]:
    """Bring each row's unmasked steps to the front, in order."""
    time = graph.dim((x.shape or ())[1])
    zero, one = graph.const(0, "int64"), graph.const(1, "int64")
    steps = graph.node("Range", zero, graph.node("Squeeze", time, graph.ints(0)), one, dtype="int64")
    key = graph.node("Where", mask, steps, graph.node("Add", steps, time), dtype="int64")
    order = graph.nodes_out("TopK", key, time, dtypes=["int64", "int64"], axis=-1, largest=0, sorted=1)[1]
    front = graph.node("Unsqueeze", order, graph.ints(2))
    return graph.node("GatherND", x, front, batch_dims=1, shape=x.shape), front


def _spread_back(graph: Graph, every: Value, mask: Value, start: Value | None, *, zero: bool) -> Value:
    """Give each step the output of the last unmasked step up to it.

    Before the first one it is ``start`` or 0, and 0 in every masked step with ``zero``.
    """
    count = graph.node("CumSum", graph.cast(mask, "int64"), graph.const(1, "int64"), dtype="int64")
    index = graph.node("Max", graph.node("Sub", count, graph.const(1, "int64")), graph.const(0, "int64"), dtype="int64")
    picked = graph.node("GatherND", every, graph.node("Unsqueeze", index, graph.ints(2)), batch_dims=1)
    seen = mask if zero else graph.node("Greater", count, graph.const(0, "int64"), dtype="bool")
    keep = graph.node("Unsqueeze", seen, graph.ints(2))
    other = graph.const(0, every.dtype) if zero or start is None else graph.unsqueeze(start, 1)
    return graph.node("Where", keep, picked, other, dtype=every.dtype, shape=every.shape)


def _weights(graph: Graph, layer: Any, kind: _Kind, dtype: str) -> tuple[list[Value], dict[str, Any]]:
    cell = layer.cell
    attrs: dict[str, Any] = {"hidden_size": int(cell.units)}
    names = [(cell.recurrent_activation if hasattr(cell, "recurrent_activation") else cell.activation)]
    names += [cell.activation] * {"LSTM": 2, "GRU": 1, "RNN": 0}[kind.op]
    listed = [_ACTIVATIONS[function] for function in names]
    attrs["activations"] = [name for name, _, _ in listed]
    alphas = [alpha for _, alpha, _ in listed if alpha is not None]
    betas = [beta for _, _, beta in listed if beta is not None]
    if alphas:
        attrs["activation_alpha"] = alphas
        attrs["activation_beta"] = betas
    values = [
        graph.const(_gates(_array(graph, variable, dtype).T, kind)[None], dtype, name_hint=hint)
        for variable, hint in ((cell.kernel, "kernel"), (cell.recurrent_kernel, "recurrent_kernel"))
    ]
    if kind.op == "GRU":
        attrs["linear_before_reset"] = int(bool(cell.reset_after))
    if cell.bias is not None:
        bias = np.atleast_2d(_array(graph, cell.bias, dtype))
        pair = bias if bias.shape[0] > 1 else np.concatenate([bias, np.zeros_like(bias)])
        values.append(graph.const(np.concatenate([_gates(row, kind) for row in pair])[None], dtype, name_hint="bias"))
    return values, attrs


def _array(graph: Graph, variable: Any, dtype: str) -> Array:
    const = graph.weight(variable).const
    assert const is not None
    return const.astype(dtype)


def _gates(array: Array, kind: _Kind) -> Array:
    """Reorder the blocks of gates along the first axis."""
    blocks: Sequence[Array] = np.split(array, kind.gates)
    return np.concatenate([blocks[index] for index in kind.order])
