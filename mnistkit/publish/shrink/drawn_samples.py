"""Drawn inputs: like those of a file's golden pairs where it has some, else as the declared types ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import ModelFileError
from mnistkit.core.golden import decode_golden
from mnistkit.publish.drawn_inputs import batch_axis, draw_inputs
from mnistkit.publish.shrink.runs import Samples, in_steps, rows_alone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.core.runtime import Runtime
    from mnistkit.publish.drawn_inputs import Arrays

_DRAWN = 64  # rows of each kind
_MOST_NUMBERS = 2**24  # in all drawn rows of a kind


def drawn_samples(runtime: Runtime) -> Samples:
    """Rows like those of the golden pairs where there are some, else as the declared types ask for."""
    base, golden = _base(runtime)
    numbers = sum(array[:1].size if array.ndim else 1 for array in base.values())
    free, fixed = batch_axis(runtime)
    count = max(1, min(_DRAWN, _MOST_NUMBERS // max(1, numbers)))
    count = fixed * max(1, count // fixed) if fixed else count
    runs = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        if free or fixed:
            rows = {name: _like(array, count, like=golden.get(name), rng=rng) for name, array in base.items()}
            runs.append(in_steps(runtime, rows))
        else:
            runs.append(
                tuple({n: _like(a, None, like=golden.get(n), rng=rng) for n, a in base.items()} for _ in "1234")
            )
    whole = not golden and any(array.dtype.kind in "iu" for array in base.values())
    words = "drawn inputs" + (" like the golden ones" if golden else "")
    return Samples(
        calibration=runs[0],
        checks=runs[1],
        alone=rows_alone(runtime, runs[1]),
        targets=None,
        calibrated_on=words,
        checked_on=words,
        note=f"the inputs are drawn{', whole numbers as 0 and 1 alone' * whole}; real ones, by --samples, tell more",
    )


def _base(runtime: Runtime) -> tuple[Arrays, Arrays]:
    """A run that the model takes; and the same where it comes from a golden pair."""
    try:
        pairs = decode_golden(runtime.metadata)
    except ModelFileError:
        return draw_inputs(runtime), {}
    return pairs[0].inputs, {
        name: np.concatenate([pair.inputs[name].ravel() for pair in pairs]) for name in pairs[0].inputs
    }


def _like(
    array: NDArray[Any], count: int | None, *, like: NDArray[Any] | None, rng: np.random.Generator
) -> NDArray[Any]:
    """An array of this shape, with ``count`` rows, and of the range of ``like``."""
    shape = array.shape if count is None else (count, *array.shape[1:])
    if array.dtype.kind == "b":
        return rng.random(shape) < 0.5  # noqa: PLR2004  # a coin
    if array.dtype.kind in "iu":
        low, high = (0, 1) if like is None else (int(like.min()), int(like.max()))
        return rng.integers(low, high + 1, shape).astype(array.dtype)
    if array.dtype.kind == "f":
        if like is None:
            return rng.normal(0, 1, shape).astype(array.dtype)
        finite = like[np.isfinite(like)].astype(np.float64)
        drawn = rng.normal(finite.mean(), finite.std(), shape) if finite.size else np.zeros(shape)
        return np.clip(drawn, *((finite.min(), finite.max()) if finite.size else (0, 0))).astype(array.dtype)
    return np.resize(array, shape)  # words
