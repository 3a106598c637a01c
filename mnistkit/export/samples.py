"""Inputs to prove a file on: drawn by type and range for any model, at several batch sizes and lengths.

Everything comes from one NumPy generator, so the same model is always proven on the same inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import ExportError, one_line
from mnistkit.export.native.keras_hooks import flatten_layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from mnistkit.core.runtime import TensorInfo
    from mnistkit.export.signature import Signature

Arrays = dict[str, "NDArray[Any]"]

LENGTHS = (24, 9, 1, 16, 64, 96, 32, 128, 4)
"""Sizes tried for free axes, in this order, until Keras itself takes `WANTED` of them."""
WANTED = 3
_GRAIN = 64  # floats are multiples of 1/64: exact in float16, and they compress well as golden pairs
_PADDING = 1 / 8  # share of zeros among indices
_TABLES = ("input_dim", "vocabulary_size", "num_tokens")


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs to compare on, and what Keras answers.

    Attributes:
        name: What they are, for the table.
        inputs: Arrays by input name, all with the same number of rows.
        expected: Keras' answers by output name.
        batch_sizes: Batch sizes at which the file is to be run on these rows.
    """

    name: str
    inputs: Arrays
    expected: Arrays
    batch_sizes: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Number of inputs along the batch axis."""
        return len(next(iter(self.inputs.values())))


def draw(
    signature: Signature,
    *,
    rows: int,
    lengths: Sequence[int],
    high: int,
    tables: Mapping[str, int] | None = None,
    edges: bool = False,
) -> Arrays:
    """Draw one array for every input.

    Args:
        signature: What the model takes.
        rows: Size of the batch axis.
        lengths: Sizes of the other free axes, in the order in which they appear; repeated when there are more.
        high: Integers are drawn from 0 to ``high - 1``.
        tables: For inputs that hold indices, whatever their type, the number of valid ones.
        edges: Draw only zeros, ones, the smallest normal number and 1/255, with whole rows of the first three.
    """
    generator = np.random.default_rng(0)
    sizes: dict[str, int] = {}
    arrays = {}
    for tensor in signature.inputs:
        shape = tuple(_size(size, rows, lengths, sizes, axis) for axis, size in enumerate(tensor.shape))
        table = (tables or {}).get(tensor.name)
        if table is not None:
            arrays[tensor.name] = _draw_indices(generator, shape, table).astype(tensor.dtype)
        else:
            arrays[tensor.name] = _draw_one(generator, tensor, shape, high=high, edges=edges)
    return arrays


def free_lengths(signature: Signature) -> Iterator[tuple[int, ...]]:
    """Sizes to try for the free axes: different ones for different axes first, then the same for all."""
    free = {size for tensor in signature.inputs for size in tensor.shape[1:] if not isinstance(size, int)}
    if not free:
        yield ()
        return
    if len(free) > 1:
        yield from (tuple(LENGTHS[(n + k) % len(LENGTHS)] for k in range(len(free))) for n in range(len(LENGTHS)))
    yield from ((length,) for length in LENGTHS)


def integer_limit(model: Any) -> int:
    """Integers below this are valid in every table that the model looks them up in."""
    limits = []
    for layer in flatten_layers(model):
        for attribute in _TABLES:
            value = getattr(layer, attribute, None)
            if isinstance(value, int) and value > 0:
                limits.append(value)
    return min(limits, default=2)


def sample_any(
    model: Any, signature: Signature, *, batch_sizes: Sequence[int], tables: Mapping[str, int] | None = None
) -> list[Sample]:
    """Samples for a model that nothing is known about.

    Args:
        model: The Keras model.
        signature: What it takes.
        batch_sizes: One sample is drawn for each, and for each length.
        tables: As for `draw`; other integers are drawn so that they fit every table of the model.

    Raises:
        ExportError: Keras takes no size tried for the free axes, or answers with NaN.
    """
    high = integer_limit(model)
    samples: list[Sample] = []
    refused = ""
    wanted = WANTED if any(not isinstance(s, int) for t in signature.inputs for s in t.shape[1:]) else 1
    for lengths in free_lengths(signature):
        for size in batch_sizes:
            arrays = draw(signature, rows=size, lengths=lengths, high=high, tables=tables)
            try:
                expected = signature.call(model, arrays)
            except Exception as error:  # noqa: BLE001  # Keras refuses a size with whatever its backend raises
                refused = one_line(error, limit=200)
                break
            check_finite(expected)
            name = "noise" if not lengths else f"noise, length {'x'.join(map(str, lengths))}"
            samples.append(Sample(name, arrays, expected, (size,)))
        if len({sample.name for sample in samples}) >= wanted:
            break
    if not samples:
        raise ExportError(f"Keras itself refuses every input that was tried ({refused}); give real ones with --samples")
    return samples


def check_finite(answers: Arrays) -> None:
    """Refuse answers that could prove nothing.

    Raises:
        ExportError: Keras answers with NaN.
    """
    for name, answer in answers.items():
        if answer.dtype.kind == "f" and np.isnan(answer).any():
            raise ExportError(
                f"Keras itself answers with NaN in {name}; train the model again, or give real inputs with --samples"
            )


def _size(size: int | str | None, rows: int, lengths: Sequence[int], sizes: dict[str, int], axis: int) -> int:
    if isinstance(size, int):
        return size
    if axis == 0:
        return rows
    name = str(size)
    if name not in sizes:
        sizes[name] = lengths[len(sizes) % len(lengths)]
    return sizes[name]


def _draw_indices(generator: np.random.Generator, shape: tuple[int, ...], size: int) -> NDArray[Any]:
    """Rows of a table; more often than the others the first one, which masks take for padding."""
    indices = generator.integers(0, size, shape)
    return np.where(generator.random(shape) < _PADDING, 0, indices)


def _draw_one(
    generator: np.random.Generator, tensor: TensorInfo, shape: tuple[int, ...], *, high: int, edges: bool
) -> NDArray[Any]:
    if tensor.dtype == "bool":
        return generator.random(shape) < 0.5  # noqa: PLR2004  # a fair coin
    if tensor.dtype == "uint8" and len(shape) > 2:  # noqa: PLR2004  # a picture
        return generator.integers(0, 256, shape).astype(np.uint8)
    if tensor.dtype.startswith(("int", "uint")):
        return generator.integers(0, high, shape).astype(tensor.dtype)
    dtype = "float32" if tensor.dtype == "bfloat16" else tensor.dtype
    if not edges:
        return (np.round(generator.normal(0, 1, shape) * _GRAIN) / _GRAIN).astype(dtype)
    tiny = float(np.finfo(np.float32).tiny)
    values = generator.choice([0.0, 1.0, tiny, 1 / 255], size=shape)
    for row, value in enumerate((0.0, 1.0, tiny)[: shape[0]]):
        values[row] = value
    return values.astype(dtype)
