"""What an answer waits for at a load: a queue whose server is as fast as was measured at each number of requests.

A server under `n` requests at a time finishes them in some rhythm of gaps; `capacity.py` measures them at several `n`.
The model lets requests arrive at random, keeps them in one queue, and takes each gap from the measurement at as many
requests as are there: so batching (more requests, shorter gaps) is in it. Now and then a whole machine stands still for
some milliseconds. That happens by the clock and not by the request. So these stalls are taken out of the gaps, and in
the model they come as often in a second as they were measured. The model knows nothing else of the server.
"""

from __future__ import annotations

import bisect
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

STALL = 0.002
"""Seconds that a gap is longer than two rounds of the requests under way, to count as a stall."""


class Gaps:
    """Measured seconds between one answer and the next, by the number of requests under way.

    Args:
        measured: By that number, ascending from 1, the gaps in the order in which they were measured. Those of one
            request at a time are its own times from arrival to answer, at a low rate.
    """

    def __init__(self, measured: Mapping[int, NDArray[np.float64]]) -> None:
        if 1 not in measured or len(measured) == 1 or any(len(gaps) == 0 for gaps in measured.values()):
            raise ValueError("expected gaps of one request at a time and of at least one other number")
        self.levels = sorted(measured)
        stalls, seconds, shapes, means = [], 0.0, [], []
        for level in self.levels:
            gaps = measured[level]
            usual = 2 * level * np.median(gaps) if level == 1 else 2 * level * gaps.mean()
            is_stall = gaps > usual + STALL
            if level > 1:  # measured without a pause: of each second it is known what happened in it
                stalls.append(gaps[is_stall])
                seconds += gaps.sum()
            means.append(gaps[~is_stall].mean())
            shapes.append(list(gaps[~is_stall] / means[-1]))
        self.stalls = np.concatenate(stalls)
        """Seconds of each."""
        self.stalls_a_second = len(self.stalls) / seconds
        self._means, self._shapes, self._places = np.array(means), shapes, [0] * len(shapes)

    def rate(self, count: int) -> float:
        """Answers a second while `count` requests are there, without stalls."""
        return float(np.interp(count, self.levels, 1 / self._means))

    @property
    def capacity(self) -> float:
        """Answers a second at most."""
        lost = self.stalls_a_second * self.stalls.mean() if len(self.stalls) else 0
        return float((1 / self._means).max()) * (1 - lost)

    def start(self, draw: np.random.Generator) -> None:
        """Go on at a random place of each measurement."""
        self._places = [int(draw.integers(len(shape))) for shape in self._shapes]

    def next(self, count: int) -> float:
        """The next gap while `count` requests are there, from the nearest measurement."""
        after = min(bisect.bisect_left(self.levels, count), len(self.levels) - 1)
        before = max(after - 1, 0)
        level = after if self.levels[after] * self.levels[before] <= count * count or count == 1 else before
        shape = self._shapes[level]
        self._places[level] = (self._places[level] + 1) % len(shape)
        return shape[self._places[level]] / self.rate(count)


def waits(gaps: Gaps, rate: float, *, count: int = 60_000, seed: int = 0) -> NDArray[np.float64]:
    """Seconds from arrival to answer of `count` requests that arrive at random, `rate` a second."""
    draw = np.random.default_rng(seed)
    gaps.start(draw)
    arrivals = np.cumsum(draw.exponential(1 / rate, count))
    often = draw.poisson(gaps.stalls_a_second * arrivals[-1])
    begin = np.append(np.sort(draw.uniform(0, arrivals[-1], often)), np.inf)
    last = draw.choice(gaps.stalls, often) if often else np.array([])
    queue: deque[float] = deque()
    found: list[float] = []
    place, stall, leaves, stands_until = 0, 0, np.inf, 0.0
    while len(found) < count:
        arrives = float(arrivals[place]) if place < count else np.inf
        if begin[stall] < min(arrives, leaves):
            stands_until = begin[stall] + last[stall]
            leaves += last[stall]
            stall += 1
        elif arrives < leaves:
            place += 1
            queue.append(arrives)
            there = len(queue)
            if there == 1:
                leaves = max(arrives, stands_until) + gaps.next(1)
            else:  # who is being served is served faster or slower from now on
                now = max(arrives, min(stands_until, leaves))
                leaves = now + (leaves - now) * gaps.rate(there - 1) / gaps.rate(there)
        else:
            found.append(leaves - queue.popleft())
            leaves = leaves + gaps.next(len(queue)) if queue else np.inf
    return np.array(found)


def highest_rate(gaps: Gaps, p99: float) -> float:
    """Requests a second, to a hundredth of the capacity, up to which 99 of 100 are answered within `p99` seconds."""
    low, high = 0, 99
    while low < high:
        share = (low + high + 1) // 2
        if np.quantile(waits(gaps, share / 100 * gaps.capacity), 0.99) <= p99:
            low = share
        else:
            high = share - 1
    return low / 100 * gaps.capacity
