"""Find the blocks of a graph that repeat, as the layers of a transformer do, and keep one turn of each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mnistkit.publish.report.graph_picture import Block, Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LONGEST_REPEAT = 400  # boxes of a block that repeats
_FEWEST_SAVED = 4  # boxes that folding a block must spare


def fold_repeats(
    boxes: list[Box], edges: set[tuple[int, int]]
) -> tuple[list[Box], set[tuple[int, int]], list[Block], list[int]]:
    """Fold the runs of equal blocks; the last of what is returned says where each box has gone."""
    kinds: dict[tuple[str, str, int], int] = {}
    codes = np.array([kinds.setdefault((box.title, box.shape, box.parameters), len(kinds)) for box in boxes])
    places = list(range(len(boxes)))
    runs: list[tuple[int, int, int]] = []  # first box, boxes of one turn, turns
    _find_runs(codes, (0, len(codes)), edges=edges, runs=runs)
    kept: list[Box] = []
    blocks: list[Block] = []
    start = 0
    for first, period, times in sorted(runs):
        places[start:first] = range(len(kept), len(kept) + first - start)
        kept += boxes[start:first]
        base = len(kept)
        for place in range(first, first + period * times):
            places[place] = base + (place - first) % period
        kept += [
            replace(box, nodes=box.nodes * times, parameters=box.parameters) for box in boxes[first : first + period]
        ]
        blocks.append(Block(base, base + period - 1, times))
        start = first + period * times
    places[start:] = range(len(kept), len(kept) + len(boxes) - start)
    kept += boxes[start:]
    moved = {(places[one], places[two]) for one, two in edges}
    return kept, {(one, two) for one, two in moved if one < two}, blocks, places


def _find_runs(
    codes: NDArray[np.int64],
    span: tuple[int, int],
    *,
    edges: set[tuple[int, int]],
    runs: list[tuple[int, int, int]],
) -> None:
    """The repetitions in a span of ``codes`` that spare most boxes, then those before and after it."""
    low, high = span
    part = codes[low:high]
    best, saved = None, _FEWEST_SAVED - 1
    for period in range(1, min(len(part) // 2, _LONGEST_REPEAT) + 1):
        same = np.concatenate([[0], part[:-period] == part[period:], [0]]).astype(np.int8)
        begins, ends = np.flatnonzero(np.diff(same) == 1), np.flatnonzero(np.diff(same) == -1)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            times = (end - begin) // period + 1
            if times > 1 and period * (times - 1) > saved and _is_chain(edges, low + begin, period=period, times=times):
                best, saved = (low + begin, period, times), period * (times - 1)
    if best is None:
        return
    runs.append(best)
    first, period, times = best
    _find_runs(codes, (low, first), edges=edges, runs=runs)
    _find_runs(codes, (first + period * times, high), edges=edges, runs=runs)


def _is_chain(edges: set[tuple[int, int]], first: int, *, period: int, times: int) -> bool:
    """Whether what a turn gives goes into the next turn and nowhere else; equal branches beside each other do not."""
    onward: set[int] = set()
    for one, two in edges:
        turn, next_turn = (one - first) // period, (two - first) // period
        if 0 <= turn < times - 1 and next_turn != turn:
            if next_turn != turn + 1:
                return False
            onward.add(turn)
    return len(onward) == times - 1
