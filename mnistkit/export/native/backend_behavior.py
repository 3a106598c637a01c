"""Small questions to the backend itself, for operations that the backends answer differently.

The file of a model answers as the model's own backend does. Which way that is cannot be told from types and shapes, so
the operation is run on a few numbers that tell the ways apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def ask(function: Any, *args: Any) -> np.ndarray[Any, Any]:
    """Return what the backend answers, as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(function(*(keras.ops.convert_to_tensor(x) for x in args))))


@functools.cache
def integers_are_close_when_equal() -> bool:
    """Say whether ``isclose`` of integers means equality; JAX compares them as floats, with the tolerances."""
    return not bool(ask(keras.ops.isclose, np.asarray([10**6], "int32"), np.asarray([10**6 + 1], "int32"))[0])


@functools.cache
def integers_are_rounded_as_floats() -> bool:
    """Say whether ``round`` takes integers through single precision, in which those above 2^24 change."""
    return bool(ask(keras.ops.round, np.asarray([2**24 + 1], "int32"))[0] != 2**24 + 1)


@functools.cache
def integers_are_binned_as_floats(*, edges_are_integers: bool) -> bool:
    """Say whether ``digitize`` compares integers with bin edges in single precision."""
    edge = 2**24 + 4  # what 2^24 + 3 is rounded to
    edges = [edge] if edges_are_integers else [float(edge)]
    try:
        return bool(ask(lambda x: keras.ops.digitize(x, edges), np.asarray([edge - 1], "int32"))[0])
    except Exception:  # noqa: BLE001  this backend refuses such a pair, whatever it raises
        return True


@functools.cache
def floats_are_single_beside_doubles() -> bool:
    """Say whether a Python number beside a tensor of double precision is rounded to single precision first."""
    return bool(ask(lambda x: keras.ops.multiply(x, 0.1), np.ones(1, "float64"))[0] != 0.1)  # noqa: PLR2004  a tenth has no exact form


@functools.cache
def slopes_are_single() -> bool:
    """Say whether the slope of ``leaky_relu`` is held in single precision also for numbers of double precision."""
    return bool(ask(lambda x: keras.ops.leaky_relu(x, 0.1), -np.ones(1, "float64"))[0] != -0.1)  # noqa: PLR2004  a tenth has no exact form


@functools.cache
def casts_saturate(source: str, target: str) -> bool:
    """Say whether a float beyond a type of whole numbers becomes its nearest limit, and NaN 0; else it wraps around.

    What TensorFlow answers depends on the length of the array: a short and a long one are asked.
    """
    limits = np.iinfo(target)
    beyond = np.asarray([2.0 * limits.min - 3, 2.0 * limits.max, np.nan], "float32")
    for numbers in (beyond, np.tile(beyond, 512)):
        answer = keras.ops.cast(keras.ops.cast(keras.ops.convert_to_tensor(numbers), source), target)
        if [int(x) for x in keras.ops.convert_to_numpy(answer)[:3]] != [limits.min, limits.max, 0]:
            return False
    return True


@functools.cache
def upper_limit_wins() -> bool:
    """Say whether ``clip`` by a lower limit above the upper one answers the upper one; TensorFlow answers the lower."""
    return bool(ask(lambda x: keras.ops.clip(x, 1.0, -1.0), np.zeros(1, "float32"))[0] < 0)


@functools.cache
def infinities_are_close() -> bool:
    """Say whether ``isclose`` takes equal infinities for close; TensorFlow subtracts them, which is NaN."""
    return bool(ask(keras.ops.isclose, np.asarray([np.inf], "float32"), np.asarray([np.inf], "float32"))[0])


@functools.cache
def reflects_again() -> bool:
    """Say whether a reflection longer than the axis goes back and forth; JAX does so, the others refuse it."""
    try:
        answer = ask(lambda x: keras.ops.pad(x, ((3, 0),), mode="reflect"), np.arange(2))
    except Exception:  # noqa: BLE001  whatever the backend raises
        return False
    return bool(answer.tolist() == [1, 0, 1, 0, 1])


@functools.cache
def starting_value(name: str, dtype: str, initial: float) -> float | None:
    """Return the number that ``max`` or ``min`` starts from; None where the backend refuses it, or starts from none.

    The backends bring ``initial`` to the type of the numbers in their own ways: under PyTorch -3 is 253 in uint8, and
    0.5 is True.
    """
    ends = [0, 1] if dtype == "bool" else [int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)]
    extreme = max if name == "max" else min
    try:
        found = [
            float(ask(lambda x: getattr(keras.ops, name)(x, initial=initial), np.asarray([end], dtype))) for end in ends
        ]
    except Exception:  # noqa: BLE001  whatever the backend raises
        return None
    start = found[0 if name == "max" else 1]
    return start if found == [extreme(end, start) for end in ends] else None


@functools.cache
def masked_steps_answer_with_state() -> bool:
    """Say whether a recurrent layer answers a masked step with its first state; else with its answer before, or 0."""
    settings = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros", "use_bias": False}
    layer = keras.layers.SimpleRNN(1, return_sequences=True, name="masked_step", **settings)

    def masked(x: Any, state: Any, mask: Any) -> Any:
        return layer(x, initial_state=state, mask=mask)

    return bool(ask(masked, np.zeros((1, 1, 1), "float32"), np.ones((1, 1), "float32"), np.zeros((1, 1), bool)).any())


@functools.cache
def normalizes_last_axes(name: str) -> bool:
    """Say whether a normalization over neighbouring axes is computed over as many of the last ones.

    PyTorch's kernels know only those. Keras hands them the sizes of the axes asked for, and where the last axes have
    the same sizes, PyTorch takes them without a word; other sizes it refuses.

    Args:
        name: A function of ``keras.ops``.
    """
    square = np.asarray([[1.0, 2.0], [5.0, 3.0]], "float32")
    first, last = (ask(lambda x, axis=axis: getattr(keras.ops, name)(x, axis=axis), square) for axis in (0, 1))
    return bool(np.abs(first - last).max() < 1e-3)  # noqa: PLR2004 - they are 0.4 apart


@functools.cache
def overflows(name: str, dtype: str) -> bool:
    """Say whether a function of real numbers computes with small whole numbers in their own type, where they overflow.

    Args:
        name: A function of ``keras.ops``.
        dtype: The type of the whole numbers.
    """
    numbers = np.asarray([100, 120, 127, 3], dtype) if dtype == "int8" else np.asarray([255, 200, 20, 3], dtype)
    function = getattr(keras.ops, name)
    try:
        own, real = ask(function, numbers), ask(function, numbers.astype("float32"))
    except Exception:  # noqa: BLE001  this backend refuses them, with whatever it raises
        return False
    return bool(np.abs(own.astype("float64") - real).max() > 1e-2)  # noqa: PLR2004  no rounding is as large


@functools.cache
def keeps_axes(name: str) -> bool:
    """Say whether a reduction over all axes keeps them when it is asked to; PyTorch's ``amax`` and ``amin`` do not."""
    return ask(lambda x: getattr(keras.ops, name)(x, keepdims=True), np.ones((2, 2), "float32")).ndim == 2  # noqa: PLR2004  as before


@functools.cache
def counts_with_axes_reversed() -> bool:
    """Say whether the answer of ``count_nonzero`` along an axis is transposed, as under PyTorch up to Keras 3.15."""
    counted = ask(lambda x: keras.ops.count_nonzero(x, axis=0), np.ones((1, 2, 3), "float32"))
    return bool(counted.shape != (2, 3))


@functools.cache
def symmetric_padding_repeats_the_edge() -> bool:
    """Say whether ``pad(mode="symmetric")`` repeats the outermost number, as PyTorch does, and mirrors nothing."""
    return bool(ask(lambda x: keras.ops.pad(x, ((2, 0),), mode="symmetric"), np.asarray([1.0, 2.0, 3.0]))[0] == 1.0)


_PRODUCTS = {
    "matmul": keras.ops.matmul,
    "dot": keras.ops.dot,
    "tensordot": lambda a, b: keras.ops.tensordot(a, b, axes=1),
    "einsum": lambda a, b: keras.ops.einsum("ij,jk->ik", a, b),
    "inner": lambda a, b: keras.ops.inner(a[0], b[0]),
    "vdot": lambda a, b: keras.ops.vdot(a[0], b[0]),
}


@functools.cache
def integers_are_multiplied_as_floats(product: str, dtype: str) -> bool:
    """Say whether a product of integer matrices goes through single precision, in which numbers above 2^24 change."""
    odd = 2**24 + 1
    return int(ask(_PRODUCTS[product], np.asarray([[odd]], dtype), np.asarray([[1]], dtype)).reshape(-1)[0]) != odd


# -- resizing ---------------------------------------------------------------------------------------------------------


@functools.cache
def resized_type(dtype: str, interpolation: str, *, antialias: bool) -> str:
    """Return the type of resized images: some backends answer with floats for images of integers."""
    if "float" in dtype:
        return dtype
    images = np.zeros((1, 2, 2, 1), dtype)
    try:
        resized = _resize(images, (1, 1), interpolation=interpolation, antialias=antialias)
    except Exception:  # noqa: BLE001  this backend has no such interpolation; the export says so later
        return dtype
    return str(keras.backend.standardize_dtype(resized.dtype))


def _resize(images: np.ndarray[Any, Any], size: tuple[int, int], *, interpolation: str, antialias: bool) -> Any:
    return keras.ops.image.resize(
        keras.ops.convert_to_tensor(images),
        size,
        interpolation=interpolation,
        antialias=antialias,
        data_format="channels_last",
    )


@functools.cache
def nearest_pixels(own: int, wanted: int) -> np.ndarray[Any, Any]:
    """Return which of ``own`` pixels in a row the backend takes for each of ``wanted``."""
    ramp = np.broadcast_to(np.arange(own, dtype="float32")[None, :, None, None], (1, own, 2, 3))
    resized = _resize(np.ascontiguousarray(ramp), (wanted, 2), interpolation="nearest", antialias=False)
    return np.asarray(keras.ops.convert_to_numpy(resized))[0, :, 0, 0].astype("int64")


def _scale_first(own: int, wanted: int) -> np.ndarray[Any, Any]:
    return (np.arange(wanted, dtype="float32") + np.float32(0.5)) * (np.float32(own) / np.float32(wanted))


_RULES: dict[str, Callable[[int, int], np.ndarray[Any, Any]]] = {
    "scale first": _scale_first,
    "product first": lambda own, wanted: (
        (np.arange(wanted, dtype="float32") + np.float32(0.5)) * np.float32(own) / np.float32(wanted)
    ),
    "centers": lambda own, wanted: np.maximum(_scale_first(own, wanted) - np.float32(0.5), 0) + np.float32(0.5),
}
_SIZES = range(1, 600)
_ASKED = 6


@functools.cache
def nearest_rule(wanted: int | None) -> str | None:
    """Return in which order the backend computes the nearest pixel; None when it is none of those known.

    Args:
        wanted: The number of pixels in the answer; None when it is free.
    """
    known = dict(_RULES)
    for size in (wanted,) if wanted is not None else (9, 24, 100):
        answers = {
            own: {name: np.minimum(np.floor(rule(own, size)), own - 1).astype("int64") for name, rule in known.items()}
            for own in _SIZES
        }
        telling = [own for own, found in answers.items() if len({tuple(x) for x in found.values()}) > 1]
        for own in (telling or [_SIZES[len(_SIZES) // 2]])[:_ASKED]:
            asked = nearest_pixels(own, size)
            known = {name: rule for name, rule in known.items() if np.array_equal(answers[own][name], asked)}
    return next(iter(known), None)


@functools.cache
def sparsemax_adds_running_sums() -> bool:
    """Say whether the threshold of ``sparsemax`` is made of the sum of all running sums, as up to Keras 3.15."""
    first = ask(keras.ops.sparsemax, np.asarray([1.0, 0.9], "float32"))[0]
    return bool(first < 0.3)  # noqa: PLR2004 - 0.05 with running sums, 0.55 without
