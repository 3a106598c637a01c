"""Verify that a trace holds for every size: call the model on the other side of each comparison of a free size.

A model may compare sizes in Python: to refuse what it cannot take, or to take another way. The first is harmless, the
second cannot be written. The two are told apart by calling the model again, at sizes for which the comparison comes out
otherwise: it must give the same graph, or refuse these sizes in Keras too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from mnistkit.export.native.records import Trace
from mnistkit.export.native.same_graph import first_other_record
from mnistkit.export.native.size_decisions import CURE, FreeSizeError, SizeComparison
from mnistkit.export.native.symbolic_dim import SymbolicDim, evaluate

Axis = tuple[int, int]
"""An input, by its place, and one of its axes; the batch axis of all inputs is that of the first."""
SizesOfInputs = dict[Axis, tuple[int, int]]
"""The sizes of the free axes of the inputs in both inferences."""

MOST = 24
"""How many further calls are tried."""
_GRID = 64  # networks for images halve their input six times
_POWERS = 16


def verify_sizes(
    traced: Trace,
    retrace: Callable[[SizesOfInputs], Trace],
    runs: Callable[[SizesOfInputs], bool],
) -> None:
    """Refuse a trace that holds for some sizes alone.

    Args:
        traced: The trace.
        retrace: Calls the model at other sizes.
        runs: Says whether Keras itself takes such sizes.

    Raises:
        FreeSizeError: The model is another graph at other sizes; the message names the layer.
    """
    base = _sizes(traced)
    if not base:
        return
    tried: set[tuple[tuple[Axis, tuple[int, int]], ...]] = set()
    seen: set[Any] = set()
    waiting = [(traced, comparison) for comparison in traced.comparisons]
    while waiting:
        source, comparison = waiting.pop(0)
        if (key := _key(comparison)) in seen:
            continue
        seen.add(key)
        refused: list[SizesOfInputs] = []
        for sizes in _other_sides(source, comparison):
            mark = tuple(sorted(sizes.items()))
            if mark in tried or (comparison.is_own and _has_one(sizes)):
                continue
            tried.add(mark)
            if len(tried) > MOST:
                raise FreeSizeError(f"{_told(comparison)}, one of very many that cannot all be verified; {CURE}")
            try:
                other = retrace(sizes)
            except FreeSizeError:
                raise
            except Exception:  # noqa: BLE001  the model is foreign code, and may refuse a size with anything
                refused.append(sizes)
                continue
            if other.unsupported:  # a refusal inside a layer ends there
                refused.append(sizes)
                continue
            if first_other_record(traced, other) is not None:
                raise FreeSizeError(f"{_told(comparison)} and takes another way on the other side; {CURE}")
            waiting += [(other, found) for found in other.comparisons]
        if refused and runs(refused[0]):
            raise FreeSizeError(f"{_told(comparison)} and cannot be traced on the other side; {CURE}")
    if traced.numbers_taken:
        _try_elsewhere(traced, base, retrace)


def _try_elsewhere(traced: Trace, base: SizesOfInputs, retrace: Callable[[SizesOfInputs], Trace]) -> None:
    """Keras' own code took the number of a size: call the model at other sizes, which must be the same graph."""
    for factor in (3, 2, 0.5):
        sizes = {axis: (max(1, int(a * factor)), max(2, int(b * factor))) for axis, (a, b) in base.items()}
        try:
            other = retrace(sizes)
        except Exception:  # noqa: BLE001, S112  the model is foreign code, and may refuse a size with anything
            continue
        found = first_other_record(traced, other)
        if found is not None and first_other_record(traced, retrace(base)) is None:  # no chance was at work
            scope, place = next((taken for taken in traced.numbers_taken if taken[0] == found.scope), ("", ""))
            raise FreeSizeError(
                f"{found.scope or scope or 'the model'}: computes with the number of a free size"
                f"{f' ({place})' if place else ''}, and the file would hold that of one size for all; {CURE}"
            )
        return


def _has_one(sizes: SizesOfInputs) -> bool:
    """Keras' own code warns at axes of size 1, which every file is verified at."""
    return any(first == 1 for first, _ in sizes.values())


def _told(comparison: SizeComparison) -> str:
    right = "another size" if isinstance(comparison.right, SymbolicDim) else comparison.right
    return (
        f"{comparison.scope or 'the model'}: decides in Python by a free size ({comparison.place}: "
        f"size {comparison.sign} {right})"
    )


def _key(comparison: SizeComparison) -> Any:
    def key(size: Any) -> Any:
        return (size.first_size, size.second_size) if isinstance(size, SymbolicDim) else size

    return comparison.place, comparison.name, key(comparison.left), key(comparison.right)


# -- the sizes at which a comparison comes out otherwise --------------------------------------------------------------


def _sizes(traced: Trace) -> SizesOfInputs:
    return {
        (place, axis): (size.first_size, size.second_size)
        for place, tensor in enumerate(traced.inputs)
        for axis, size in enumerate(tensor.shape)
        if isinstance(size, SymbolicDim) and size.expr[1] is tensor
    }


def _other_sides(traced: Trace, comparison: SizeComparison) -> Iterator[SizesOfInputs]:
    """Yield sizes of the inputs for which the comparison is expected to come out otherwise, the likeliest first."""
    leaves: dict[int, SymbolicDim] = {}
    numbers: set[int] = set()
    for side in (comparison.left, comparison.right):
        _leaves(side, leaves, numbers)
    places = {id(tensor): place for place, tensor in enumerate(traced.inputs)}
    own = _sizes(traced)
    if all(id(leaf.expr[1]) in places for leaf in leaves.values()):
        yield from _one_axis_moved(comparison, leaves, numbers, places, own)
    else:
        yield from _all_axes_moved(comparison, leaves, numbers, own)


def _one_axis_moved(
    comparison: SizeComparison,
    leaves: dict[int, SymbolicDim],
    numbers: set[int],
    places: dict[int, int],
    own: SizesOfInputs,
) -> Iterator[SizesOfInputs]:
    """The sizes compared are those of inputs: solve for one of them."""
    values = {key: leaf.first_size for key, leaf in leaves.items()}
    for key, leaf in leaves.items():
        axis = (places[id(leaf.expr[1])], leaf.expr[2])
        flipped = [
            value
            for value in _candidates(numbers | set(values.values()))
            if _outcome(comparison, {**values, key: value}) not in {comparison.outcome, None}
        ]
        for value in _chosen(flipped, leaf.first_size):
            yield {**own, axis: _pair(value, own[axis])}


def _all_axes_moved(
    comparison: SizeComparison,
    leaves: dict[int, SymbolicDim],
    numbers: set[int],
    own: SizesOfInputs,
) -> Iterator[SizesOfInputs]:
    """Sizes inside the model: move all sizes of the inputs on the line through both inferences."""
    flipped: list[float] = []
    for leaf in leaves.values():
        slope = leaf.second_size - leaf.first_size
        if slope == 0:
            continue
        for value in _candidates(numbers):
            place = (value - leaf.first_size) / slope
            at = {
                key: round(other.first_size + place * (other.second_size - other.first_size))
                for key, other in leaves.items()
            }
            if min(at.values()) >= 1 and _outcome(comparison, at) not in {comparison.outcome, None}:
                flipped.append(place)
    nearest = sorted(set(flipped), key=abs)
    for place in [*[p for p in nearest if p > 0][:2], *[p for p in nearest if p < 0][:2]]:
        sizes = {}
        for axis, (a, b) in own.items():
            moved = a + place * (b - a)
            if axis[1] and a % _GRID == 0:
                moved = _GRID * (-(-moved // _GRID) if place > 0 else moved // _GRID)
            sizes[axis] = _pair(max(1, int(moved)), (a, b))
        yield sizes


def _pair(value: int, own: tuple[int, int]) -> tuple[int, int]:
    """A first size with a second that is another."""
    return value, own[1] if own[1] != value else own[0] if own[0] != value else value + _GRID


def _chosen(values: list[int], now: int) -> list[int]:
    """The nearest on both sides, on the grid and off it."""
    above, below = sorted(v for v in values if v > now), sorted((v for v in values if v < now), reverse=True)
    on_grid = [[v for v in side if v % _GRID == 0] for side in (above, below)]
    picked = [side[:1] for side in (above, below, *on_grid)]
    return list(dict.fromkeys(itertools.chain.from_iterable(picked)))


def _candidates(numbers: set[int]) -> list[int]:
    """Sizes to try: small ones, powers of 2, and those around the numbers of the comparison and their products."""
    some = sorted(abs(number) for number in numbers)[:8]
    centres = {*some, *(a * b for a in some for b in some), *(a + b for a in some for b in some)}
    centres |= {2**power for power in range(_POWERS)} | {_GRID * k for c in some for k in (c // _GRID, c // _GRID + 1)}
    return sorted({c + d for c in {*centres, *range(17)} for d in (-1, 0, 1) if c + d >= 1})


def _leaves(size: Any, leaves: dict[int, SymbolicDim], numbers: set[int]) -> None:
    if not isinstance(size, SymbolicDim):
        if math.isfinite(size):
            numbers.add(int(size))
        return
    head, left, right = size.expr
    if head == "axis":
        leaves[_leaf_key(size)] = size
        return
    _leaves(left, leaves, numbers)
    _leaves(right, leaves, numbers)


def _leaf_key(size: SymbolicDim) -> int:
    return hash((id(size.expr[1]), size.expr[2]))


def _outcome(comparison: SizeComparison, values: dict[int, int]) -> bool | None:
    """Evaluate a comparison at given sizes; None where it has no value."""

    def value(size: Any) -> Any:
        return evaluate(size, lambda axis: values[_leaf_key(axis)]) if isinstance(size, SymbolicDim) else size

    try:
        return comparison.holds(value(comparison.left), value(comparison.right))
    except ZeroDivisionError:
        return None
