"""Conditions and loops: both branches are computed and one is chosen; loops of a known length are written out."""

from __future__ import annotations

from typing import Any

from keras import ops, tree

from mnistkit.export.native.records import map_in_order
from mnistkit.export.native.registry import UnsupportedOp, register_decomposition
from mnistkit.export.native.symbolic_dim import SymbolicDim

LONGEST = 256  # turns of a loop that are written out


@register_decomposition("Cond")
def cond(_: Any, pred: Any, true_fn: Any, false_fn: Any) -> Any:
    """Choose between the results of two functions without side effects."""
    yes, no = true_fn(), false_fn()
    return map_in_order(lambda _, a, b: ops.where(ops.cast(pred, "bool"), a, b), yes, no)


@register_decomposition("Switch")
def switch(_: Any, index: Any, branches: Any, *operands: Any) -> Any:
    """Choose among several functions; an index outside is moved to the nearest."""
    results = [branch(*operands) for branch in branches]
    index = ops.clip(ops.cast(index, "int32"), 0, len(results) - 1)
    out = results[-1]
    for number in range(len(results) - 2, -1, -1):
        chosen = ops.equal(index, number)
        out = map_in_order(lambda _, a, b, c=chosen: ops.where(c, a, b), results[number], out)
    return out


@register_decomposition("ForiLoop")
def fori_loop(op: Any, init_val: Any) -> Any:
    """Write out a loop between known bounds."""
    _check(op.lower, op.upper)
    value = init_val
    for turn in range(op.lower, op.upper):
        value = op.body_fun(turn, value)
    return value


@register_decomposition("Map")
def map_(_: Any, f: Any, xs: Any) -> Any:
    """Apply a function to each row of a known number of rows."""
    count = tree.flatten(xs)[0].shape[0]
    _check(0, count)
    rows = [f(map_in_order(lambda _, x, i=i: x[i], xs)) for i in range(count)]
    return map_in_order(lambda _, *parts: ops.stack(parts, axis=0), *rows)


@register_decomposition("VectorizedMap")
def vectorized_map(op: Any, elements: Any) -> Any:
    """As map."""
    return map_(op, op.function, elements)


@register_decomposition("Scan")
def scan(op: Any, f: Any, init: Any, xs: Any = None) -> Any:
    """Write out a scan over a known number of rows."""
    count = op.length if xs is None else tree.flatten(xs)[0].shape[0]
    _check(0, count)
    carry, outs = init, []
    turns = range(count)
    for turn in reversed(turns) if op.reverse else turns:
        carry, out = f(carry, None if xs is None else map_in_order(lambda _, x, i=turn: x[i], xs))
        outs.append(out)
    if op.reverse:
        outs.reverse()
    if outs[0] is None:
        return carry, None
    return carry, map_in_order(lambda _, *parts: ops.stack(parts, axis=0), *outs)


@register_decomposition("WhileLoop")
def while_loop(op: Any, loop_vars: Any) -> Any:
    """Write out a loop with a small maximum number of turns: a finished one keeps its values."""
    if op.maximum_iterations is None:
        raise UnsupportedOp("while_loop without maximum_iterations; give it one, or unroll the loop in Python")
    _check(0, op.maximum_iterations)
    single = not isinstance(loop_vars, (tuple, list))
    state = (loop_vars,) if single else tuple(loop_vars)
    for _ in range(op.maximum_iterations):
        running = ops.cast(op.cond(*state), "bool")
        after = op.body(*state)
        after = (after,) if not isinstance(after, (tuple, list)) else tuple(after)
        state = map_in_order(lambda _, new, old, r=running: ops.where(r, new, old), after, state)
    return state[0] if single else state


def _check(lower: Any, upper: Any) -> None:
    if (
        any(not isinstance(bound, int) or isinstance(bound, SymbolicDim) for bound in (lower, upper))
        or upper - lower > LONGEST
    ):
        raise UnsupportedOp(f"a loop whose length is free or over {LONGEST}; express it by operations on whole tensors")
