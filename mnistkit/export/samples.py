"""Inputs to verify a file on: given ones, a profile's, or drawn by type and range at several batch sizes and lengths.

Everything drawn comes from one NumPy generator, so the same model is always verified on the same inputs.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import ExportError, InputError, one_line
from mnistkit.export.native.keras_hooks import flatten_layers
from mnistkit.export.signature import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.export.answers import KerasAnswers
    from mnistkit.export.profile import ProfileSample
    from mnistkit.export.signature import Signature

Arrays = dict[str, "NDArray[Any]"]

LENGTHS = (24, 9, 1, 16, 64, 96, 32, 128, 4)
"""Sizes tried for free axes, in this order, until Keras itself takes `WANTED` of them."""
LONG = 224
"""A size far beyond the others, where a model takes it: position tables end, and layers may cut what is long."""
WANTED = 3
BATCH_SIZES = (1, 2, 3)
MORE_ROWS = 16
"""A further batch size, for models that are cheap to call."""
_LONGEST = 2**17  # numbers in one row of an input; a volume of 224 cubed would take minutes
_CHUNK = 512  # rows given to Keras at once
_GRAIN = 64  # floats are multiples of 1/64: exact in float16, and they compress well as golden pairs
_PADDING = 1 / 8  # share of zeros among indices
_TABLES = ("input_dim", "vocabulary_size", "num_tokens")


@dataclass(frozen=True, slots=True)
class Domain:
    """What ordinary numbers are drawn from, for models that have no answer elsewhere.

    Attributes:
        name: For the table of the report.
        low: Smallest number.
        high: Largest number; ``None`` for the normal distribution.
        is_known: Draw from the keys that the model knows, where it has any.
    """

    name: str
    low: float = 0.0
    high: float | None = None
    is_known: bool = False


DOMAINS = (
    Domain("noise"),
    Domain("noise above 0", 0.25, 4.0),
    Domain("noise between 0 and 1", 0.0625, 0.9375),
    Domain("noise above 1", 1.25, 4.0),
    Domain("known keys", is_known=True),  # a lookup without a place for unknown ones refuses all others
)
"""Tried in this order, until Keras has an answer to at least half of the rows."""


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
        is_whole: Whether the answers are those to all rows in one batch, and to no part of it.
        is_missing: Whether some inputs are no numbers or infinite; an answer may be so too, and a file that answers
            otherwise is told of and not refused.
    """

    name: str
    inputs: Arrays
    expected: Arrays
    batch_sizes: tuple[int, ...]
    is_real: bool = False
    has_targets: bool = False
    left_out: int = 0
    is_whole: bool = False
    is_missing: bool = False

    @property
    def rows(self) -> int:
        """Number of inputs along the batch axis."""
        return len(next(iter(self.inputs.values())))

    def renamed(self, old: Signature, new: Signature) -> Sample:
        """The same under other names of inputs and outputs."""
        inputs = {b.name: self.inputs[a.name] for a, b in zip(old.inputs, new.inputs, strict=True)}
        expected = {b.name: self.expected[a.name] for a, b in zip(old.outputs, new.outputs, strict=True)}
        return replace(self, inputs=inputs, expected=expected)


def real_samples(answers: KerasAnswers, parts: Sequence[ProfileSample]) -> list[Sample]:
    """Samples with Keras' answers, for inputs that somebody gave.

    Raises:
        InputError: There are fewer rows than a fixed batch size has.
        ExportError: Keras answers with NaN.
    """
    signature = answers.signature
    ordered = [{tensor.name: part.inputs[tensor.name] for tensor in signature.inputs} for part in parts]
    rows = [len(next(iter(inputs.values()))) for inputs in ordered]
    try:
        found = _answers(answers, ordered)
    except ExportError:
        raise
    except Exception:
        if not answers.stop_compiling():
            raise
        found = _answers(answers, ordered)
    samples = []
    for part, inputs, count, expected in zip(parts, ordered, rows, found, strict=True):
        sizes = part.batch_sizes or tuple(sorted({size for size in BATCH_SIZES if size <= count}))
        if signature.batch:
            sizes = (signature.batch,)
        if max(sizes) > count:
            raise InputError(f"{part.name}: {count} rows do not fill a batch of {max(sizes)}; give more")
        samples.append(Sample(part.name, inputs, expected, sizes, is_real=True))
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
    words: Mapping[str, Sequence[Any]] | None = None,
    domain: Domain = DOMAINS[0],
    divides: bool = False,
) -> Arrays:
    """Draw one array for every input.

    Args:
        signature: What the model takes.
        rows: Size of the batch axis.
        lengths: Sizes of the other free axes, in the order in which they appear; repeated when there are more.
        high: Integers are drawn from 0 to ``high - 1``.
        tables: For inputs that hold indices, whatever their type, the number of valid ones.
        words: Keys that the model knows, by input; an input of text is drawn from these and two others.
        domain: What other numbers are drawn from.
        divides: Whether the model divides: whole numbers are not 0 then, for which no backend has an answer.
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
            keys = list((words or {}).get(tensor.name, ()))
            arrays[tensor.name] = _draw_one(
                generator, tensor, shape, high=high, keys=keys, domain=domain, divides=divides
            )
    return arrays


def free_lengths(signature: Signature) -> Iterator[tuple[int, ...]]:
    """Sizes to try for the free axes: different ones for different axes first, then the same for all."""
    free = _free_axes(signature)
    if not free:
        yield ()
        return
    if len(free) > 1:
        yield from (tuple(LENGTHS[(n + k) % len(LENGTHS)] for k in range(len(free))) for n in range(len(LENGTHS)))
    yield from ((length,) for length in LENGTHS)


def long_lengths(signature: Signature) -> Iterator[tuple[int, ...]]:
    """The same with a size far beyond those, unless it makes an input too large to be worth it."""
    free = _free_axes(signature)
    for lengths in [(LONG, *LENGTHS[: len(free) - 1]), (LONG,)] if len(free) > 1 else [(LONG,)] if free else []:
        shapes = [array.shape[1:] for array in draw(signature, rows=0, lengths=lengths, high=2).values()]
        if max(math.prod(shape) for shape in shapes) <= _LONGEST:
            yield lengths


def _free_axes(signature: Signature) -> set[Any]:
    return {size for tensor in signature.inputs for size in tensor.shape[1:] if not isinstance(size, int)}


def integer_limit(model: Any) -> int:
    """Integers below this are valid in every table that the model looks them up in."""
    limits = []
    for layer in flatten_layers(model):
        for attribute in _TABLES:
            value = getattr(layer, attribute, None)
            if isinstance(value, int) and value > 0:
                limits.append(value)
    return min(limits, default=2)


NO_ANSWER = (
    "Keras itself answers with NaN to every input that was tried; give real ones with --samples, or train it again"
)


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


def _draw_one(
    generator: np.random.Generator,
    tensor: TensorInfo,
    shape: tuple[int, ...],
    *,
    high: int,
    keys: Sequence[Any],
    domain: Domain,
    divides: bool,
) -> NDArray[Any]:
    if domain.is_known and keys:
        chosen = np.asarray(keys, dtype=object)[generator.integers(0, len(keys), shape)]
        return chosen if tensor.dtype in TEXT else chosen.astype(tensor.dtype)
    if tensor.dtype in TEXT:
        words = [*keys, "an unknown word", ""]
        return np.asarray(generator.choice(np.asarray(words, dtype=object), shape), dtype=object)
    if tensor.dtype == "bool":
        return generator.random(shape) < 0.5  # noqa: PLR2004  # a fair coin
    if tensor.dtype == "uint8" and len(shape) > 2:  # noqa: PLR2004  # a picture
        return generator.integers(0, 256, shape).astype(np.uint8)
    if tensor.dtype.startswith(("int", "uint")):
        low = 1 if divides or domain.high is not None else 0  # a divisor
        return generator.integers(low, max(high, low + 1), shape).astype(tensor.dtype)
    dtype = "float32" if tensor.dtype == "bfloat16" else tensor.dtype
    values = generator.normal(0, 1, shape) if domain.high is None else generator.uniform(domain.low, domain.high, shape)
    return (np.round(values * _GRAIN) / _GRAIN).astype(dtype)


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


def _answers(answers: KerasAnswers, parts: Sequence[Arrays]) -> list[Arrays]:
    """Keras' answers to each part, a few hundred rows at a time and always as many.

    A backend may compile for each size anew, so parts whose rows have the same shape are run as one.
    """
    if len({tuple((key, array.shape[1:]) for key, array in part.items()) for part in parts}) > 1:
        return [_answers(answers, [part])[0] for part in parts]
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    rows = len(next(iter(arrays.values())))
    step = answers.signature.batch or min(_CHUNK, rows)
    missing = -rows % step
    filled = {key: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for key, array in arrays.items()}
    runs = [
        answers({key: array[start : start + step] for key, array in filled.items()}) for start in range(0, rows, step)
    ]
    expected = {
        key: np.concatenate([run[key] for run in runs]) if first.ndim else first for key, first in runs[0].items()
    }
    check_finite(expected)
    found, start = [], 0
    for part in parts:
        stop = start + len(next(iter(part.values())))
        found.append({key: answer[start:stop] if answer.ndim else answer for key, answer in expected.items()})
        start = stop
    return found
