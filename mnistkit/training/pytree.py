"""Training data as pytrees of arrays: nested lists, tuples, named tuples and dicts, as Keras models take them.

The data of a run are one tuple ``(x, y, sample_weight)``, which is what a Keras train step unpacks. None is a tree
without arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

PyTree = Any

_IN_MEMORY = {"jax", "jaxlib", "keras", "pandas", "polars", "scipy", "tensorflow", "torch"}
_COMPARED_BYTES = 2**18  # at once: both blocks and the answers fit into a processor's cache


@dataclass(frozen=True, slots=True)
class Arrays:
    """Samples in memory.

    Attributes:
        tree: ``(x, y, sample_weight)``; each array has the samples along axis 0.
        n: number of samples.
    """

    tree: PyTree
    n: int


def prepare_arrays(x: PyTree, y: PyTree, *, sample_weight: PyTree) -> Arrays:
    """Convert everything to NumPy arrays and check their lengths; stored arrays stay where they are.

    Floating-point arrays become ``keras.config.floatx()``. One weight array is used for every output.

    Raises:
        InputError: no samples, or different numbers of samples.
    """
    x, y, sample_weight = (
        tree_map(lambda leaf: leaf if is_stored(leaf) else _as_array(leaf), tree) for tree in (x, y, sample_weight)
    )
    if sample_weight is not None and is_nested(y) and not is_nested(sample_weight):
        weight = sample_weight
        sample_weight = tree_map(lambda _: weight, y)
    sizes = {leaf.shape[0] if len(leaf.shape) else 0 for leaf in tree_leaves((x, y, sample_weight))}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(
            f"x, y and sample_weight must hold the same number of samples, at least 1; got {sorted(sizes)}"
        )
    return Arrays(tree=(x, y, sample_weight), n=sizes.pop())


def apply_class_weight(data: Arrays, class_weight: Mapping[int, float] | None) -> Arrays:
    """Turn class weights into sample weights, as ``model.fit`` does; None leaves the data alone.

    Raises:
        InputError: sample weights are there too, or there are several outputs or no labels.
    """
    if class_weight is None:
        return data
    x, y, sample_weight = data.tree
    if sample_weight is not None:
        raise InputError("class_weight and sample_weight were both given: multiply them into sample_weight")
    if is_nested(y) or y is None:
        raise InputError("class_weight needs one array of labels: give sample_weight, one array per output")
    labels = rows_of(y, slice(0, data.n)) if is_stored(y) else y
    return Arrays(tree=(x, y, _weight_per_sample(labels, class_weight)), n=data.n)


def split(data: Arrays, *, fraction: float) -> tuple[Arrays, Arrays]:
    """Set the last ``fraction`` of the samples apart, as ``validation_split`` of ``model.fit`` does.

    Raises:
        InputError: a fraction that leaves one side empty.
    """
    at = math.floor(data.n * (1.0 - fraction))
    if not 0 < at < data.n:
        raise InputError(f"validation_split={fraction} of {data.n} samples leaves one side empty: choose another")
    return (
        Arrays(tree=tree_map(lambda leaf: _slice(leaf, 0, at), data.tree), n=at),
        Arrays(tree=tree_map(lambda leaf: _slice(leaf, at, data.n), data.tree), n=data.n - at),
    )


def tree_map(function: Callable[[Any], Any], tree: PyTree) -> PyTree:
    """Apply a function to every array of a tree and keep the structure; None stays None."""
    import keras

    return keras.tree.map_structure(lambda leaf: None if leaf is None else function(leaf), tree)


def tree_leaves(tree: PyTree) -> list[Any]:
    """Return the arrays of a tree, without the Nones, in the order in which ``tree_map`` visits them."""
    if type(tree) is tuple and all(part is None or hasattr(part, "dtype") for part in tree):
        return [part for part in tree if part is not None]  # at once: this runs for every batch of a source
    import keras

    return [leaf for leaf in keras.tree.flatten(tree) if leaf is not None]


def structure_of(tree: PyTree) -> Any:
    """Return a tree without its leaves, as something that can be compared."""
    if isinstance(tree, dict):
        return (type(tree), *((name, structure_of(part)) for name, part in tree.items()))
    if isinstance(tree, list | tuple):
        return (type(tree), *map(structure_of, tree))
    return tree is None


def holds_same(tree: PyTree, held: list[np.ndarray[Any, Any]]) -> bool:
    """Tell whether the arrays of a tree are those of a list, bit for bit; the list's may have more samples.

    Takes about 25 ms for 60,000 pictures of 28 x 28.
    """
    leaves = tree_leaves(tree)
    return len(leaves) == len(held) and all(_same(a, b[: len(a)]) for a, b in zip(leaves, held, strict=True))


def _same(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> bool:
    if one.shape != two.shape:
        return False
    if one.dtype == two.dtype:
        if one.ctypes.data == two.ctypes.data and one.strides == two.strides:
            return True  # one memory
        bits = f"u{one.itemsize}"  # as numbers, NaN is not NaN, and -0 is 0
        one, two = one.view(bits), two.view(bits)
    elif not {one.dtype.kind, two.dtype.kind} <= {"i", "u"}:  # a device may hold narrower integers
        return False
    rows = max(1, _COMPARED_BYTES // max(1, one[:1].nbytes))
    blocks = (slice(begin, begin + rows) for begin in range(0, len(one), rows))
    return all(np.array_equal(one[block], two[block]) for block in blocks)


def rows_of(array: Any, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Read rows of an array that may be larger than memory, as ``prepare_arrays`` would give them.

    Each row is read once, in the order in which it is stored, because some kinds of stored arrays take no other.
    """
    if isinstance(rows, slice):
        return _as_array(np.asarray(array[rows]))
    stored = np.argsort(rows, kind="stable")
    read = np.asarray(array[rows[stored]])
    back = np.empty_like(stored)
    back[stored] = np.arange(len(stored))
    return _as_array(read[back])


def is_stored(leaf: Any) -> bool:
    """Tell whether something is an array that is read by ``array[rows]`` piece by piece: on disk, or far away."""
    if isinstance(leaf, np.memmap):
        return leaf.dtype.kind in "fiub"
    if isinstance(leaf, np.ndarray) or type(leaf).__module__.partition(".")[0] in _IN_MEMORY:
        return False
    if not all(hasattr(leaf, name) for name in ("shape", "dtype", "__getitem__", "__len__")):
        return False
    try:
        return np.dtype(leaf.dtype).kind in "fiub" and len(leaf.shape) > 0
    except TypeError:
        return False


class _Window:
    """Consecutive rows of a stored array."""

    def __init__(self, array: Any, start: int, stop: int) -> None:
        self._array, self._start = array, start
        self.shape, self.dtype = (stop - start, *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> Any:
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            return self._array[self._start + first : self._start + last]
        return self._array[rows + self._start]


def _slice(leaf: Any, start: int, stop: int) -> Any:
    return _Window(leaf, start, stop) if is_stored(leaf) else leaf[start:stop]


def is_nested(tree: PyTree) -> bool:
    """Tell whether a tree is a container, not one array or None."""
    return isinstance(tree, list | tuple | dict)


def is_in_memory(tree: PyTree) -> bool:
    """Tell whether every leaf is a dense numeric array, in memory or stored: no generator, text or sparse matrix."""
    return all(_is_array(leaf) or is_stored(leaf) for leaf in tree_leaves(tree))


def _is_array(leaf: Any) -> bool:
    if not (hasattr(leaf, "__array__") and hasattr(leaf, "shape")):
        return False
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind in "fiub"
    return type(leaf).__module__.split(".")[0] != "scipy"


def _as_array(leaf: Any) -> np.ndarray[Any, Any]:
    import keras

    is_series = not isinstance(leaf, np.ndarray) and hasattr(leaf, "to_numpy") and leaf.ndim == 1
    array = leaf if isinstance(leaf, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(leaf))
    if is_series:
        array = array[:, None]  # Keras reads a pandas column as (n, 1)
    if array.dtype.kind == "f" and array.dtype.name != keras.config.floatx():
        array = array.astype(keras.config.floatx())
    return array


def _weight_per_sample(y: np.ndarray[Any, Any], class_weight: Mapping[int, float]) -> np.ndarray[Any, Any]:
    import keras

    if y.ndim > 1:
        y = np.argmax(y, axis=-1) if y.shape[-1] != 1 else y[..., 0]
    labels, inverse = np.unique(np.round(y).astype(np.int64), return_inverse=True)
    weights = np.array([class_weight.get(int(label), 1.0) for label in labels], dtype=keras.config.floatx())
    return weights[inverse.reshape(-1)].reshape(y.shape[:1])
