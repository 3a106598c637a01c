"""The connection of processes that train together under JAX: ``jax.distributed``, one device of each process."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import sys
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mnistkit.core.errors import DistributedError, InputError
from mnistkit.training.distributed.deadline import meeting_within
from mnistkit.training.jax.hooks import ALLGATHER, backends_are_initialized, distributed_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from mnistkit.training.distributed.variables import Place

_HEARTBEAT = 40  # seconds after which a process that sends nothing counts as dead: less than a minute
_MARGIN = 60  # seconds by which JAX's own end of waiting is later than ours
_LEAST = 1024  # bytes that are exchanged at least
_SIGNS = re.compile(r"gloo|nccl|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|coordination|heartbeat|peer", re.IGNORECASE)
_STATUS = re.compile(r"[A-Z]+(_[A-Z]+)*: ")  # how XLA's own errors begin


def connect(place: Place | None, *, timeout: float) -> JaxWire | None:
    """Return the connection, None where this process is alone.

    Args:
        place: what the launcher's variables say.
        timeout: seconds to wait for the others.

    Raises:
        InputError: JAX has already computed something alone.
        DistributedError: The others cannot be reached.
    """
    if not jax.distributed.is_initialized():
        if place is None:
            return None
        if backends_are_initialized is None or backends_are_initialized():
            raise InputError(
                f"this is process {place.rank} of {place.count}, but JAX has already computed something alone: call "
                "mnistkit.training.connect() first of all, before a model is built"
            )
        _start(place, timeout=timeout)
    return JaxWire() if jax.process_count() > 1 else None


def _start(place: Place, *, timeout: float) -> None:
    # this service would take SIGTERM for a notice from a cloud, and keep it from ending the process
    jax.config.update("jax_enable_preemption_service", False)
    _check_port(place)
    with meeting_within(timeout, place, cure="and check JAX_COORDINATOR_ADDRESS"):  # JAX itself aborts the process
        jax.distributed.initialize(
            place.address,
            place.count,
            place.rank,
            initialization_timeout=int(timeout) + _MARGIN,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_HEARTBEAT,
        )


def _check_port(place: Place) -> None:
    """Look whether the first process can listen: JAX ends the process where it cannot.

    Raises:
        DistributedError: It cannot.
    """
    if place.rank:
        return
    host, _, port = place.address.rpartition(":")
    try:
        with socket.create_server(("", int(port))):
            pass
    except OSError as error:
        raise DistributedError(
            f"process 0 cannot listen on port {port} ({error.strerror}); choose another in JAX_COORDINATOR_ADDRESS, "
            f"now {host}:{port}"
        ) from error


class JaxWire:
    """All processes that ``jax.distributed`` knows."""

    def __init__(self) -> None:
        self.rank, self.count = jax.process_index(), jax.process_count()
        with _stdout_closed():  # on which Gloo says that it has connected
            self.gather(np.zeros(1, np.uint8))

    def gather(self, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the bytes of every process, of shape ``(count, len(data))``."""
        room = max(_LEAST, 2 ** max(0, len(data) - 1).bit_length())  # JAX compiles for each length: let there be few
        sent = np.pad(data, (0, room - len(data)))
        rows: npt.NDArray[Any] = np.asarray(ALLGATHER.get()(sent, tiled=False))
        return rows.reshape(self.count, room)[:, : len(data)]

    def is_lost(self, error: Exception) -> bool:
        """Tell whether an error of JAX means that another process is gone.

        XLA's error of a program that runs at once, not in its queue, arrives as a bare ValueError.
        """
        text = str(error)
        from_xla = isinstance(error, jax.errors.JaxRuntimeError) or (type(error) is ValueError and _STATUS.match(text))
        return bool(from_xla) and _SIGNS.search(text) is not None

    def abandon(self) -> None:
        """Let go of the service: at its end this process would wait for the others, and then be aborted."""
        distributed_state.client = None


@contextlib.contextmanager
def _stdout_closed() -> Iterator[None]:
    """Let nothing through that C++ writes to standard output."""
    try:
        kept = os.dup(1)
    except OSError:  # closed already
        yield
        return
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.flush()
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a name, not a path
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@functools.cache
def replicated() -> NamedSharding:
    """Return what says that every process has the whole of an array."""
    return NamedSharding(_mesh(), PartitionSpec())


@functools.cache
def in_parts() -> NamedSharding:
    """Return what says that every process has a part of an array, along its first axis."""
    return NamedSharding(_mesh(), PartitionSpec("process"))


def everywhere(array: Any) -> Any:
    """Return one array of all processes from what each has whole, without a copy where it is on the device."""
    mine = jax.device_put(array, _device())
    return jax.make_array_from_single_device_arrays(mine.shape, replicated(), [mine])


def here(array: Any) -> Any:
    """Return this process' copy of an array that every process has whole."""
    return array.addressable_data(0)


def _mesh() -> Mesh:
    firsts = {device.process_index: device for device in reversed(jax.devices())}
    return Mesh(np.array([firsts[rank] for rank in range(jax.process_count())]), ("process",))


def _device() -> Any:
    return jax.local_devices()[0]
