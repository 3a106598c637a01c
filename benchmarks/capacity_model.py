"""What an answer waits for at a load: a queue whose server is as fast as was measured at each number of requests.

From when requests were due and when they were answered follows how long the server worked for each: from the answer
before, or from when it was due if nobody was there. `services` takes that from a measurement at some loads; `Server`
keeps it by the number of requests that were there, because together they are answered faster; `waits` lets requests
arrive at random at another load and serves them so. What the server does inside, and the moments in which a whole
machine stands still, are in the measured times. The model knows nothing else of the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

MOST = 64
"""Requests there at once, beyond which the server is taken to be as fast as with so many."""


def services(due: NDArray[np.float64], done: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How long the server worked for each answer, and how many requests were there when it began.

    Args:
        due: Seconds at which the requests were due, in any order.
        done: Seconds at which they were answered, in any order: answers may overtake each other.

    Returns:
        Seconds, and numbers of requests from 1, each in the order of the answers.
    """
    due, done = np.sort(due), np.sort(done)
    begun = np.maximum(due, np.concatenate([[-np.inf], done[:-1]]))
    there = np.searchsorted(due, begun, side="right") - np.arange(len(due))
    return done - begun, np.maximum(there, 1)


class Server:
    """Measured seconds of service, by the number of requests that are there: 1, 2, 3 to 4, 5 to 8, and so on.

    Args:
        measured: What `services` found, for each run.

    Raises:
        ValueError: Nothing was measured with one request there.
    """

    def __init__(self, measured: Iterable[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> None:
        runs = [(seconds, _level(there)) for seconds, there in measured]
        self._seconds = [
            np.concatenate([seconds[level == number] for seconds, level in runs] or [np.empty(0)])
            for number in range(int(_level(np.array([MOST]))[0]) + 1)
        ]
        if not len(self._seconds[0]):
            raise ValueError("expected a measurement with one request there")
        self._places = [0] * len(self._seconds)

    def start(self, draw: np.random.Generator) -> None:
        """Go on at a random place of each measurement."""
        self._places = [int(draw.integers(max(1, len(seconds)))) for seconds in self._seconds]

    def next(self, there: int) -> float:
        """Seconds of the next service, in the order of the measurement: slow moments come together there too."""
        level = (min(there, MOST) - 1).bit_length()
        while not len(self._seconds[level]):
            level -= 1
        self._places[level] = (self._places[level] + 1) % len(self._seconds[level])
        return float(self._seconds[level][self._places[level]])


def waits(server: Server, rate: float, *, workers: int = 1, count: int = 60_000, seed: int = 0) -> NDArray[np.float64]:
    """Seconds from arrival to answer of `count` requests that arrive at random, `rate` a second.

    Each of several workers has a request of its own in hand: any of the oldest `workers` is the next to be answered.
    """
    draw = np.random.default_rng(seed)
    server.start(draw)
    arrivals = np.cumsum(draw.exponential(1 / rate, count)).tolist()
    overtakes = draw.random(count).tolist()
    there: list[float] = []
    found = np.empty(count)
    answered, arrived = 0.0, 0
    for number in range(count):
        begun = answered if there else max(arrivals[arrived], answered)
        while arrived < count and arrivals[arrived] <= begun:
            there.append(arrivals[arrived])
            arrived += 1
        answered = begun + server.next(len(there))
        found[number] = answered - there.pop(int(overtakes[number] * min(workers, len(there))))
    return found


def _level(there: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 for one request, 1 for two, 2 for three and four, and so on."""
    return np.ceil(np.log2(np.minimum(there, MOST))).astype(np.int64)
