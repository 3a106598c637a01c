"""Meet the other processes, once for the life of this one."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING

from mnistkit.core.errors import InputError
from mnistkit.core.keras_backend import BACKENDS, load_keras
from mnistkit.training.distributed.group import Group
from mnistkit.training.distributed.variables import find_place

if TYPE_CHECKING:
    from types import ModuleType

TIMEOUT = "MNISTKIT_CONNECT_TIMEOUT"
"""The environment variable with the seconds to wait for the other processes at the start."""
_SECONDS = 300.0

_found: list[Group] = []


def connect(*, timeout: float | None = None) -> Group | None:
    """Meet the processes that train together with this one.

    Call it before the model is built: JAX and TensorFlow must know the other processes before they compute anything.
    A second call returns what the first returned. Where the framework has met the others already
    (``torch.distributed.init_process_group``, ``jax.distributed.initialize``, Ray Train), it takes that.

    Args:
        timeout: seconds to wait for the others; ``MNISTKIT_CONNECT_TIMEOUT`` or 300 by default.

    Returns:
        The group, or None where this process trains alone.

    Raises:
        InputError: the launcher's variables are incomplete or wrong, or the framework has already computed something.
        DistributedError: the others cannot be reached, or the port is in use.
    """
    if _found:
        return _found[0]
    keras = sys.modules.get("keras") or load_keras()
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        return None
    wire = _module(backend).connect(find_place(backend), timeout=_timeout() if timeout is None else timeout)
    if wire is None:
        return None
    _found.append(Group(wire))
    return _found[0]


def leave(code: int, bug: BaseException | None = None) -> None:
    """End this process at once if it has met others: an ordinary end would wait for processes that are gone.

    Args:
        code: to end with.
        bug: what nobody caught; its traceback is printed first.
    """
    if _found:
        if bug is not None:
            traceback.print_exception(bug)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)


def _module(backend: str) -> ModuleType:
    return importlib.import_module(f"mnistkit.training.{backend}.wire")


def _timeout() -> float:
    text = os.environ.get(TIMEOUT) or str(_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 2**31:
        raise InputError(f"{TIMEOUT} is {text!r}: give a number of seconds")
    return seconds
