"""The loop over the time steps of a recurrent layer under TensorFlow, with the derivative of ``training.recurrent``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from mnistkit.training.recurrent import Cell, Values, Weights


def loop(
    cell: Cell,
    inputs: Any,
    mask: Any,
    weights: Weights,
    states: Values,
    *,
    backwards: bool,
    zeroes: bool,
    returns_all: bool,
) -> tuple[Any, Any, Any]:
    """Do what Keras' ``rnn`` does for a usual layer."""
    xs = tf.transpose(inputs, (1, 0, 2))
    masks = None if mask is None else tf.transpose(mask)[..., None]
    if backwards:
        xs, masks = tf.reverse(xs, [0]), None if masks is None else tf.reverse(masks, [0])
    has_bias = weights.recurrent_bias is not None
    given = [weights.kernel, weights.recurrent, weights.bias, *([weights.recurrent_bias] if has_bias else [])]

    def layer(*tensors: Any) -> Any:
        xs, *rest = tensors
        return _layer(cell, xs, masks, tuple(rest[: len(given)]), tuple(rest[len(given) :]))

    outputs, *last = tf.custom_gradient(layer)(xs, *given, *states)
    if masks is not None:  # a step before the first one that counts answers with zeros, whatever the first state
        answers = masks if zeroes else tf.math.cumsum(tf.cast(masks, tf.int32), 0) > 0
        outputs = tf.where(answers, outputs, tf.zeros_like(outputs))
    last_output = outputs[-1]
    return last_output, tf.transpose(outputs, (1, 0, 2)) if returns_all else last_output[:, None], last


def _layer(cell: Cell, xs: Any, masks: Any, weights: Values, states: Values) -> Any:
    """Return the outputs of all steps and the last states, and the function that differentiates them."""
    kernel, recurrent, bias, *recurrent_bias = weights
    steps, carried = xs.shape[0], len(states)

    def forward(now: Values, before: Values) -> tuple[Values, Values]:
        x, *mask = now
        of_state = sum(recurrent_bias, start=before[0] @ recurrent)
        new, kept = cell.forward(x @ kernel + bias, of_state, before)
        if mask:
            new = tuple(tf.where(mask[0], one, old) for one, old in zip(new, before, strict=True))
        return new, (new[0], *kept)

    sequences = (xs,) if masks is None else (xs, masks)
    last, (outputs, *kept) = _scan(forward, states, sequences, reverse=False)

    def gradient(of_outputs: Any, *of_last: Any) -> Any:
        turned = tf.transpose(recurrent)

        def backward(now: Values, after: Values) -> tuple[Values, Values]:
            of_output, *kept = now
            mask = kept.pop() if masks is not None else None
            after = passed = (after[0] + of_output, *after[1:])
            if mask is not None:
                passed = tuple(tf.where(mask, tf.zeros_like(one), one) for one in after)
                after = tuple(tf.where(mask, one, tf.zeros_like(one)) for one in after)
            of_input, of_state, (of_h, *others) = cell.backward(tuple(kept), after)
            product = (of_input if of_state is None else of_state) @ turned
            before = (product if of_h is None else product + of_h, *others)
            if mask is not None:
                before = tuple(one + other for one, other in zip(before, passed, strict=True))
            return before, (of_input,) if of_state is None else (of_input, of_state)

        given = (of_outputs, *kept) if masks is None else (of_outputs, *kept, masks)
        of_states, found = _scan(backward, of_last, given, reverse=True)
        of_input, of_state = _flat(found[0]), _flat(found[-1])
        before = tf.concat([states[0][None], outputs[: steps - 1]], 0)
        of_weights = [
            tf.matmul(_flat(xs), of_input, transpose_a=True),
            tf.matmul(_flat(before), of_state, transpose_a=True),
            tf.reduce_sum(of_input, 0),
            *(tf.reduce_sum(of_state, 0) for _ in recurrent_bias),
        ]
        of_xs = tf.reshape(tf.matmul(of_input, kernel, transpose_b=True), xs.shape)
        return [of_xs, *of_weights, *of_states[:carried]]

    return (outputs, *last), gradient


def _scan(step: Any, carried: Values, sequences: Values, *, reverse: bool) -> tuple[Values, list[Any]]:
    """Go through sequences, the time first; return what is carried at the end and what the steps gave, stacked."""
    steps = sequences[0].shape[0]
    read = [_array(one.dtype, one.shape).unstack(one) for one in sequences]
    _, example = step(tuple(one[0] for one in sequences), tuple(carried))  # for the shapes alone
    written = [_array(one.dtype, (steps, *one.shape)) for one in example]

    def body(i: Any, carried: Values, written: list[Any]) -> Any:
        at = steps - 1 - i if reverse else i
        new, given = step(tuple(one.read(at) for one in read), carried)
        return i + 1, new, [array.write(at, one) for array, one in zip(written, given, strict=True)]

    _, last, written = tf.while_loop(
        lambda i, *_: i < steps, body, (tf.constant(0), tuple(carried), written), maximum_iterations=steps
    )
    return last, [array.stack() for array in written]


def _array(dtype: Any, shape: Any) -> Any:
    return tf.TensorArray(dtype, shape[0], element_shape=shape[1:], clear_after_read=False)


def _flat(sequence: Any) -> Any:
    return tf.reshape(sequence, (-1, sequence.shape[-1]))
