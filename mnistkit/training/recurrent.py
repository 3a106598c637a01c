"""Recurrent layers with a derivative of their own under JAX and TensorFlow.

What is derived from Keras' loop over the time steps adds up the gradient of each weight matrix inside the loop and
keeps some values of a step twice. Here the loop going back gives the gradients of the gates alone, and the gradients of
the weights are one product each, over all times. Forward, the steps are Keras' own: products of the input taken out of
the loop, and loops unrolled by 5 steps or more, were slower when measured, by 2 no clear gain (docs/training.md).

The backend's module ``recurrent`` has the loop; this one has what a step computes and the choice of layers.
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.training import keras_hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Values = tuple[Any, ...]
_SEQUENCE = 3  # dimensions: batch, time, features


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of a layer, as tensors.

    Attributes:
        kernel: of the input, (features, gates * units).
        recurrent: of the state, (units, gates * units).
        bias: of the gates, (gates * units).
        recurrent_bias: the same, added to the product of the state; None where the layer has none.
    """

    kernel: Any
    recurrent: Any
    bias: Any
    recurrent_bias: Any = None


@dataclass(frozen=True, slots=True)
class Cell:
    """What a time step computes, and its derivative.

    Attributes:
        gates: parts of the products.
        forward: from the gates' parts of input and state, and the states, to the new states and what ``backward``
            takes.
        backward: from these values and the gradients of the new states to the gradients of the two parts (the second is
            None where both are the same) and those of the states past the product.
    """

    gates: int
    forward: Callable[[Any, Any, Values], tuple[Values, Values]]
    backward: Callable[[Values, Values], tuple[Any, Any, Values]]


def _lstm_forward(of_input: Any, of_state: Any, states: Values) -> tuple[Values, Values]:
    from keras import ops

    i, f, g, o = ops.split(of_input + of_state, 4, axis=1)
    i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
    carry = f * states[1] + i * g
    out = ops.tanh(carry)
    return (o * out, carry), (i, f, g, o, out, states[1])


def _lstm_backward(kept: Values, gradients: Values) -> tuple[Any, Any, Values]:
    from keras import ops

    i, f, g, o, out, carry = kept
    of_h, of_carry = gradients
    of_carry = of_carry + of_h * o * (1 - out * out)
    gates = [
        of_carry * g * i * (1 - i),
        of_carry * carry * f * (1 - f),
        of_carry * i * (1 - g * g),
        of_h * out * o * (1 - o),
    ]
    return ops.concatenate(gates, axis=1), None, (None, of_carry * f)


def _gru_forward(of_input: Any, of_state: Any, states: Values) -> tuple[Values, Values]:
    from keras import ops

    (h,) = states
    (x_z, x_r, x_h), (s_z, s_r, s_h) = ops.split(of_input, 3, axis=1), ops.split(of_state, 3, axis=1)
    z, r = ops.sigmoid(x_z + s_z), ops.sigmoid(x_r + s_r)
    new = ops.tanh(x_h + r * s_h)
    return (z * h + (1 - z) * new,), (z, r, new, s_h, h)


def _gru_backward(kept: Values, gradients: Values) -> tuple[Any, Any, Values]:
    from keras import ops

    z, r, new, s_h, h = kept
    (of_h,) = gradients
    of_new = of_h * (1 - z) * (1 - new * new)
    of_z = of_h * (h - new) * z * (1 - z)
    of_r = of_new * s_h * r * (1 - r)
    of_input = ops.concatenate([of_z, of_r, of_new], axis=1)
    return of_input, ops.concatenate([of_z, of_r, of_new * r], axis=1), (of_h * z,)


def _simple_forward(of_input: Any, of_state: Any, _: Values) -> tuple[Values, Values]:
    from keras import ops

    out = ops.tanh(of_input + of_state)
    return (out,), (out,)


def _simple_backward(kept: Values, gradients: Values) -> tuple[Any, Any, Values]:
    return gradients[0] * (1 - kept[0] * kept[0]), None, (None,)


LSTM = Cell(4, _lstm_forward, _lstm_backward)
GRU = Cell(3, _gru_forward, _gru_backward)
SIMPLE = Cell(1, _simple_forward, _simple_backward)


@contextlib.contextmanager
def own_derivatives(loop: Callable[..., Any], *, on_cpu: bool) -> Iterator[None]:
    """Let usual recurrent layers have their own derivative within the block, in this thread.

    Args:
        loop: the backend's: called with cell, inputs (batch, time, features), mask (batch, time) or None, weights,
            first states, ``backwards``, ``zeroes`` (outputs of masked steps) and ``returns_all``, it returns what
            Keras' ``rnn`` does.
        on_cpu: whether the step will run there; nothing changes elsewhere, where nobody has measured it.
    """
    if not on_cpu or not keras_hooks.has_recurrent_functions():
        yield
        return

    def rnn(step_function: Any, inputs: Any, initial_states: Any, **options: Any) -> Any:
        usual = _usual(step_function, inputs, initial_states, **options)
        if usual is None:
            return original(step_function, inputs, initial_states, **options)
        cell, inputs, weights = usual
        return loop(
            cell,
            inputs,
            options.get("mask"),
            weights,
            tuple(initial_states),
            backwards=options.get("go_backwards", False),
            zeroes=options.get("zero_output_for_mask", False),
            returns_all=options.get("return_all_outputs", True),
        )

    def gru(inputs: Any, *args: Any, **options: Any) -> Any:
        if _is_usual_gru(inputs, *args, **options):
            raise NotImplementedError  # which sends the layer to rnn
        return original_gru(inputs, *args, **options)

    with keras_hooks.replaced_rnn(rnn) as original, keras_hooks.replaced_gru(gru) as original_gru:
        yield


def _is_usual_gru(
    inputs: Any,
    *_: Any,
    kernel: Any,
    activation: Any,
    recurrent_activation: Any,
    unroll: bool = False,
    reset_after: bool = True,
    **__: Any,
) -> bool:
    import keras

    usual = activation is keras.activations.tanh and recurrent_activation is keras.activations.sigmoid
    types = {keras.backend.standardize_dtype(one.dtype) for one in (inputs, kernel)}
    return usual and reset_after and not unroll and types == {"float32"}


def _usual(
    step_function: Any,
    inputs: Any,
    states: Any,
    *,
    mask: Any = None,
    constants: Any = None,
    unroll: bool = False,
    input_length: Any = None,
    time_major: bool = False,
    **_: Any,
) -> tuple[Cell, Any, Weights] | None:
    """Return what the layer computes, its input after dropout and its weights; None where Keras does it itself."""
    import keras

    outside = inspect.getclosurevars(step_function).nonlocals if inspect.isfunction(step_function) else {}
    layer: Any = outside.get("self")
    cell_options = outside.get("cell_kwargs")
    kinds = (keras.layers.RNN, keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
    if type(layer) not in kinds or not isinstance(cell_options, dict):
        return None
    if constants or unroll or time_major or not keras.ops.is_tensor(inputs):
        return None
    shape = tuple(inputs.shape)
    if len(shape) != _SEQUENCE or not all(shape) or input_length not in (None, shape[1]):
        return None
    if mask is not None and (tuple(mask.shape) != shape[:2] or keras.backend.standardize_dtype(mask.dtype) != "bool"):
        return None
    cell = _known_cell(layer.cell)
    if cell is None or any(tuple(one.shape) != (shape[0], layer.cell.units) for one in states):
        return None
    types = {keras.backend.standardize_dtype(one.dtype) for one in (inputs, *states, layer.cell.kernel)}
    if types != {"float32"} or layer.cell.compute_dtype != "float32":
        return None
    if cell_options.get("training") and layer.cell.dropout:
        inputs = inputs * keras.ops.expand_dims(layer.cell.get_dropout_mask(inputs[:, 0]), 1)
    return cell, inputs, _weights_of(layer.cell)


def _known_cell(cell: Any) -> Cell | None:
    """Return what one of Keras' own cells computes with its usual settings, or None."""
    import keras

    if type(cell) not in (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell):
        return None
    if "call" in vars(cell) or getattr(cell, "activity_regularizer", None) is not None:
        return None
    if cell.recurrent_dropout or cell.activation is not keras.activations.tanh:
        return None
    if type(cell) is keras.layers.SimpleRNNCell:
        return SIMPLE
    if cell.implementation == 1:
        return None
    if cell.recurrent_activation is not keras.activations.sigmoid:
        return None
    if type(cell) is keras.layers.LSTMCell:
        return LSTM
    return GRU if cell.reset_after else None


def _weights_of(cell: Any) -> Weights:
    from keras import ops

    kernel, recurrent = ops.convert_to_tensor(cell.kernel), ops.convert_to_tensor(cell.recurrent_kernel)
    if cell.bias is None:
        return Weights(kernel, recurrent, ops.zeros_like(kernel[0]))
    bias = ops.convert_to_tensor(cell.bias)
    return Weights(kernel, recurrent, bias) if len(bias.shape) == 1 else Weights(kernel, recurrent, bias[0], bias[1])
