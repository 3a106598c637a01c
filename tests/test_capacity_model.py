"""benchmarks/capacity_model.py: against queues that are solved on paper."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from capacity_model import Gaps, highest_rate, waits

MEAN = 1e-4


@pytest.fixture
def memoryless():
    """A server with exponential gaps, however many requests are there."""
    draw = np.random.default_rng(3)
    return Gaps({1: draw.exponential(MEAN, 100_000), 64: draw.exponential(MEAN, 100_000)})


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_memoryless_queue_has_the_known_quantiles(memoryless, load):
    found = waits(memoryless, load / MEAN, count=60_000)
    expected = -np.log(1 - np.array([0.5, 0.99])) * MEAN / (1 - load)
    np.testing.assert_allclose(np.quantile(found, [0.5, 0.99]), expected, rtol=0.12)
    wrong = -np.log(1 - np.array([0.5, 0.99])) * MEAN / (1 - load / 2)
    assert np.abs(np.quantile(found, [0.5, 0.99]) / wrong - 1).max() > 0.15


def test_a_server_that_is_faster_with_more_requests_holds_a_higher_rate():
    alone, together = np.full(100, 1e-3), np.full(100, 1e-4)
    plain, batching = Gaps({1: alone, 16: alone}), Gaps({1: alone, 16: together})
    assert plain.capacity == pytest.approx(1000)
    assert batching.capacity == pytest.approx(10_000)
    assert highest_rate(batching, 0.005) > 3 * highest_rate(plain, 0.005)


def test_stalls_come_by_the_clock_not_by_the_request():
    steady = np.full(20_000, MEAN)
    stalled = np.insert(steady, [5_000, 15_000], 0.05)
    gaps = Gaps({1: steady, 16: stalled})
    assert gaps.stalls_a_second == pytest.approx(2 / stalled.sum())
    assert gaps.stalls == pytest.approx(0.05)
    light = waits(gaps, 1_000, count=100_000)
    # who arrives in the first half of a stall waits for 25 ms or more
    assert (light > 0.025).mean() == pytest.approx(gaps.stalls_a_second * 0.025, rel=0.35)
    assert np.quantile(waits(Gaps({1: steady, 16: steady}), 1_000), 0.999) < 0.001


@pytest.mark.parametrize("measured", [{}, {2: np.ones(3)}, {1: np.ones(3)}, {1: np.ones(3), 2: np.array([])}])
def test_refuses_what_says_too_little(measured):
    with pytest.raises(ValueError, match="one request at a time"):
        Gaps(measured)
