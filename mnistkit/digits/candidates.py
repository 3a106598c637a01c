"""What else a digit or a number may be, and how likely that is."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

MOST: Final = 3
"""Candidates that are named."""
_SHARE: Final = 0.1  # of the likeliest one's probability, from which another is worth naming
_LEAST: Final = 0.01
_MOST_PLACES: Final = 12  # that are tried otherwise: the least sure ones


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that may be meant.

    Attributes:
        label: A digit's name, or the text of a whole number.
        confidence: Probability that it is right, in [0, 1].
    """

    label: str
    confidence: float

    def __str__(self) -> str:
        return f"{' / '.join(self.label.splitlines())} ({percent(self.confidence)})"

    def as_json(self) -> dict[str, Any]:
        """For ``--json`` and the server."""
        return {"label": self.label, "confidence": round(self.confidence, 6)}


def candidates_of(probabilities: NDArray[np.float32], labels: Sequence[str]) -> tuple[Candidate, ...]:
    """The likeliest classes, the first one always among them.

    Args:
        probabilities: float32 ``[10]``.
        labels: Names of the classes.
    """
    order = (-probabilities).argsort(kind="stable")[:MOST].tolist()
    found = [Candidate(labels[place], float(probabilities[place])) for place in order]
    return tuple(one for number, one in enumerate(found) if number == 0 or _is_close(one, found[0]))


def combinations(choices: Sequence[Sequence[Candidate]], *, share: float = 1.0) -> list[tuple[dict[int, int], float]]:
    """The likeliest ways to choose one candidate at each place.

    Args:
        choices: Candidates of each place, the likeliest first.
        share: Factor of all probabilities: how likely it is that nothing else is wrong.

    Returns:
        At most `MOST`, the likeliest first: by place the number of the chosen candidate, where it is not the first;
        and the probability.
    """
    best = math.prod([share, *(options[0].confidence for options in choices)])
    doubtful = [place for place, options in enumerate(choices) if len(options) > 1]
    doubtful.sort(key=lambda place: -_ratio(choices[place], 1))
    doubtful = doubtful[:_MOST_PLACES]
    waiting: list[tuple[float, tuple[int, ...]]] = [(-best, (0,) * len(doubtful))]
    seen = {waiting[0][1]}
    found: list[tuple[dict[int, int], float]] = []
    while waiting and len(found) < MOST:
        minus, chosen = heapq.heappop(waiting)
        if found and -minus < max(_SHARE * best, _LEAST):
            break
        found.append(({doubtful[i]: number for i, number in enumerate(chosen) if number}, -minus))
        for i, number in enumerate(chosen):
            after = (*chosen[:i], number + 1, *chosen[i + 1 :])
            if number + 1 < len(choices[doubtful[i]]) and after not in seen:
                seen.add(after)
                heapq.heappush(waiting, (minus * _ratio(choices[doubtful[i]], number + 1), after))
    return found


def _ratio(options: Sequence[Candidate], number: int) -> float:
    """How likely a candidate is beside the one before it."""
    return options[number].confidence / max(options[number - 1].confidence, 1e-9)


def told(candidates: Sequence[Candidate]) -> str:
    """``1 (62.0 %) or 7 (35.1 %)``."""
    return " or ".join(map(str, candidates))


def percent(share: float) -> str:
    """``99.8 %``."""
    return f"{100 * share:.1f} %"


def _is_close(one: Candidate, first: Candidate) -> bool:
    return one.confidence >= max(_SHARE * first.confidence, _LEAST)
