"""The connection of processes that train together under TensorFlow: ``MultiWorkerMirroredStrategy``.

Models are not made under the strategy: Keras 3 does not support that. The strategy connects the processes, and its
``run`` adds up what each of them has.
"""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mnistkit.core.errors import DistributedError, InputError, one_line
from mnistkit.training.distributed.deadline import meeting_within
from mnistkit.training.tensorflow.hooks import context_is_initialized

if TYPE_CHECKING:
    import numpy.typing as npt

    from mnistkit.training.distributed.variables import Place

_CURE = "check the addresses in TF_CONFIG, and choose another port if that one is in use"


def connect(place: Place | None, *, timeout: float) -> TensorflowWire | None:
    """Return the connection, None where this process is alone.

    Args:
        place: what the launcher's variables say.
        timeout: seconds to wait for the others.

    Raises:
        InputError: TensorFlow has already computed something alone.
        DistributedError: The others cannot be reached.
    """
    if place is None:
        return None
    if context_is_initialized():
        raise InputError(
            f"this is process {place.rank} of {place.count}, but TensorFlow has already computed something alone: call "
            "mnistkit.training.connect() first of all, before a model is built"
        )
    _check_port()
    return TensorflowWire(place, timeout=timeout)


def _check_port() -> None:
    """Look whether this process can listen: TensorFlow ends the process where it cannot.

    Raises:
        DistributedError: It cannot.
    """
    config = json.loads(os.environ["TF_CONFIG"])
    kind, index = config["task"]["type"], int(config["task"]["index"])
    address = str(config["cluster"][kind][index])
    port = address.rpartition(":")[2]
    try:
        with socket.create_server(("", int(port))):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise DistributedError(f"{kind} {index} cannot listen on {address} ({error}); {_CURE}") from error


class TensorflowWire:
    """All workers of TF_CONFIG.

    Args:
        place: what the launcher's variables say.
        timeout: seconds to wait for the others.
    """

    def __init__(self, place: Place, *, timeout: float) -> None:
        self.rank, self.count = place.rank, place.count
        try:
            with meeting_within(timeout, place, cure=_CURE):
                self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
                self._gather = tf.function(self._gathered, autograph=False, reduce_retracing=True)
                self.gather(np.zeros(1, np.uint8))
        except (RuntimeError, ValueError, tf.errors.OpError) as error:
            raise DistributedError(
                f"process {self.rank} of {self.count} cannot meet the others ({one_line(error, limit=160)}); {_CURE}"
            ) from error

    def gather(self, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the bytes of every process, of shape ``(count, len(data))``."""
        rows: npt.NDArray[Any] = self._gather(tf.constant(data[None].astype("int32"))).numpy()
        return rows.astype(np.uint8)

    def add_up(self, tensor: Any) -> Any:
        """Return the sum of a tensor over all processes, as an operation of the function that is being traced."""
        return self._strategy.run(_summed, args=(tensor,))

    def is_lost(self, error: Exception) -> bool:
        """Tell whether an error of TensorFlow means that another process is gone."""
        gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
        said = str(error).lower()
        return isinstance(error, gone) or (
            isinstance(error, tf.errors.OpError) and ("collective" in said or "peer" in said or "socket" in said)
        )

    def abandon(self) -> None:
        """Do nothing: the end of this process waits for nobody."""

    def _gathered(self, row: Any) -> Any:
        return self._strategy.run(_joined, args=(row,))


def _summed(tensor: Any) -> Any:
    # identity puts it on the device of the replica, without which TensorFlow does not know where the sum is to go
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(tensor))


def _joined(row: Any) -> Any:
    return tf.distribute.get_replica_context().all_gather(tf.identity(row), axis=0)
