"""What a launcher tells each process: which one it is, how many there are, where they meet.

Each backend has the variables that its own launchers set:

- torch: ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, ``MASTER_PORT``, as torchrun sets them.
- jax: ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES``, ``JAX_PROCESS_ID``, or Keras' names for the same,
  ``KERAS_DISTRIBUTION_JOB_ADDRESSES``, ``KERAS_DISTRIBUTION_NUM_PROCESSES``, ``KERAS_DISTRIBUTION_PROCESS_ID``.
- tensorflow: ``TF_CONFIG``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TORCH = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_JAX = ("JAX_PROCESS_ID", "JAX_NUM_PROCESSES", "JAX_COORDINATOR_ADDRESS")
_KERAS = tuple(f"KERAS_DISTRIBUTION_{name}" for name in ("PROCESS_ID", "NUM_PROCESSES", "JOB_ADDRESSES"))
_TF_CONFIG = "TF_CONFIG"
_TRAINS = ("chief", "worker")  # the tasks of a TF_CONFIG that train, in the order of their ranks


@dataclass(frozen=True, slots=True)
class Place:
    """The place of this process among those that train together.

    Attributes:
        rank: its number, from 0.
        count: number of processes.
        address: ``host:port`` where the first process listens.
        local_rank: its number among the processes of its machine.
    """

    rank: int
    count: int
    address: str
    local_rank: int = 0


def find_place(backend: str, environment: Mapping[str, str] | None = None) -> Place | None:
    """Return what the launcher's variables say, None where there are none or there is one process.

    Args:
        backend: name of the Keras backend.
        environment: the variables; those of this process by default.

    Raises:
        InputError: variables are missing or wrong, or belong to the launcher of another backend.
    """
    given = os.environ if environment is None else environment
    found = {name: read(given) for name, read in _READERS.items() if name == backend}
    place = found.get(backend)
    if place is None:
        for other, read in _READERS.items():
            if other != backend and _is_several(other, given):
                place_there = read(given)
                assert place_there is not None
                raise InputError(
                    f"the launcher of {other} started this as one of {place_there.count} processes, but Keras runs on "
                    f"{backend}, where each would train alone; set KERAS_BACKEND={other}, or use {backend}'s variables"
                )
    return place


def variables_for(backend: str, *, rank: int, ports: Sequence[int]) -> dict[str, str]:
    """Return the variables that a launcher sets for one of several processes on this machine.

    Args:
        backend: name of the Keras backend.
        rank: number of the process.
        ports: free ports, one for each process.
    """
    count, first = len(ports), f"127.0.0.1:{ports[0]}"
    if backend == "torch":
        values = (rank, count, "127.0.0.1", ports[0])
        local = {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)}
        return {**dict(zip(_TORCH, map(str, values), strict=True)), **local}
    if backend == "jax":
        return dict(zip(_JAX, map(str, (rank, count, first)), strict=True))
    task = {"type": "worker", "index": rank}
    return {_TF_CONFIG: json.dumps({"cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]}, "task": task})}


def launcher_of(environment: Mapping[str, str] | None = None) -> str | None:
    """Return the backend whose launcher started this process as one of several, or None."""
    given = os.environ if environment is None else environment
    return next((name for name in _READERS if _is_several(name, given)), None)


def _of_torch(given: Mapping[str, str]) -> Place | None:
    if not any(given.get(name) for name in _TORCH[:2]):
        return None  # an address alone is left over in many shells
    _check_complete(_TORCH, given, cure="start the processes with torchrun")
    place = _place(given, *_TORCH[:2], address=f"{given[_TORCH[2]]}:{given[_TORCH[3]]}")
    return place and Place(place.rank, place.count, place.address, int(given.get("LOCAL_RANK") or 0))


def _of_jax(given: Mapping[str, str]) -> Place | None:
    for names in (_JAX, _KERAS):
        if any(given.get(name) for name in names):
            _check_complete(names, given, cure="set all three for each process")
            return _place(given, *names[:2], address=given[names[2]].partition(",")[0])
    return None


def _of_tensorflow(given: Mapping[str, str]) -> Place | None:
    text = given.get(_TF_CONFIG)
    if not text:
        return None
    try:
        config = json.loads(text)
        members = {kind: list(config.get("cluster", {}).get(kind, ())) for kind in _TRAINS}
        addresses = [*members["chief"], *members["worker"]]
        if len(addresses) < 2:  # noqa: PLR2004 - one process trains alone
            return None
        kind, index = config["task"]["type"], int(config["task"]["index"])
        if kind not in _TRAINS:
            raise InputError(f"TF_CONFIG makes this a {kind}; mnistkit trains on workers alone: leave the {kind} out")
        if not 0 <= index < len(members[kind]):
            raise InputError(f"TF_CONFIG has no {kind} number {index}: its cluster lists {len(members[kind])} of them")
        return Place(index + (len(members["chief"]) if kind == "worker" else 0), len(addresses), str(addresses[0]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        form = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"TF_CONFIG cannot be read ({reason}); it has the form {form}") from error


_READERS = {"torch": _of_torch, "jax": _of_jax, "tensorflow": _of_tensorflow}


def _is_several(backend: str, given: Mapping[str, str]) -> bool:
    """Tell whether variables of a launcher say that there are several processes; wrong ones count as none."""
    try:
        return _READERS[backend](given) is not None
    except InputError:
        return False


def _check_complete(names: Sequence[str], given: Mapping[str, str], *, cure: str) -> None:
    missing = [name for name in names if not given.get(name)]
    if missing:
        there = ", ".join(name for name in names if name not in missing)
        raise InputError(f"{there} is set but {' and '.join(missing)} is not: {cure}, or unset them to train alone")


def _place(given: Mapping[str, str], rank: str, count: str, *, address: str) -> Place | None:
    numbers: list[Any] = []
    for name in (rank, count):
        try:
            numbers.append(int(given[name]))
        except ValueError:
            raise InputError(f"{name} is {given[name]!r}: give an integer") from None
    if numbers[1] < 1 or not 0 <= numbers[0] < numbers[1]:
        raise InputError(
            f"{rank} is {numbers[0]} and {count} is {numbers[1]}: the first must be from 0 up to the second"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(f"the processes are to meet at {address!r}: give HOST:PORT with a port from 1 to 65535")
    return Place(numbers[0], numbers[1], address) if numbers[1] > 1 else None
