"""Where boxes and arrows of a graph go: layers from top to bottom, few crossings, arrows around the boxes.

The steps are those of Sugiyama, Tagawa and Toda 1981: layers by the longest path, places for arrows that pass a layer,
an order within each layer by the mean place of the neighbors, then coordinates.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BOX, _LANE = 1.0, 0.16  # width of a box and of an arrow that passes by, in widths of a box
_GAP = 0.1
_SWEEPS = 12
_MOST_PLACES = 4000  # beyond, arrows go straight


@dataclass(frozen=True, slots=True)
class Layout:
    """Coordinates, one unit being the width of a box across and the distance of two layers down.

    Attributes:
        x: Middle of each box, from 0.
        layer: Layer of each box, from 0 at the top.
        routes: For each edge the points that its arrow passes, ends included, as ``(x, layer)``.
        width: Of everything.
        layers: How many there are.
    """

    x: tuple[float, ...]
    layer: tuple[int, ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    layers: int


def lay_out(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Find places for boxes.

    Args:
        count: Number of boxes.
        edges: Pairs of places, the first always the smaller one.
    """
    layer = _layers(count, edges)
    at, chains = _with_lanes(layer, edges)
    is_box = np.arange(len(at)) < count
    order = _order(at, chains)
    x = _coordinates(order, chains, sizes=np.where(is_box, _BOX, _LANE))
    x -= float((x - np.where(is_box, _BOX, _LANE) / 2).min(initial=0.0)) if len(x) else 0.0
    routes = tuple(tuple((float(x[place]), float(at[place])) for place in chain) for chain in chains)
    width = float((x + np.where(is_box, _BOX, _LANE) / 2).max(initial=_BOX))
    return Layout(tuple(map(float, x[:count])), tuple(layer), routes, width, max(layer, default=0) + 1)


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest path to each box; one without a box before it stands right above the first that takes it."""
    layer = [0] * count
    into: list[list[int]] = [[] for _ in range(count)]
    out: list[list[int]] = [[] for _ in range(count)]
    for one, two in edges:
        into[two].append(one)
        out[one].append(two)
    for place in range(count):
        layer[place] = max((layer[before] + 1 for before in into[place]), default=0)
    for place in range(count):
        if not into[place] and out[place]:
            layer[place] = min(layer[after] for after in out[place]) - 1
    return layer


def _with_lanes(layer: Sequence[int], edges: Sequence[tuple[int, int]]) -> tuple[list[int], list[list[int]]]:
    """Layers with a place for each arrow in each layer that it passes, and each edge as a chain of places."""
    at = list(layer)
    chains = []
    for one, two in edges:
        chain = [one]
        for passed in range(layer[one] + 1, layer[two]):
            if len(at) < _MOST_PLACES:
                chain.append(len(at))
                at.append(passed)
        chains.append([*chain, two])
    return at, chains


def _order(at: Sequence[int], chains: Sequence[Sequence[int]]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(at, default=0) + 1)]
    for place, number in enumerate(at):
        rows[number].append(place)
    above: list[list[int]] = [[] for _ in at]
    below: list[list[int]] = [[] for _ in at]
    for chain in chains:
        for one, two in itertools.pairwise(chain):
            below[one].append(two)
            above[two].append(one)
    spot = np.zeros(len(at))
    for row in rows:
        spot[row] = np.arange(len(row)) - (len(row) - 1) / 2
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            wanted = {}
            for place in row:
                near = above[place] if down else below[place]
                wanted[place] = float(np.mean(spot[near])) if near else float(spot[place])
            row.sort(key=lambda place: (wanted[place], place))
            spot[row] = np.arange(len(row)) - (len(row) - 1) / 2
    return rows


def _coordinates(
    rows: Sequence[Sequence[int]], chains: Sequence[Sequence[int]], *, sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each place near the mean of its neighbors, in the order of its row and without overlaps."""
    x = np.zeros(len(sizes))
    near: list[list[int]] = [[] for _ in sizes]
    for chain in chains:
        for one, two in itertools.pairwise(chain):
            near[one].append(two)
            near[two].append(one)
    for row in rows:
        x[row] = _spread(np.zeros(len(row)), sizes[list(row)])
    for sweep in range(2 * _SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = np.array([float(np.mean(x[near[place]])) if near[place] else float(x[place]) for place in row])
            x[row] = _spread(wanted, sizes[list(row)])
    return x


def _spread(wanted: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest places to the wanted ones that keep order and distance (pool adjacent violators)."""
    offsets = np.concatenate([[0.0], np.cumsum((sizes[:-1] + sizes[1:]) / 2 + _GAP)])
    pools: list[tuple[float, int]] = []  # mean and number
    for target in wanted - offsets:
        pools.append((float(target), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (one, many), (two, more) = pools[-2], pools[-1]
            pools[-2:] = [((one * many + two * more) / (many + more), many + more)]
    places: NDArray[np.float64] = np.concatenate([np.full(number, mean) for mean, number in pools]) + offsets
    return places
