"""The loop over the time steps of a recurrent layer under JAX, with the derivative of ``training.recurrent``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

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
    xs = jnp.swapaxes(inputs, 0, 1)
    masks = None if mask is None else jnp.swapaxes(mask, 0, 1)[..., None]
    if backwards:
        xs, masks = jnp.flip(xs, 0), None if masks is None else jnp.flip(masks, 0)
    given = (weights.kernel, weights.recurrent, weights.bias, weights.recurrent_bias)
    outputs, last = _layer(cell, xs, masks, given, states)
    if zeroes and masks is not None:
        outputs = jnp.where(masks, outputs, 0)
    last_output = outputs[-1]
    return last_output, jnp.swapaxes(outputs, 0, 1) if returns_all else last_output[:, None], list(last)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _layer(cell: Cell, xs: Any, masks: Any, weights: Values, states: Values) -> tuple[Any, Values]:
    """Return the outputs of all steps and the last states; the time comes first."""
    results: tuple[Any, Values] = _forward(cell, xs, masks, weights, states)[0]
    return results


def _forward(cell: Cell, xs: Any, masks: Any, weights: Values, states: Values) -> Any:
    kernel, recurrent, bias, recurrent_bias = weights

    def step(before: Values, now: Any) -> Any:
        x, mask = now
        of_state = before[0] @ recurrent
        of_state = of_state if recurrent_bias is None else of_state + recurrent_bias
        new, kept = cell.forward(x @ kernel + bias, of_state, before)
        if mask is not None:
            new = tuple(jnp.where(mask, one, old) for one, old in zip(new, before, strict=True))
        return new, (new[0], kept)

    last, (outputs, kept) = lax.scan(step, states, (xs, masks))
    return (outputs, last), (kept, outputs, states[0], xs, masks, weights)


def _backward(cell: Cell, saved: Any, gradients: Any) -> Any:
    kept, outputs, first, xs, masks, (kernel, recurrent, _, recurrent_bias) = saved
    of_outputs, of_last = gradients
    turned = recurrent.T

    def step(after: Values, now: Any) -> Any:
        kept, mask, of_output = now
        after = (after[0] + of_output, *after[1:])
        passed: Values = (None,) * len(after)
        if mask is not None:
            passed = tuple(jnp.where(mask, 0, one) for one in after)
            after = tuple(jnp.where(mask, one, 0) for one in after)
        of_input, of_state, (of_h, *others) = cell.backward(kept, after)
        product = (of_input if of_state is None else of_state) @ turned
        before = (product if of_h is None else product + of_h, *others)
        before = tuple(one if p is None else one + p for one, p in zip(before, passed, strict=True))
        return before, (of_input, of_state)

    of_states, (of_input, of_state) = lax.scan(step, of_last, (kept, masks, of_outputs), reverse=True)
    of_input = _flat(of_input)
    of_state = of_input if of_state is None else _flat(of_state)
    before = jnp.concatenate([first[None], outputs[:-1]])
    of_weights = (
        _flat(xs).T @ of_input,
        _flat(before).T @ of_state,
        of_input.sum(0),
        None if recurrent_bias is None else of_state.sum(0),
    )
    return (of_input @ kernel.T).reshape(xs.shape), None, of_weights, of_states


def _flat(sequence: Any) -> Any:
    return sequence.reshape(-1, sequence.shape[-1])


_layer.defvjp(_forward, _backward)
