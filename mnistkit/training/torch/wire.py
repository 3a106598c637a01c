"""The connection of processes that train together under PyTorch: ``torch.distributed``."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from mnistkit.core.errors import DistributedError, one_line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnistkit.training.distributed.variables import Place

_ANSWER = dt.timedelta(minutes=5)  # for a process that is alive and silent; a dead one is noticed at once
_SIGNS = ("connection", "gloo", "nccl", "timed out", "peer", "socket", "broken pipe", "tcpstore")


def connect(place: Place | None, *, timeout: float) -> TorchWire | None:
    """Return the connection, None where this process is alone.

    Args:
        place: what the launcher's variables say.
        timeout: seconds to wait for the others.

    Raises:
        DistributedError: They cannot be reached.
    """
    if not distributed.is_available():
        if place is None:
            return None
        raise DistributedError("this PyTorch was built without torch.distributed; install another build")
    if not distributed.is_initialized():
        if place is None:
            return None
        _start(place, timeout=timeout)
    return TorchWire() if distributed.get_world_size() > 1 else None


def _start(place: Place, *, timeout: float) -> None:
    backend = "gloo"
    if torch.cuda.is_available():
        cards = torch.cuda.device_count()
        torch.cuda.set_device(place.local_rank % cards)
        if int(os.environ.get("LOCAL_WORLD_SIZE") or 1) <= cards and distributed.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"  # NCCL refuses two processes on one card
    waiting = dt.timedelta(seconds=timeout)
    try:
        distributed.init_process_group(backend, timeout=waiting)  # reads the launcher's variables itself
        distributed.barrier(distributed.new_group(backend="gloo", timeout=waiting))
    except (RuntimeError, ValueError) as error:
        raise DistributedError(
            f"process {place.rank} of {place.count} cannot meet the others at {place.address} within {timeout:g} s "
            f"({one_line(error, limit=160)}); start all {place.count}, check MASTER_ADDR, and choose another "
            "MASTER_PORT if that one is in use"
        ) from error


class TorchWire:
    """All processes of the default group.

    Attributes:
        rank: number of this process, from 0.
        count: number of processes.
        name: of the group for the gradients.
    """

    def __init__(self) -> None:
        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()
        # tensors of the CPU, whatever the gradients travel by
        self._group = distributed.new_group(backend="gloo", timeout=_ANSWER)
        self.name: str = distributed.new_group(timeout=_ANSWER).group_name

    def gather(self, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the bytes of every process, of shape ``(count, len(data))``."""
        mine = torch.tensor(data)
        rows = [torch.empty_like(mine) for _ in range(self.count)]
        distributed.all_gather(rows, mine, group=self._group)
        result: npt.NDArray[Any] = torch.stack(rows).numpy()
        return result

    def is_lost(self, error: Exception) -> bool:
        """Tell whether an error of PyTorch means that another process is gone."""
        return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)

    def abandon(self) -> None:
        """Do nothing: the end of this process waits for nobody."""
