"""Honest confidence: the probability that a digit is there and read rightly, from what the net and the vote say.

Two logistic regressions, fitted by ``benchmarks/reader_confidence.py --fit`` on pages composed from digits that the net
was not trained on, and on as many without a digit: print, scribbles, textures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LEAST_SEEN: Final = 0.25
"""The net's own chance from which something is judged at all."""
LEAST_THERE: Final = 0.5
"""Probability of a digit from which it is one."""
LEAST_SURE: Final = 0.8
"""Many marks of which none is so surely a digit are text: letters look like digits, but never quite."""

THERE: Final = (2.375, 0.0, 0.0, 0.0, 0.0, 2.786, -0.731, 0.0, 0.127)
RIGHT: Final = (2.351, 1.016, 0.062, 4.256, -0.030, 2.268, -0.710, 0.242, -1.637)
"""Weights of `evidence`, the last one alone."""

_SURE: Final = 1e-4  # no chance is taken for nearer to 0 or 1
_MANY: Final = 40.0  # digits on a page, more count for so many


def evidence(chances: Floats, named: Floats, voted: Floats, covered: Floats, margin: Floats) -> NDArray[np.float64]:
    """What the regressions weigh, ``[n, 8]``.

    Args:
        chances: The net's own, ``[n]``, of all on the page from `LEAST_SEEN` on.
        named: The net's probability of the class that was chosen.
        voted: The classifier's probability of it.
        covered: How much of the box another one covers.
        margin: Logarithm of how much likelier the class is than the next, to both together.
    """
    there = _logit(chances)
    name, vote = (np.log(np.asarray(p, np.float64).clip(1e-3)) for p in (named, voted))
    usual = np.full(len(chances), np.median(there) if len(chances) else 0.0)
    count = np.full(len(chances), np.log(min(max(len(chances), 1), _MANY)))
    crowd = np.asarray(covered, np.float64)
    apart = np.asarray(margin, np.float64)
    return np.stack([there, name, vote, crowd, vote * crowd.clip(0, 0.25) * 4, usual, count, apart], axis=1)


def probability(found: NDArray[np.float64], weights: tuple[float, ...]) -> Floats:
    """Of what ``weights`` are for, in [0, 1]: `THERE` or `RIGHT`."""
    score = found @ np.array(weights[:-1]) + weights[-1]
    return np.asarray(1 / (1 + np.exp(-score.clip(-30, 30))), np.float32)


def _logit(chances: Floats) -> NDArray[np.float64]:
    sure = np.asarray(chances, np.float64).clip(_SURE, 1 - _SURE)
    return np.asarray(np.log(sure / (1 - sure)))
