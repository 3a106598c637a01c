"""Recurrent layers as one operation of a trace each, where Keras under PyTorch runs their time steps one by one.

An LSTM without masks runs by oneDNN's kernel. Any other layer of Keras' own cells becomes a loop around one time step
that is traced once (``loop``). Short sequences of other layers are traced as they are; long ones are refused, because
making such a trace takes longer than it saves.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training import keras_hooks
from mnistkit.training.torch.fused_lstm import HAS_KERNEL, FusedLSTM
from mnistkit.training.torch.loop import Loop
from mnistkit.training.torch.time_step import NoLoopError
from mnistkit.training.torch.untraceable import UntraceableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mnistkit.training.torch.opaque import Opaque

_UNROLLED = 16  # time steps of a layer in a trace; more take longer to trace than the replay saves


@contextlib.contextmanager
def recurrent_parts() -> Iterator[list[Opaque]]:
    """Let recurrent layers be one operation each within the block, in this thread.

    Gives a list, to which they are added.
    """
    made: list[Opaque] = []
    if not keras_hooks.has_recurrent_functions():
        yield made
        return

    def lstm(inputs: Any, h: Any, c: Any, mask: Any, **options: Any) -> Any:
        if _is_usual_lstm(inputs, mask, **options):
            return _fused_lstm(made, inputs, h, c, **options)
        if _is_on_cpu(inputs):
            raise NotImplementedError  # which sends the layer to rnn
        return own_lstm(inputs, h, c, mask, **options)

    def gru(inputs: Any, h: Any, mask: Any, **options: Any) -> Any:
        if _is_on_cpu(inputs):
            raise NotImplementedError
        return own_gru(inputs, h, mask, **options)

    def rnn(step_function: Any, inputs: Any, initial_states: Any, **options: Any) -> Any:
        results = _loop(made, step_function, inputs, initial_states, **options)
        if results is not None:
            return results
        _check_length(inputs, time_major=options.get("time_major", False))
        return own_rnn(step_function, inputs, initial_states, **options)

    with (
        keras_hooks.replaced_lstm(lstm) as own_lstm,
        keras_hooks.replaced_gru(gru) as own_gru,
        keras_hooks.replaced_rnn(rnn) as own_rnn,
    ):
        yield made


def _is_on_cpu(inputs: Any) -> bool:
    return isinstance(inputs, torch.Tensor) and inputs.device.type == "cpu"


def _check_length(inputs: Any, *, time_major: bool) -> None:
    import keras

    first = keras.tree.flatten(inputs)[0]
    if first.device.type == "cpu" and first.shape[0 if time_major else 1] > _UNROLLED:
        raise UntraceableError("PyTorch runs the time steps of a recurrent layer one by one")


def _is_usual_lstm(
    inputs: Any, mask: Any, *, kernel: Any, activation: Any, recurrent_activation: Any, **options: Any
) -> bool:
    import keras

    usual = activation is keras.activations.tanh and recurrent_activation is keras.activations.sigmoid
    fits = HAS_KERNEL and _is_on_cpu(inputs) and mask is None and usual and options.get("batch_first", True)
    return fits and {inputs.dtype, keras.ops.convert_to_tensor(kernel).dtype} == {torch.float32} and inputs.numel() > 0


def _fused_lstm(
    made: list[Opaque],
    inputs: Any,
    h: Any,
    c: Any,
    *,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any,
    return_sequences: bool = False,
    go_backwards: bool = False,
    **_: Any,
) -> Any:
    import keras

    kernel, recurrent_kernel = (keras.ops.convert_to_tensor(one) for one in (kernel, recurrent_kernel))
    zeros = torch.zeros(kernel.shape[1])
    bias = zeros if bias is None else keras.ops.convert_to_tensor(bias)
    sequence = torch.flip(inputs, [1]) if go_backwards else inputs
    sequence = sequence.transpose(0, 1).contiguous()
    layer = FusedLSTM(sequence, recurrent_kernel.shape[0])
    made.append(layer)
    outputs, *states = layer(sequence, h, c, kernel.t().contiguous(), recurrent_kernel.t().contiguous(), bias, zeros)
    last = outputs[-1]
    return last, outputs.transpose(0, 1) if return_sequences else last.unsqueeze(1), states


def _loop(
    made: list[Opaque],
    step_function: Callable[..., Any],
    inputs: Any,
    initial_states: Any,
    *,
    go_backwards: bool = False,
    mask: Any = None,
    constants: Any = None,
    unroll: bool = False,
    input_length: Any = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
) -> Any:
    """Do what Keras' ``rnn`` does as one operation; None where it cannot be."""
    import keras

    usual = _is_on_cpu(inputs) and not constants and not time_major and input_length in (None, inputs.shape[1])
    backwards_with_mask = unroll and go_backwards and mask is not None  # an error in Keras
    if not usual or backwards_with_mask or not _is_kerass_own(step_function) or not inputs.numel():
        return None
    states = keras.tree.flatten(initial_states)
    sequences = [inputs] if mask is None else [inputs, mask.to(torch.bool)]
    sequences = [one.transpose(0, 1) for one in sequences]
    sequences = [torch.flip(one, [0]) if go_backwards else one for one in sequences]

    def step(values: list[Any], before: list[Any]) -> list[Any]:
        """One time step: from input and mask, states and perhaps the output before, to output and the same again."""
        old = before[: len(states)]
        out, new = step_function(values[0], tuple(keras.tree.pack_sequence_as(initial_states, old)))
        new = keras.tree.flatten(new)
        if mask is not None:
            kept = torch.zeros_like(out) if zero_output_for_mask else before[-1]
            out = _where(values[1], out, kept)
            new = [_where(values[1], one, other) for one, other in zip(new, old, strict=True)]
        return [out, *new, out] if len(before) > len(states) else [out, *new]

    carries_output = mask is not None and not zero_output_for_mask
    try:
        loop = Loop(step, sequences, states, carries_output=carries_output, returns_all=return_all_outputs)
    except NoLoopError:
        return None
    made.append(loop)
    outputs, *new_states = loop.run(sequences, states)
    return outputs[-1], outputs.transpose(0, 1), keras.tree.pack_sequence_as(initial_states, new_states)


def _where(mask: Any, new: Any, old: Any) -> Any:
    return torch.where(mask.reshape(mask.shape[0], *[1] * (new.dim() - 1)), new, old)


def _is_kerass_own(step_function: Any) -> bool:
    """Tell whether a time step is one of Keras' own cells, which do nothing but compute."""
    import keras

    known = (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell)

    def is_known(cell: Any) -> bool:
        if type(cell) is keras.layers.StackedRNNCells:
            return all(is_known(one) for one in cell.cells)
        return type(cell) in known and cell.activity_regularizer is None

    outside = inspect.getclosurevars(step_function).nonlocals if inspect.isfunction(step_function) else {}
    layer = outside.get("self")
    return isinstance(layer, keras.layers.RNN) and is_known(layer.cell)
