"""What is kept of the programs of a model from call to call, on the model: as Keras keeps its train function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.training import keras_hooks
from mnistkit.training.pytree import tree_leaves, tree_map

if TYPE_CHECKING:
    from mnistkit.training.backend_program import Program
    from mnistkit.training.pytree import PyTree

_KEPT_PROGRAMS = 6  # of a model; each is for one kind of step, size of a batch and kind of data
_KEPT_LENGTHS = 3  # of a program: numbers of samples that it is compiled for
_KEPT_READY = 32  # of a program: kinds of data that it is known to be ready for; of others it is asked anew


class Entry:
    """A program with the state of the model that it was made for.

    Args:
        state: what a step depends on beside its inputs.
        flags: what was trainable at the first step.

    Attributes:
        program: the program, once it is made.
        ready: numbers of samples, size of the last batch, whether that has a program; what was made last.
        lengths: numbers of samples that the program is compiled for, the last one used at the end.
        steps: how many steps have been asked for, in this call of ``fit`` and in those before it.
    """

    def __init__(self, state: list[Any], flags: keras_hooks.TrainableFlags) -> None:
        self.state, self.flags = state, flags
        self.program: Program | None = None
        self.ready: dict[tuple[int, int, bool], None] = {}
        self.lengths: list[int] = []
        self.steps = 0

    def is_ready_for(self, kind: tuple[int, int, bool]) -> None:
        """Note that the program is made for a kind of data, and forget what it was made for long ago."""
        self.ready.pop(kind, None)
        self.ready[kind] = None
        for old in [*self.ready][:-_KEPT_READY]:
            del self.ready[old]

    def length_for(self, n: int) -> int:
        """Return a number of samples, at least n, to compile for: one that is compiled already, where it is near."""
        near = [length for length in self.lengths if n <= length <= 2 * n]
        if near:
            length = min(near)
        else:
            step = 2 ** max(0, n.bit_length() - 3)
            length = -(-n // step) * step if self.lengths else n
        self.lengths = [*(known for known in self.lengths if known != length), length][-_KEPT_LENGTHS:]
        return length


class Store:
    """Opaque to Keras, which would track, save and copy a plain dict."""

    def __init__(self) -> None:
        self.entries: dict[Any, Entry] = {}
        self._flags: dict[Any, dict[int | None, keras_hooks.TrainableFlags]] = {}
        self._compiled: list[Any] = []

    def flags(self, model: Any, layout: Any, size: int | None) -> keras_hooks.TrainableFlags:
        """Return what was trainable at the first step on data of this kind after ``compile``.

        ``model.fit`` compiles a step at that moment under TensorFlow, and goes on training what was trainable then.

        Args:
            model: the model.
            layout: of the data.
            size: of all batches, None where the last one is smaller. A step that is compiled for one size serves no
                other; the second is compiled for all.
        """
        compiled = keras_hooks.compiled_parts(model)[:3]
        if not _same(self._compiled, compiled):
            self._compiled, self._flags = compiled, {}
        steps = self._flags.setdefault(layout, {})
        if size not in steps:
            size = None if steps else size
        if size not in steps:
            steps[size] = keras_hooks.TrainableFlags(model)
        return steps[size]

    def entry(self, key: Any, state: list[Any], flags: keras_hooks.TrainableFlags) -> Entry:
        """Return the entry of a key, a new one where the model has changed."""
        entry = self.entries.pop(key, None)
        if entry is None or not _same(entry.state, state) or not entry.flags.are_those_of(flags):
            entry = Entry(state, flags)
        self.entries[key] = entry
        for old in [*self.entries][:-_KEPT_PROGRAMS]:
            del self.entries[old]
        return entry

    def __deepcopy__(self, _memo: Any) -> Store:
        return Store()

    def __reduce__(self) -> Any:
        return Store, ()


def layout_of(tree: PyTree) -> tuple[Any, ...]:
    """Return what tells one kind of data from another: structure, shapes of a sample, types."""
    structure = repr(tree_map(lambda _: 0, tree))
    return (structure, *((leaf.shape[1:], leaf.dtype.str) for leaf in tree_leaves(tree)))


def _same(old: list[Any], new: list[Any]) -> bool:
    # variables overload ==, so they are told apart by identity; the lists keep them alive, so no address is used twice
    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
        plain = (bool, int, float, str)
        if isinstance(a, plain) and isinstance(b, plain):
            return type(a) is type(b) and (a == b or a != a)  # noqa: PLR0124 - NaN is NaN
        return a is b

    return len(old) == len(new) and all(equal(a, b) for a, b in zip(old, new, strict=True))
