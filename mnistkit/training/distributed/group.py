"""The processes that train together, and what they tell each other beside gradients.

Everything here is built on one operation that each backend has: equal numbers of bytes from every process reach every
process (``Wire.gather``). Gradients go their own way, inside the compiled step.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mnistkit.core.errors import DistributedError, LostProcessError, MnistkitError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

_CHUNK = 2**20  # bytes of a file that are sent at once
_SHOWN = 60  # characters of a value in a message


class Wire(Protocol):
    """What each backend's ``wire`` module makes: the connection by the framework's own means.

    Attributes:
        rank: number of this process, from 0.
        count: number of processes.
    """

    rank: int
    count: int

    def gather(self, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the bytes of every process, of shape ``(count, len(data))``; all give equally many."""

    def is_lost(self, error: Exception) -> bool:
        """Tell whether an error of the framework means that another process is gone."""

    def abandon(self) -> None:
        """Let go of the others, so that the end of this process does not wait for them."""


class Group:
    """The processes of one training, this one among them.

    Args:
        wire: the connection.

    Attributes:
        rank: number of this process, from 0; process 0 prints and writes.
        count: number of processes, 2 or more.
        wire: the connection.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire: Any = wire
        self.rank, self.count = wire.rank, wire.count

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def share(self, size: int) -> slice:
        """Return which samples of a batch are this process' own; empty where there are fewer than processes."""
        return slice(size * self.rank // self.count, size * (self.rank + 1) // self.count)

    @contextlib.contextmanager
    def talking(self) -> Iterator[None]:
        """Say of what a framework raises within the block because another process is gone what happened.

        Raises:
            LostProcessError: Another process went away, or did not answer in time.
        """
        try:
            yield
        except MnistkitError:
            raise
        except Exception as error:
            if not self.wire.is_lost(error):
                raise
            self.wire.abandon()
            raise LostProcessError(
                f"process {self.rank} of {self.count}: another process ended or does not answer "
                f"({one_line(error, limit=120)}); see what it said, then start all of them again, with --resume or the "
                "last checkpoint"
            ) from error

    def gather(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the arrays of all processes, which have one shape and type, stacked by rank."""
        sent = np.ascontiguousarray(array)
        with self.talking():
            received = self.wire.gather(sent.reshape(-1).view(np.uint8))
        return np.ascontiguousarray(received).view(sent.dtype).reshape(self.count, *sent.shape)

    def exchange(self, value: Any) -> list[Any]:
        """Return what each process gives, by rank: anything that JSON can hold."""
        data = json.dumps(value).encode()
        longest = int(self.gather(np.array([len(data)])).max())
        room = 2 ** (longest - 1).bit_length() if longest else 1  # few sizes, since some backends compile for each
        rows = self.gather(np.frombuffer(data.ljust(room), np.uint8))
        return [json.loads(row.tobytes()) for row in rows]

    def from_first(self, data: bytes | None) -> bytes | None:
        """Return the bytes, or None, that process 0 gives; what the others give is of no account."""
        length = int(self.gather(np.array([-1 if data is None else len(data)]))[0, 0])
        if length < 0:
            return None
        mine = data if self.is_first and data is not None else b""
        parts = []
        for start in range(0, length, _CHUNK):
            room = min(_CHUNK, length - start)
            sent = mine[start : start + room].ljust(room, b"\0")
            parts.append(self.gather(np.frombuffer(sent, np.uint8))[0].tobytes())
        return b"".join(parts)

    def total(self, arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Return the sums of arrays over all processes."""
        if not arrays:
            return []
        flat = np.concatenate([np.asarray(array, "float64").reshape(-1) for array in arrays])
        sums = self.gather(flat).sum(axis=0)
        ends = np.cumsum([array.size for array in arrays])[:-1]
        parts = zip(np.split(sums, ends), arrays, strict=True)
        return [part.reshape(array.shape).astype(array.dtype) for part, array in parts]

    def agree(self, values: Mapping[str, Any]) -> None:
        """Check that all processes have the same values.

        Args:
            values: what the processes must agree on, by the name that a message gives it.

        Raises:
            DistributedError: Two processes differ; the message says in what.
        """
        told = self.exchange(json.loads(json.dumps(values)))
        for rank, other in enumerate(told):
            for name in told[0]:
                one, two = (json.dumps(each.get(name))[:_SHOWN] for each in (told[0], other))
                if told[0][name] != other.get(name):
                    raise DistributedError(
                        f"the processes disagree on the {name} (process 0: {one}, process {rank}: {two}); start all of "
                        "them with the same program, arguments and versions"
                    )
