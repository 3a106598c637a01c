"""Reads on a Ray cluster: `mnistkit.digits.bulk.ray_driver`, in a process of its own, sends the rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mnistkit.core import ray_process
from mnistkit.core.errors import ClusterError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.digits.bulk.reader import Job
    from mnistkit.digits.bulk.table import Row

_AGAIN = "what was read is kept, and the same command goes on from there"


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Which Ray cluster reads.

    Attributes:
        address: ``host:port`` of its head, or ``"auto"`` for the one that runs on this machine. By default the variable
            ``RAY_ADDRESS``; where it is not set, a Ray of this process' own, on this machine alone.
        workers: How many processes read, at most, each on one processor; by default one for each of the cluster's.

    Raises:
        InputError: ``workers`` is less than 1.
    """

    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be at least 1, got {self.workers}")


def read_on_ray(job: Job, cluster: RayCluster, start: int) -> Iterator[list[Row]]:
    """The rows of each chunk from ``start`` on, in order.

    Raises:
        ClusterError: The cluster cannot be reached, goes away, or its workers fail.
        MnistkitError: What reading in one process raises.
    """
    source = job.source
    if start >= source.count:
        return
    order = {
        "cluster": asdict(cluster),
        "job": {**asdict(job), "model": str(job.model)},
        "kind": type(source).__name__,
        "at_once": source.at_once,
        "start": start,
    }
    for message in ray_process.ask("mnistkit.digits.bulk.ray_driver", order, kept=_AGAIN):
        if "rows" not in message:
            continue
        if message["start"] != start:
            raise ClusterError(f"Ray answered with rows {message['start']} where {start} were due; {_AGAIN}")
        rows = [tuple(row) for row in message["rows"]]
        start += len(rows)
        yield rows
    if start < source.count:
        raise ClusterError(f"Ray answered with rows up to {start} of {source.count}; {_AGAIN}")
