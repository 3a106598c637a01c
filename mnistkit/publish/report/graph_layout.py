"""Where boxes and arrows of a graph go: layers from top to bottom, few crossings, arrows around the boxes.

The steps are those of Sugiyama, Tagawa and Toda 1981: layers by the longest path, places for arrows that pass a layer,
an order within each layer by the mean place of the neighbors, then coordinates.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BOX, _LANE = 1.0, 0.16  # width of a box and of an arrow that passes by, in widths of a box
_GAP = 0.1
_SWEEPS = 12
_SETTLING, _SETTLED = 300, 1e-3
_PULL_LANE, _PULL_END, _PULL_ALONE = 40.0, 2.0, 40.0
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
    """Each place near the mean of its neighbors, in the order of its row and without overlaps.

    What pulls hardest is what should be straight: an arrow that passes by, then two boxes with nothing else between.
    """
    near: list[list[tuple[int, float]]] = [[] for _ in sizes]
    out, into = Counter(chain[0] for chain in chains), Counter(chain[-1] for chain in chains)
    for chain in chains:
        alone = out[chain[0]] == into[chain[-1]] == 1
        for one, two in itertools.pairwise(chain):
            ends = (one == chain[0]) + (two == chain[-1])
            pull = _PULL_ALONE if alone else (_PULL_LANE, _PULL_END, 1.0)[ends]
            near[one].append((two, pull))
            near[two].append((one, pull))
    x = np.zeros(len(sizes))
    for row in rows:
        x[row] = _spread(np.zeros(len(row)), sizes[list(row)], weights=np.ones(len(row)))
    for sweep in range(_SETTLING):
        before = x.copy()
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            pulls = np.array([sum(pull for _, pull in near[place]) or 1.0 for place in row])
            wanted = [
                sum(x[other] * pull for other, pull in near[place]) / pull_of if near[place] else x[place]
                for place, pull_of in zip(row, pulls, strict=True)
            ]
            x[row] = _spread(np.array(wanted), sizes[list(row)], weights=pulls)
        if np.abs(x - before).max(initial=0.0) < _SETTLED:
            break
    return x


def _spread(
    wanted: NDArray[np.float64], sizes: NDArray[np.float64], *, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The nearest places to the wanted ones that keep order and distance (pool adjacent violators)."""
    offsets = np.concatenate([[0.0], np.cumsum((sizes[:-1] + sizes[1:]) / 2 + _GAP)])
    pools: list[tuple[float, float, int]] = []  # mean, weight and number
    for target, weight in zip(wanted - offsets, weights, strict=True):
        pools.append((float(target), float(weight), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (one, much, many), (two, little, few) = pools[-2], pools[-1]
            pools[-2:] = [((one * much + two * little) / (much + little), much + little, many + few)]
    places: NDArray[np.float64] = np.concatenate([np.full(number, mean) for mean, _, number in pools]) + offsets
    return places
