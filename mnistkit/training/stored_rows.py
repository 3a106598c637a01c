"""Batches of arrays that are larger than memory, read by ``array[rows]``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.training.adapters.raw_batches import Batch
from mnistkit.training.pytree import rows_of, tree_leaves, tree_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from mnistkit.training.pytree import Arrays, PyTree

_BYTES = 2**23  # read at once: a compressed array gives its chunks once for many batches


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of an array in memory or in a mapped file, which are copied once: to where they are needed.

    Attributes:
        array: The array.
        rows: Their numbers, each from 0 to ``len(array) - 1``.
    """

    array: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the rows."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    @property
    def nbytes(self) -> int:
        """Size of the rows in memory."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: slice) -> npt.NDArray[Any]:
        rows: npt.NDArray[Any] = self.array[self.rows[some]]
        return rows

    def copy_to(self, memory: npt.NDArray[Any]) -> None:
        """Copy the rows."""
        # "clip" alone writes into the memory without a copy between
        np.take(self.array, self.rows, axis=0, out=memory, mode="clip")


def batches(arrays: Arrays, order: npt.NDArray[np.int64] | None, *, size: int, is_ahead: bool) -> Iterator[Batch]:
    """Give the batches of an epoch.

    Args:
        arrays: the arrays, read by ``array[rows]``.
        order: of the rows; None is the order in which they are stored.
        size: rows in a batch.
        is_ahead: whether the rows of several batches may be read at once, so that each is read once, in stored order.
    """
    leaves = tree_leaves(arrays.tree)
    bytes_per_row = sum(np.dtype(leaf.dtype).itemsize * int(np.prod(leaf.shape[1:])) for leaf in leaves)
    block = size * max(1, _BYTES // max(1, bytes_per_row * size) if is_ahead else 1)
    for start in range(0, arrays.n, block):
        stop = min(start + block, arrays.n)
        rows: Any = slice(start, stop) if order is None else order[start:stop]
        read = tree_map(functools.partial(_read, rows=rows), arrays.tree)
        for at in range(0, stop - start, size):
            tree = tree_map(functools.partial(_part, part=slice(at, min(at + size, stop - start))), read)
            yield Batch(tree, functools.partial(_whole, tree))


def _read(leaf: Any, *, rows: Any) -> Any:
    """Return rows, or what gives them where any order is as good."""
    import keras

    is_array = isinstance(leaf, np.ndarray) and not isinstance(rows, slice)
    if is_array and (leaf.dtype.kind != "f" or leaf.dtype.name == keras.config.floatx()):
        return Rows(leaf.view(np.ndarray), rows)
    return rows_of(leaf, rows)


def _part(leaf: Any, *, part: slice) -> Any:
    return Rows(leaf.array, leaf.rows[part]) if isinstance(leaf, Rows) else leaf[part]


def _whole(tree: PyTree) -> PyTree:
    return tree_map(lambda leaf: leaf[:], tree)
