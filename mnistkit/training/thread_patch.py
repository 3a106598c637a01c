"""Functions of other packages replaced in the calling thread alone.

While any thread has a replacement, the package has a function that asks the calling thread which one to call; other
threads get the original. It is installed by the first and removed by the last, under a lock.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mnistkit.training.hook import Hook


class ThreadPatch:
    """Replaces one function of a module.

    Args:
        hook: the function.
    """

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._lock = threading.Lock()
        self._users = 0
        self._local = threading.local()
        self._original: Callable[..., Any] | None = None
        self._dispatcher: Callable[..., Any] | None = None

    @contextlib.contextmanager
    def __call__(self, replacement: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
        """Replace the function in this thread within the block; give the original."""
        original = self._enter()
        before = getattr(self._local, "replacement", None)
        self._local.replacement = replacement
        try:
            yield original
        finally:
            self._local.replacement = before
            self._leave()

    def _enter(self) -> Callable[..., Any]:
        with self._lock:
            if self._users == 0:
                owner, name = self._hook.owner()
                self._original = getattr(owner, name)
                self._dispatcher = _dispatcher(self._original, self._local)
                setattr(owner, name, self._dispatcher)
            self._users += 1
            assert self._original is not None
            return self._original

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            owner, name = self._hook.owner()
            # somebody else may have replaced the function since; what they wrapped calls the original
            if getattr(owner, name) is self._dispatcher:
                setattr(owner, name, self._original)


def _dispatcher(original: Any, local: threading.local) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        replacement = getattr(local, "replacement", None)
        return (original if replacement is None else replacement)(*args, **kwargs)

    return call
