"""Inputs to verify a file on: given ones, a profile's, or drawn by type and range at several batch sizes and lengths.

Everything drawn comes from one NumPy generator, so the same model is always verified on the same inputs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import ExportError, InputError, one_line
from mnistkit.export.native.keras_hooks import flatten_layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from mnistkit.core.runtime import TensorInfo
    from mnistkit.export.profile import ProfileSample
    from mnistkit.export.signature import Signature

Arrays = dict[str, "NDArray[Any]"]

LENGTHS = (24, 9, 1, 16, 64, 96, 32, 128, 4)
"""Sizes tried for free axes, in this order, until Keras itself takes `WANTED` of them."""
WANTED = 3
BATCH_SIZES = (1, 2, 3)
MORE_ROWS = 16
"""A further batch size, for models that are cheap to call."""
_CHUNK = 512  # rows given to Keras at once
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
        is_real: Whether they were given and not drawn.
        has_targets: Whether they are a profile's test set, which an accuracy can be measured on.
        left_out: How many of the rows were not fit to be compared, and hold a copy of another row instead.
    """

    name: str
    inputs: Arrays
    expected: Arrays
    batch_sizes: tuple[int, ...]
    is_real: bool = False
    has_targets: bool = False
    left_out: int = 0

    @property
    def rows(self) -> int:
        """Number of inputs along the batch axis."""
        return len(next(iter(self.inputs.values())))

    def renamed(self, old: Signature, new: Signature) -> Sample:
        """The same under other names of inputs and outputs."""
        inputs = {b.name: self.inputs[a.name] for a, b in zip(old.inputs, new.inputs, strict=True)}
        expected = {b.name: self.expected[a.name] for a, b in zip(old.outputs, new.outputs, strict=True)}
        return replace(self, inputs=inputs, expected=expected)


def real_samples(model: Any, signature: Signature, parts: Sequence[ProfileSample]) -> list[Sample]:
    """Samples with Keras' answers, for inputs that somebody gave.

    Raises:
        InputError: There are fewer rows than a fixed batch size has.
        ExportError: Keras answers with NaN.
    """
    rows = [len(next(iter(part.inputs.values()))) for part in parts]
    answers = _answers(model, signature, parts)
    samples = []
    for part, count, expected in zip(parts, rows, answers, strict=True):
        sizes = part.batch_sizes or tuple(sorted({size for size in BATCH_SIZES if size <= count}))
        if signature.batch:
            sizes = (signature.batch,)
        if max(sizes) > count:
            raise InputError(f"{part.name}: {count} rows do not fill a batch of {max(sizes)}; give more")
        samples.append(Sample(part.name, dict(part.inputs), expected, sizes, is_real=True))
    return samples


def read_samples(
    samples: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None, signature: Signature
) -> Arrays | None:
    """Given samples in the types of the model's inputs; ``None`` when there are none.

    Raises:
        InputError: They do not fit the model, or the file is no ``.npz`` of arrays.
    """
    if samples is None:
        return None
    if isinstance(samples, (str, os.PathLike)):
        try:
            with np.load(samples, allow_pickle=False) as archive:
                samples = {key: archive[key] for key in archive.files}
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{samples}: not an .npz of arrays ({one_line(error, limit=120)})") from error
    names = [tensor.name for tensor in signature.inputs]
    if set(samples) != set(names):
        raise InputError(f"samples: expected arrays {', '.join(names)}, got {', '.join(samples) or 'none'}")
    lengths = {len(array) if np.ndim(array) else 0 for array in samples.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError("samples: every array needs the same number of rows, at least one")
    return {tensor.name: _fitting(np.asarray(samples[tensor.name]), tensor) for tensor in signature.inputs}


def draw(
    signature: Signature,
    *,
    rows: int,
    lengths: Sequence[int],
    high: int,
    tables: Mapping[str, int] | None = None,
) -> Arrays:
    """Draw one array for every input.

    Args:
        signature: What the model takes.
        rows: Size of the batch axis.
        lengths: Sizes of the other free axes, in the order in which they appear; repeated when there are more.
        high: Integers are drawn from 0 to ``high - 1``.
        tables: For inputs that hold indices, whatever their type, the number of valid ones.
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
            arrays[tensor.name] = _draw_one(generator, tensor, shape, high=high)
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
        if refused and 1 in lengths and len(set(lengths)) > 1:
            continue  # axes that Keras wants alike: one of length 1 passes by broadcasting, and on one backend alone
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
    """Refuse answers that nothing can be compared with.

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


def _draw_one(generator: np.random.Generator, tensor: TensorInfo, shape: tuple[int, ...], *, high: int) -> NDArray[Any]:
    if tensor.dtype == "bool":
        return generator.random(shape) < 0.5  # noqa: PLR2004  # a fair coin
    if tensor.dtype == "uint8" and len(shape) > 2:  # noqa: PLR2004  # a picture
        return generator.integers(0, 256, shape).astype(np.uint8)
    if tensor.dtype.startswith(("int", "uint")):
        return generator.integers(0, high, shape).astype(tensor.dtype)
    dtype = "float32" if tensor.dtype == "bfloat16" else tensor.dtype
    return (np.round(generator.normal(0, 1, shape) * _GRAIN) / _GRAIN).astype(dtype)


def _fitting(array: NDArray[Any], tensor: TensorInfo) -> NDArray[Any]:
    """A given sample in the type of its input.

    Raises:
        InputError: It has another shape, or is no array of finite numbers.
    """
    fits = len(array.shape) == len(tensor.shape) and all(
        got == want or not isinstance(want, int) for got, want in zip(array.shape[1:], tensor.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(f"samples: expected {tensor}, got {list(array.shape)}")
    try:
        numbers = array.astype(tensor.dtype)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"samples: {tensor.name}: no array of {tensor.dtype} ({one_line(error, limit=120)})"
        ) from error
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise InputError(f"samples: {tensor.name} has NaN or an infinity; give inputs that the model has answers to")
    return numbers


def _answers(model: Any, signature: Signature, parts: Sequence[ProfileSample]) -> list[Arrays]:
    """Keras' answers to each part, a few hundred rows at a time and always as many.

    A backend may compile for each size anew, so parts whose rows have the same shape are run as one.
    """
    if len({tuple((key, array.shape[1:]) for key, array in part.inputs.items()) for part in parts}) > 1:
        return [_answers(model, signature, [part])[0] for part in parts]
    arrays = {key: np.concatenate([part.inputs[key] for part in parts]) for key in parts[0].inputs}
    rows = len(next(iter(arrays.values())))
    step = signature.batch or min(_CHUNK, rows)
    missing = -rows % step
    filled = {key: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for key, array in arrays.items()}
    runs = [
        signature.call(model, {key: array[start : start + step] for key, array in filled.items()})
        for start in range(0, rows, step)
    ]
    expected = {
        key: np.concatenate([run[key] for run in runs]) if first.ndim else first for key, first in runs[0].items()
    }
    check_finite(expected)
    found, start = [], 0
    for part in parts:
        stop = start + len(next(iter(part.inputs.values())))
        found.append({key: answer[start:stop] if answer.ndim else answer for key, answer in expected.items()})
        start = stop
    return found
