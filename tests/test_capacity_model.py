"""benchmarks/capacity_model.py: against queues that are solved on paper."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from capacity_model import Server, services, waits

MEAN = 1e-4


def _queue(load, count=100_000, seed=3):
    """When requests were due and done at a server with exponential times of service, and these times."""
    draw = np.random.default_rng(seed)
    due, times = np.cumsum(draw.exponential(MEAN / load, count)), draw.exponential(MEAN, count)
    done = np.empty(count)
    last = 0.0
    for number in range(count):
        last = done[number] = max(due[number], last) + times[number]
    return due, done, times


def test_services_are_found_from_arrivals_and_answers_alone():
    due, done, times = _queue(0.6)
    found, there = services(due, done)
    np.testing.assert_allclose(found, times, atol=1e-9)
    assert there[0] == 1
    assert there.mean() == pytest.approx(0.6 / (1 - 0.6) + (1 - 0.6), rel=0.1)  # as left behind, and 1 where nobody was
    assert np.abs(services(due, done + 1e-5)[0] - times).max() > 5e-6


def test_answers_that_overtake_each_other_are_counted_in_their_order():
    found, there = services(np.array([0.0, 1.0]), np.array([3.0, 2.0]))
    assert found.tolist() == [2.0, 1.0]
    assert there.tolist() == [1, 1]


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_memoryless_queue_has_the_known_quantiles_at_another_load(load):
    server = Server([services(*_queue(0.45)[:2])])
    found = waits(server, load / MEAN, count=60_000)
    expected = -np.log(1 - np.array([0.5, 0.99])) * MEAN / (1 - load)
    np.testing.assert_allclose(np.quantile(found, [0.5, 0.99]), expected, rtol=0.12)
    wrong = -np.log(1 - np.array([0.5, 0.99])) * MEAN / (1 - load / 2)
    assert np.abs(np.quantile(found, [0.5, 0.99]) / wrong - 1).max() > 0.15


def test_a_server_that_is_faster_with_more_requests_holds_a_higher_rate():
    alone = (np.full(100, 1e-3), np.full(100, 1))
    plain, batching = Server([alone]), Server([alone, (np.full(100, 1e-4), np.full(100, 16))])
    assert waits(plain, 2000, count=2000).max() > 0.5  # falls behind
    assert waits(batching, 2000, count=2000).max() < 0.02


def test_workers_answer_out_of_order_and_no_request_is_lost():
    server = Server([services(*_queue(0.6)[:2])])
    one, two = (waits(server, 0.7 / MEAN, workers=workers, count=30_000) for workers in (1, 2))
    assert (two > 0).all()
    assert two.mean() == pytest.approx(one.mean(), rel=1e-6)  # the same answers, given to others
    assert np.quantile(two, 0.99) > np.quantile(one, 0.99)


def test_what_stands_still_sometimes_does_so_in_the_model():
    times = np.full(1000, MEAN)
    times[::100] = 0.01
    assert np.quantile(waits(Server([(times, np.ones(1000, int))]), 100), 0.995) > 0.009
    assert np.quantile(waits(Server([(np.full(1000, MEAN), np.ones(1000, int))]), 100), 0.995) < 0.001


def test_a_measurement_without_a_light_load_is_refused():
    with pytest.raises(ValueError, match="one request there"):
        Server([(np.full(3, MEAN), np.full(3, 2))])
