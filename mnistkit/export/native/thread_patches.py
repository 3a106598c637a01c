"""Replace functions of Keras for the duration of a block, in the threads inside such a block alone.

The replacement stands in the class or module, where every thread meets it; what it does depends on the thread. A thread
outside the block gets the original function. Blocks may overlap: the first to begin puts the replacements in place, the
last to end takes them away.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from mnistkit.export.native.keras_hooks import owner_of


class Suspendable(Protocol):
    """State of a block. While ``suspended`` is true, the thread gets the original functions."""

    suspended: bool


S = TypeVar("S", bound=Suspendable)
Action = Callable[[Any, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Patch:
    """One replaced function or property.

    Attributes:
        owner: Its class or module.
        name: Its name there.
        action: What happens instead: ``action(state, original, args, kwargs)``.
        while_suspended: The action also happens while the state is suspended.
    """

    owner: Any
    name: str
    action: Action
    while_suspended: bool = False

    @classmethod
    def of(cls, path: str, action: Action, *, while_suspended: bool = False) -> Patch:
        """Patch a name of :data:`mnistkit.export.native.keras_hooks.TABLE`.

        Raises:
            MissingKerasNameError: This version of Keras has no such name.
        """
        owner, name = owner_of(path)
        return cls(owner, name, action, while_suspended=while_suspended)


class ThreadPatches(Generic[S]):
    """A set of patches and the state of each thread that they act in."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._blocks = 0
        self._undo: list[tuple[Any, str, Any]] = []

    @property
    def state(self) -> S | None:
        """The state of the innermost block that this thread is in, suspended or not."""
        return getattr(self._local, "state", None)

    @property
    def active(self) -> S | None:
        """The same, None while it is suspended."""
        state = self.state
        return None if state is None or state.suspended else state

    @contextlib.contextmanager
    def act(self, state: S, patches: Callable[[], Iterable[Patch]]) -> Iterator[None]:
        """Let the patches act in this thread, with this state.

        Args:
            state: What the actions get.
            patches: Makes the list of patches when the first block begins; the same function in every block.
        """
        self._begin(patches)
        outer = self.state
        self._local.state = state
        try:
            yield
        finally:
            self._local.state = outer
            self._end()

    def _begin(self, patches: Callable[[], Iterable[Patch]]) -> None:
        with self._lock:
            if self._blocks == 0:
                try:
                    for patch in patches():
                        self._install(patch)
                except BaseException:
                    self._restore()
                    raise
            self._blocks += 1

    def _end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                self._restore()

    def _install(self, patch: Patch) -> None:
        original = vars(patch.owner)[patch.name]  # neither inherited nor bound
        if isinstance(original, property):
            replacement: Any = property(self._dispatch(original.fget, patch))
        else:
            replacement = self._dispatch(original, patch)
        self._undo.append((patch.owner, patch.name, original))
        setattr(patch.owner, patch.name, replacement)

    def _restore(self) -> None:
        while self._undo:
            setattr(*self._undo.pop())

    def _dispatch(self, original: Any, patch: Patch) -> Callable[..., Any]:
        @functools.wraps(original)
        def function(*args: Any, **kwargs: Any) -> Any:
            state = self.state if patch.while_suspended else self.active
            if state is None:
                return original(*args, **kwargs)
            return patch.action(state, original, args, kwargs)

        return function
