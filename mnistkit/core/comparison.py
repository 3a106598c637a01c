"""Compare two sets of answers. A comparison raises when they differ; it never returns a verdict.

The tolerance is absolute (``rtol=0``) and stated; for outputs that are not probabilities it scales with the largest
expected value, because float32 has seven digits and not seven decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import ModelFileError, ParityError
from mnistkit.core.golden import decode_golden, is_text, read_golden_atol, words_of
from mnistkit.core.runtime import Runtime

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far two sets of answers that passed are apart.

    Attributes:
        largest: Largest absolute difference.
        allowed: The tolerance it was held against.
        rows: How many answers were compared, along the first axis.
        agreement: Share of rows whose largest entry is at the same place, in [0, 1].
    """

    largest: float
    allowed: float
    rows: int
    agreement: float


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify_file` found.

    Attributes:
        pairs: Number of golden pairs that were run again.
        largest: Largest absolute difference over all of them.
        allowed: The tolerance.
        providers: Execution providers that ran them.
    """

    pairs: int
    largest: float
    allowed: float
    providers: tuple[str, ...]


def compare(expected: NDArray[Any], actual: NDArray[Any], *, atol: float, what: str, nan: bool = False) -> Comparison:
    """Hold ``actual`` against ``expected``.

    Args:
        expected: Answers to trust, any shape.
        actual: Answers to judge, same shape.
        atol: Largest allowed absolute difference, for values up to 1; scaled by the largest expected value above 1.
        what: What is compared, for the message.
        nan: NaN is an answer where both have it, as to an input that has a NaN itself.

    Raises:
        ParityError: Shapes differ, a value is NaN or infinite on one side only, or a difference is too large.
    """
    if expected.shape != actual.shape:
        raise ParityError(f"{what}: expected shape {list(expected.shape)}, got {list(actual.shape)}")
    if is_text(expected) or is_text(actual):
        pairs = zip(words_of(expected), words_of(actual), strict=True)
        return _exact(sum(one != two for one, two in pairs), expected, what, "words")
    if expected.dtype.kind in "biu":
        return _exact(int(np.count_nonzero(expected != actual)), expected, what, "whole numbers")
    left, right = expected.astype(np.float64), actual.astype(np.float64)
    no_number = np.isnan(left)
    if nan and np.array_equal(no_number, np.isnan(right)):
        left, right = np.where(no_number, 0, left), np.where(no_number, 0, right)
    if np.isnan(left).any() or np.isnan(right).any():
        if nan and np.isnan(left).any() and np.isnan(right).any():
            raise ParityError(f"{what}: NaN in other places than expected")
        raise ParityError(f"{what}: NaN in the {'expected' if np.isnan(left).any() else 'exported'} answers")
    infinite = np.isinf(left) | np.isinf(right)
    if not np.array_equal(left[infinite], right[infinite]):
        raise ParityError(f"{what}: an infinity on one side only")
    finite_left = np.where(infinite, 0, left)
    difference = np.abs(finite_left - np.where(infinite, 0, right))
    largest = float(difference.max(initial=0))
    allowed = atol * max(1.0, float(np.abs(finite_left).max(initial=0)))
    agreement = _agreement(left, right)
    if not largest <= allowed:
        place = [int(index) for index in np.unravel_index(int(difference.argmax()), difference.shape)]
        raise ParityError(
            f"{what}: largest difference {largest:.3g} at {place}, allowed {allowed:.3g}; "
            f"labels agree on {agreement:.2%} of {len(left) if left.ndim else 1}"
        )
    return Comparison(largest, allowed, len(left) if left.ndim else 1, agreement)


def verify_file(
    model: str | os.PathLike[str] | bytes,
    *,
    device: str = "auto",
    provider_options: Mapping[str, Any] | None = None,
) -> Verification:
    """Verify a file again from the golden pairs inside it, with neither Keras nor a data set.

    Args:
        model: Path of the file, or its bytes.
        device: Where onnxruntime runs, in full float32; see `mnistkit.Runtime`.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.

    Raises:
        ParityError: An answer differs from the one verified at export.
        ModelFileError: The file cannot be read or carries no golden pairs.
        DeviceError: The device cannot be had.
    """
    runtime = Runtime(model, device=device, exact=True, provider_options=provider_options)
    try:
        pairs, atol = decode_golden(runtime.metadata), read_golden_atol(runtime.metadata)
    except ModelFileError as error:
        raise ModelFileError(f"{runtime.name}: {error}") from error
    worst = Comparison(0.0, atol, 0, 1.0)
    for number, pair in enumerate(pairs):
        answers = runtime.run(pair.inputs)
        if set(answers) != set(pair.outputs):
            raise ParityError(f"{runtime.name}: outputs {sorted(answers)}, golden pairs for {sorted(pair.outputs)}")
        for name, expected in pair.outputs.items():
            what = f"{runtime.name}: golden pair {number}, output {name}"
            found = compare(expected, answers[name], atol=atol, what=what)
            worst = max(worst, found, key=lambda comparison: comparison.largest)
    return Verification(len(pairs), worst.largest, worst.allowed, runtime.providers)


def _exact(wrong: int, expected: NDArray[Any], what: str, kind: str) -> Comparison:
    if wrong:
        raise ParityError(f"{what}: {wrong} of {expected.size} {kind} differ")
    return Comparison(0.0, 0.0, len(expected) if expected.ndim else 1, 1.0)


def _agreement(left: NDArray[Any], right: NDArray[Any]) -> float:
    if left.ndim < 2 or left.size == 0:  # noqa: PLR2004  # rows of scores
        return 1.0
    return float(np.mean(left.argmax(axis=-1) == right.argmax(axis=-1)))
