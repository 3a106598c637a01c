"""Functions of other packages replaced for the duration of a block, in the threads inside such a block alone.

The replacement stands in the class or module, where every thread meets it; what it does depends on the thread. A thread
outside the block gets the original function. Blocks may overlap: the first to begin puts the replacements in place, the
last to end takes them away. A function that somebody else has wrapped or replaced meanwhile is left alone: what they
wrapped calls the original from then on.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar


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


@dataclass(slots=True)
class _Installed:
    """A replacement in its place; ``in_use`` is false once its last block has ended."""

    patch: Patch
    original: Any
    replacement: Any = None
    in_use: bool = True

    def remove(self) -> None:
        """Put the original back, unless something else stands there by now."""
        self.in_use = False
        if vars(self.patch.owner).get(self.patch.name) is self.replacement:
            setattr(self.patch.owner, self.patch.name, self.original)


class ThreadPatches(Generic[S]):
    """A set of patches and the state of each thread that they act in."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._blocks = 0
        self._installed: list[_Installed] = []

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
    def act(self, state: S, patches: Callable[[], Iterable[Patch]]) -> Iterator[list[Any]]:
        """Let the patches act in this thread, with this state; give the original functions, in the table's order.

        Args:
            state: What the actions get.
            patches: Makes the list of patches when the first block begins; the same function in every block.
        """
        originals = self._begin(patches)
        outer = self.state
        self._local.state = state
        try:
            yield originals
        finally:
            self._local.state = outer
            self._end()

    def _begin(self, patches: Callable[[], Iterable[Patch]]) -> list[Any]:
        with self._lock:
            if self._blocks == 0:
                try:
                    for patch in patches():
                        self._install(patch)
                except BaseException:
                    self._restore()
                    raise
            self._blocks += 1
            return [one.original for one in self._installed]

    def _end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                self._restore()

    def _install(self, patch: Patch) -> None:
        original = vars(patch.owner)[patch.name]  # neither inherited nor bound
        installed = _Installed(patch, original)
        if isinstance(original, property):
            installed.replacement = original.getter(self._dispatch(original.fget, installed))
        else:
            installed.replacement = self._dispatch(original, installed)
        self._installed.append(installed)
        setattr(patch.owner, patch.name, installed.replacement)

    def _restore(self) -> None:
        while self._installed:
            self._installed.pop().remove()

    def _dispatch(self, original: Any, installed: _Installed) -> Callable[..., Any]:
        patch = installed.patch

        @functools.wraps(original)
        def function(*args: Any, **kwargs: Any) -> Any:
            state = self.state if patch.while_suspended else self.active
            # somebody's wrapper may call it after its time, also from within a later block
            if state is None or not installed.in_use:
                return original(*args, **kwargs)
            return patch.action(state, original, args, kwargs)

        return function


@dataclass(slots=True)
class _Replacement:
    function: Callable[..., Any]
    suspended: bool = False


class ThreadPatch:
    """One function or property, to be replaced.

    Args:
        owner: Finds its module or class and its name there, when a block begins.
    """

    def __init__(self, owner: Callable[[], tuple[Any, str]]) -> None:
        self._owner = owner
        self._patches: ThreadPatches[_Replacement] = ThreadPatches()

    @contextlib.contextmanager
    def __call__(self, replacement: Callable[..., Any]) -> Iterator[Any]:
        """Replace the function or property in this thread within the block; give the original."""
        with self._patches.act(_Replacement(replacement), self._table) as (original,):
            yield original

    def _table(self) -> list[Patch]:
        return [Patch(*self._owner(), _call_replacement)]


def _call_replacement(state: _Replacement, _: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return state.function(*args, **kwargs)
