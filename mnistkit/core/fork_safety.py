"""Let processes fork while an onnxruntime session is open.

A session owns threads, and threads do not exist in a forked child. A child that frees its copy of the session, be it
to open another one, would wait for them for ever. So children keep what they inherit and never use it.

onnxruntime itself sets a limit: a child forked after its import must end by ``os._exit``, as multiprocessing's do,
because its own clean-up at the interpreter's end waits in the same way (seen with 1.32, with no session open at all).
"""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from typing import Any

generation = 0
"""How many forks lie between this process and the one that opened its first session; a session belongs to one.

Read it as an attribute of this module. To ask for the process' number instead is a system call at every run.
"""

_sessions: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_alive_across_fork(session: Any) -> Any:
    """Return ``session``, which children forked from now on will never free."""
    _register()
    _sessions.add(session)
    return session


@functools.cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):  # Windows cannot fork
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    """Count one reference too many, so that nothing the child does frees them; and the fork."""
    global generation  # noqa: PLW0603  # a process has one
    generation += 1
    for session in list(_sessions):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _sessions.clear()
