"""What processes tell each other, with threads in the place of processes."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mnistkit import cli
from mnistkit.core.errors import DistributedError, LostProcessError
from mnistkit.training.distributed import connection
from mnistkit.training.distributed.group import Group


class Wires:
    """Connections of a few threads."""

    def __init__(self, count):
        self.rows, self.barrier, self.abandoned = {}, threading.Barrier(count), []
        self.groups = [Group(Wire(self, rank, count)) for rank in range(count)]

    def run(self, function):
        """Call a function with each group at the same time; what it returns, or raises, by rank."""
        with ThreadPoolExecutor(len(self.groups)) as pool:
            futures = [pool.submit(function, group) for group in self.groups]
            return [future.exception() or future.result() for future in futures]


class Wire:
    def __init__(self, wires, rank, count):
        self.wires, self.rank, self.count = wires, rank, count

    def gather(self, data):
        self.wires.rows[self.rank] = data
        self.wires.barrier.wait(60)
        rows = np.stack([self.wires.rows[rank] for rank in range(self.count)])
        self.wires.barrier.wait(60)
        return rows

    def is_lost(self, error):
        return "peer" in str(error)

    def abandon(self):
        self.wires.abandoned.append(self.rank)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_the_shares_are_the_batch(count, size):
    shares = [group.share(size) for group in Wires(count).groups]
    rows = np.concatenate([np.arange(size)[share] for share in shares])
    assert rows.tolist() == list(range(size))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_values_of_every_length_reach_everyone():
    for value in ("", "é" * 1000, {"a": [1, None]}):
        told = Wires(3).run(lambda group, value=value: group.exchange([group.rank, value]))
        assert told == [[[rank, value] for rank in range(3)]] * 3


@pytest.mark.parametrize("content", [None, b"", b"\0\1" * 1_500_000], ids=["none", "empty", "3 MB"])
def test_the_file_of_the_first_reaches_everyone(content):
    assert Wires(2).run(lambda group: group.from_first(content if group.is_first else b"other")) == [content] * 2


def test_sums():
    arrays = [np.array([[1.0, 2.0]], "float32"), np.array(3, "int64")]
    for one, two in Wires(2).run(lambda group: group.total([array * (group.rank + 1) for array in arrays])):
        np.testing.assert_array_equal(one, np.array([[3, 6]], "float32"))
        assert (two, two.dtype) == (9, "int64")
    assert Wires(2).run(lambda group: group.total([])) == [[], []]


def test_agreement_and_its_twin():
    assert Wires(2).run(lambda group: group.agree({"seed": 1, "weights": "abc"})) == [None, None]
    for error in Wires(2).run(lambda group: group.agree({"version": "1", "seed": group.rank})):
        assert isinstance(error, DistributedError)
        assert "disagree on the seed (process 0: 0, process 1: 1); start all of them" in str(error)


def test_an_error_that_means_a_lost_process():
    wires = Wires(2)

    def fail(group, words):
        with group.talking():
            raise RuntimeError(words)

    for error in wires.run(lambda group: fail(group, "Connection closed by peer")):
        assert isinstance(error, LostProcessError)
        assert "another process ended or does not answer (Connection closed by peer)" in str(error)
    assert sorted(wires.abandoned) == [0, 1]
    assert [type(error) for error in wires.run(lambda group: fail(group, "a bug"))] == [RuntimeError, RuntimeError]


@pytest.mark.parametrize("others", [["a group"], []], ids=["among others", "alone"])
def test_a_bug_ends_a_process_among_others_at_once(monkeypatch, capsys, others):
    """An ordinary end would wait for the others, and the framework would print pages when they do not come."""
    ended = []

    def run(_words, _prog):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "_run", run)
    monkeypatch.setattr(connection, "_found", others)
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(ZeroDivisionError):  # where the process has not ended
        cli.main(["train"])
    assert ended == ([1] if others else [])
    assert capsys.readouterr().err.endswith("ZeroDivisionError: a bug\n" if others else "")
