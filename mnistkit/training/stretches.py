"""Stretches: consecutive batches of one shape side by side in memory, as a program takes them.

A stretch is filled batch by batch, by a thread ahead of the program (``ahead``). Its arrays have room for a fixed
number of batches, because programs are compiled for one number of samples.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.training.pytree import structure_of, tree_leaves, tree_map
from mnistkit.training.stored_rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mnistkit.training.adapters.raw_batches import Batch
    from mnistkit.training.pytree import PyTree

_BYTES = 2**24  # of a stretch: long enough that starting a program costs little beside it
_MOST_STEPS = 256
_OFTEN = 200  # batches of a further shape, until a program of their own is worth its making
_MOST_SHAPES = 4  # that have programs; the rest is left to Keras' own step
_POOL = 3  # arrays of a shape: one filled, one ready, one in use
_ALIGNMENT = 64  # bytes: JAX and TensorFlow take arrays that begin at such an address as they are

Key = tuple[Any, ...]


@dataclass(slots=True)
class Stretch:
    """Some batches.

    Attributes:
        key: what the batches have in common; None for a batch that no program takes.
        size: samples in a batch.
        steps: how many batches there are.
        room: how many there may be.
        tree: arrays with room for all of them, or the one batch as it came.
        raw: the batch as it came, where no program takes it.
    """

    key: Key | None
    size: int = 0
    steps: int = 0
    room: int = 1
    tree: PyTree = None
    raw: Any = None
    leaves: list[npt.NDArray[Any]] = field(default_factory=list)

    def add(self, leaves: list[npt.NDArray[Any] | Rows]) -> None:
        """Copy a batch behind the others."""
        at = self.steps * self.size
        for whole, part in zip(self.leaves, leaves, strict=True):
            if isinstance(part, Rows):
                part.copy_to(whole[at : at + self.size])
            else:
                whole[at : at + self.size] = part
        self.steps += 1

    def batch(self, i: int) -> PyTree:
        """Return one of the batches."""
        if self.key is None:
            return self.raw
        return tree_map(lambda leaf: leaf[i * self.size : (i + 1) * self.size], self.tree)


class Stretches:
    """Puts batches into stretches; one for all epochs of a run.

    Args:
        steps: most batches of a stretch, where that is known: of an epoch, or 1 where something runs after each step.
        as_array: gives an array on a tensor's memory, or a copy, or None for what is no dense tensor.
        reuse: whether the memory of a stretch may be filled again once its steps are done.
        unpack: makes ``(x, y, sample_weight)`` of a batch; a model with its own step gets batches as they come.
    """

    def __init__(
        self,
        *,
        steps: int | None,
        as_array: Callable[[Any], npt.NDArray[Any] | None],
        reuse: bool,
        unpack: Callable[[Any], PyTree],
    ) -> None:
        self._most = min(steps or _MOST_STEPS, _MOST_STEPS)
        self._as_array = as_array
        self._reuse = reuse
        self._unpack = unpack
        self._seen: Counter[Key] = Counter()
        self._chosen: list[Key] = []
        self._free: dict[Key, list[Stretch]] = {}
        self.refused = False  # whether every batch is left to Keras' own step

    def limit(self, steps: int) -> None:
        """Tell how many batches an epoch has."""
        self._most = max(1, min(self._most, steps))

    def put(self, batch: Batch, stretch: Stretch | None) -> tuple[Stretch, bool]:
        """Put a batch into a stretch, the given one where it fits; tell whether it is another one."""
        if batch.arrays is None:
            tree = self._unpack(batch.by_keras())
            arrays = [None if self.refused else self._as_array(leaf) for leaf in tree_leaves(tree)]
        else:
            tree = self._unpack(batch.arrays)
            arrays = [None] if self.refused else tree_leaves(tree)
        key = self._key(tree, arrays)
        if key is None:
            return Stretch(None, steps=1, raw=batch.by_keras()), True
        is_new = stretch is None or stretch.key != key or stretch.steps == stretch.room
        if stretch is None or is_new:
            stretch = self._empty(key, tree, arrays)
        stretch.add(arrays)  # type: ignore[arg-type] # a key has arrays alone
        return stretch, is_new

    def give_back(self, stretch: Stretch) -> None:
        """Take back a stretch whose steps are done."""
        if self._reuse and stretch.key is not None:
            free = self._free.setdefault(stretch.key, [])
            if len(free) < _POOL:
                free.append(stretch)

    def _key(self, tree: PyTree, arrays: list[Any]) -> Key | None:
        """Return what tells batches of one program from others, None where Keras' own step does this one."""
        if not arrays or any(array is None or array.ndim == 0 for array in arrays):
            return None
        size = arrays[0].shape[0]
        if size == 0 or any(len(array) != size for array in arrays):
            return None
        key = (structure_of(tree), *((array.shape, array.dtype) for array in arrays))
        if key in self._chosen:
            return key
        self._seen[key] += 1
        is_first = not self._chosen
        if is_first or (self._seen[key] > _OFTEN and len(self._chosen) < _MOST_SHAPES):
            self._chosen.append(key)
            return key
        return None

    def _empty(self, key: Key, tree: PyTree, arrays: list[Any]) -> Stretch:
        free = self._free.get(key)
        if free:
            stretch = free.pop()
            stretch.steps = 0
            return stretch
        size = len(arrays[0])
        bytes_per_step = max(1, sum(array.nbytes for array in arrays))
        room = min(2 ** max(0, (_BYTES // bytes_per_step).bit_length() - 1), 2 ** (self._most - 1).bit_length())
        made = iter([_room_for(array, room) for array in arrays])
        whole = tree_map(lambda _: next(made), tree)
        return Stretch(key, size=size, room=room, tree=whole, leaves=tree_leaves(whole))


def _room_for(array: npt.NDArray[Any] | Rows, room: int) -> npt.NDArray[Any]:
    """Make an array for several batches, full of the first sample: what is not filled is computed nowhere."""
    shape = (len(array) * room, *array.shape[1:])
    length = int(np.prod(shape)) * array.dtype.itemsize
    memory = np.empty(length + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    whole = memory[start : start + length].view(array.dtype).reshape(shape)
    whole[:] = array[:1]
    return whole
