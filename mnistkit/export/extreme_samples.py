"""Samples at the ends of the number line: zeros, large magnitudes, the type's limits, the range that a layer implies.

A file can answer as Keras does around zero and otherwise far from it: ``expm1`` by an unguarded formula is NaN at
-10,000. Not every row is fit to be compared there. Left out are rows for which Keras itself has no finite answer, and
rows whose answer a rounding of the input decides, such as the sine of a sum of large products.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mnistkit.core.comparison import compare
from mnistkit.core.errors import ParityError
from mnistkit.export.samples import Arrays, Sample
from mnistkit.export.signature import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.export.answers import KerasAnswers

MAGNITUDES = (1e2, 1e4)
_ROUNDING = 2.0**-20  # relative change of the inputs; sums of a hundred products round by about as much
_BESIDE_ZERO = 2.0**-60  # its square is a normal number
_SHARE = 1 / 4  # of the tolerance, by which an answer may move when its input is changed so
# At the type's limits the order of a sum decides whether it overflows, so graphs with sums are not run there.
_SUMS = (
    "Attention", "AveragePool", "BatchNormalization", "Conv", "CumSum", "Einsum", "GRU", "Gemm", "GlobalAverage",
    "InstanceNormalization", "LRN", "LSTM", "LayerNormalization", "Loop", "LpNorm", "MatMul", "Mean", "RNN", "Reduce",
    "Resize", "Scan", "Softmax", "Sum",
)  # fmt: skip
# Integers may be indices wherever one of these stands; only small ones are safe then.
_LOOKUPS = ("Gather", "OneHot", "Scatter", "Loop", "Range", "Scan", "Slice", "Tile", "Expand", "Reshape")


def divides(graph: onnx.GraphProto) -> bool:
    """Whether a graph divides: 0 may be a divisor then, which whole numbers have no answer to."""
    return any(node.op_type in {"Div", "Mod"} for node in graph.node)


def extreme_samples(
    answers: KerasAnswers,
    noise: Sample,
    *,
    graph: onnx.GraphProto,
    atol: float,
    indices: Mapping[str, int],
    known: Mapping[str, NDArray[Any]],
) -> list[Sample]:
    """Samples at the ends of the number line, with Keras' answers.

    Args:
        answers: Keras' answers.
        noise: An ordinary sample; its shape is used, and its integers where they may be indices.
        graph: The graph to be verified.
        atol: The tolerance of the verification.
        indices: Inputs that hold indices, which are left as they are.
        known: Inputs with the keys and constants that their values meet.

    Returns:
        Samples with at least one row to compare; `Sample.left_out` says how many of the rows were not fit.
    """
    samples = []
    operations = {node.op_type for node in graph.node}
    has_sums = any(name.startswith(_SUMS) for name in operations)
    has_lookups = any(name.startswith(_LOOKUPS) for name in operations)
    has_zeros = not divides(graph)
    inputs = answers.signature.inputs
    changeable = [t for t in inputs if t.name not in indices and _is_number(t, has_lookups=has_lookups)]
    # indices and keys are what the model compares, bit by bit: no rounding is forgiven
    exact = [
        ("padding", _padding(inputs, noise, indices)),
        ("values that the model knows", _known(inputs, noise, known, indices, has_zeros=has_zeros)),
    ]
    drawn: list[tuple[str, Arrays, Arrays]] = [(name, arrays, {}) for name, arrays in exact]
    drawn += [
        (name, arrays, arrays)
        for name, arrays in _draw(answers.model, changeable, noise, has_sums=has_sums, has_zeros=has_zeros)
    ]
    for name, arrays, changed in drawn:
        if not arrays:
            continue
        sample = comparable_sample(answers, name, noise.inputs | arrays, atol=atol, changed=changed)
        if sample is not None:
            samples.append(sample)
    return samples


def missing_samples(answers: KerasAnswers, noise: Sample, *, indices: Mapping[str, int]) -> list[Sample]:
    """Ordinary rows in which some numbers are missing (NaN), and such with infinities, with Keras' answers."""
    floats = [t for t in answers.signature.inputs if t.dtype.startswith("float") and t.name not in indices]
    samples = []
    for name, values in (("not a number", (np.nan,)), ("infinities", (np.inf, -np.inf))):
        arrays = noise.inputs | {t.name: _with_missing(noise.inputs[t.name], values) for t in floats}
        if not floats:
            continue
        try:
            with np.errstate(all="ignore"):
                expected = answers(arrays)
        except Exception:  # noqa: BLE001, S112  # Keras refuses such numbers with whatever its backend raises
            continue
        samples.append(Sample(name, arrays, expected, (noise.rows,), is_whole=True, is_missing=True))
    return samples


def _with_missing(array: NDArray[Any], values: tuple[float, ...]) -> NDArray[Any]:
    """A value in each row: everywhere in the first, then at the beginning, at the end, and somewhere."""
    changed = array.copy()
    if array.ndim == 1:
        changed[::2] = values[0]
        return changed
    flat = changed.reshape(len(changed), -1)
    generator = np.random.default_rng(5)
    for row in range(len(flat)):
        value = values[row // 4 % len(values)]
        place = (slice(None), 0, -1, int(generator.integers(flat.shape[1])))[row % 4]
        flat[row, place] = value
    return changed


def _padding(inputs: Sequence[TensorInfo], noise: Sample, indices: Mapping[str, int]) -> Arrays:
    """Rows of indices that are all padding, padded behind, padded before, all the last index; masks likewise."""
    arrays: Arrays = {}
    for tensor in inputs:
        array = noise.inputs[tensor.name]
        is_mask = tensor.dtype == "bool"
        if array.ndim < 2 or not (is_mask or tensor.name in indices):  # noqa: PLR2004  # a batch of sequences
            continue
        changed = array.copy()
        last = True if is_mask else indices[tensor.name] - 1
        ordinary = np.where(changed == 0, last, changed)  # nothing but words
        for row in range(len(changed)):
            length = changed.shape[1]
            start, stop = [(0, 0), (0, length // 2), (length // 2, length), (0, length), (0, row % length)][row % 5]
            kept = np.zeros_like(changed[row])
            kept[start:stop] = last if row % 5 == 3 else ordinary[row][start:stop]  # noqa: PLR2004  # the fourth kind
            changed[row] = kept
        arrays[tensor.name] = changed
    return arrays


def _known(
    inputs: Sequence[TensorInfo],
    noise: Sample,
    known: Mapping[str, NDArray[Any]],
    indices: Mapping[str, int],
    *,
    has_zeros: bool,
) -> Arrays:
    """Keys of vocabularies and edges of bins, each also a step beside."""
    arrays: Arrays = {}
    generator = np.random.default_rng(6)
    for tensor in inputs:
        if tensor.name not in known or tensor.name in indices or tensor.dtype in TEXT or tensor.dtype == "bool":
            continue
        dtype = _numpy_type(tensor)
        exact = known[tensor.name].astype(np.float64)
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            pool = np.clip(np.concatenate([exact, exact - 1, exact + 1]), limits.min, limits.max).astype(dtype)
            pool = pool if has_zeros else pool[pool != 0]
            if not pool.size:
                continue
        else:
            edges = exact.astype(dtype)
            beside = [np.nextafter(edges, dtype.type(end)) for end in (-np.inf, np.inf)]
            # TensorFlow takes subnormal numbers for zero, so the numbers beside zero are the smallest normal ones
            smallest = np.finfo(dtype).smallest_normal
            beside = [np.where(np.abs(x) < smallest, np.copysign(smallest, x), x) for x in beside]
            pool = np.concatenate([edges, *beside])
        arrays[tensor.name] = generator.choice(pool, noise.inputs[tensor.name].shape).astype(dtype)
    return arrays


def _is_number(tensor: TensorInfo, *, has_lookups: bool) -> bool:
    if tensor.dtype.startswith(("int", "uint")):
        return not has_lookups and tensor.dtype != "uint8"
    return tensor.dtype != "bool" and tensor.dtype not in TEXT


def _draw(
    model: Any, tensors: list[TensorInfo], noise: Sample, *, has_sums: bool, has_zeros: bool
) -> Iterator[tuple[str, Arrays]]:
    """Names and arrays; only the inputs that are changed."""
    if not tensors:
        return
    shapes = {tensor: noise.inputs[tensor.name].shape for tensor in tensors}
    floats = [tensor for tensor in tensors if not tensor.dtype.startswith(("int", "uint"))]
    zeros = {t.name: _zeros(t, shape) for t, shape in shapes.items() if has_zeros or t in floats}
    if zeros:
        yield "zeros", zeros
    half = any("float16" in str(layer.compute_dtype) for layer in model._flatten_layers())  # noqa: SLF001  # no public walk
    for magnitude in MAGNITUDES[:1] if half else MAGNITUDES:
        yield f"magnitude {magnitude:.0e}", {t.name: _large(t, shape, magnitude) for t, shape in shapes.items()}
    whole = [tensor for tensor in tensors if tensor.dtype in {"int32", "int64", "uint32", "uint64"}]
    if whole:
        yield "large whole numbers", {t.name: _large_whole(t, shapes[t]) for t in whole}
    if floats and not has_sums and not half:
        yield "limits of the type", {t.name: _large(t, shapes[t], float("inf")) for t in floats}
    ranged: Arrays = {}
    for tensor in floats:
        values = _implied_range(model, shapes[tensor])
        if values is not None:
            ranged[tensor.name] = values.astype(_numpy_type(tensor))
    if ranged:
        yield "range of the first layer", ranged


def _zeros(tensor: TensorInfo, shape: tuple[int, ...]) -> NDArray[Any]:
    """Rows of 0, -0, a number beside zero and its negative, one after the other.

    Not the smallest number: a quotient or a product of it is subnormal, which TensorFlow and XLA take for zero.
    """
    dtype = _numpy_type(tensor)
    tiny = max(float(np.finfo(dtype).tiny), _BESIDE_ZERO) if np.issubdtype(dtype, np.floating) else 0
    rows = np.resize(np.array([0.0, -0.0, tiny, -tiny]), shape[0]).astype(dtype)
    return np.broadcast_to(rows.reshape(-1, *[1] * (len(shape) - 1)), shape).copy()


def _large(tensor: TensorInfo, shape: tuple[int, ...], magnitude: float) -> NDArray[Any]:
    """Rows of positive numbers, of negative ones and of both, up to a magnitude or to what the type holds."""
    dtype = _numpy_type(tensor)
    generator = np.random.default_rng(1)
    if np.issubdtype(dtype, np.floating):
        low, high = -min(magnitude, float(np.finfo(dtype).max)), min(magnitude, float(np.finfo(dtype).max))
    else:
        low, high = max(-magnitude, float(np.iinfo(dtype).min)), min(magnitude, float(np.iinfo(dtype).max))
    size = generator.uniform(0.5, 1.0, shape) if np.isfinite(magnitude) else np.ones(shape)
    values = np.empty(shape)
    for row in range(shape[0]):
        kind = row % 3
        positive = np.full(shape[1:], kind == 0) if kind < 2 else generator.random(shape[1:]) < 0.5  # noqa: PLR2004  # a coin
        values[row] = np.where(positive, size[row] * high, size[row] * low)
    return values.astype(dtype)


def _large_whole(tensor: TensorInfo, shape: tuple[int, ...]) -> NDArray[Any]:
    """Whole numbers too large for float32; of 64 bits those that are too large for 32, where the backend keeps them."""
    dtype = _numpy_type(tensor)
    high = 2**41 if dtype.itemsize == 8 and _holds(2**41, tensor.dtype) else 2**26  # noqa: PLR2004  # bytes
    generator = np.random.default_rng(7)
    values = generator.integers(high // 2, high, shape)
    if np.issubdtype(dtype, np.signedinteger):
        values = np.where(generator.random(shape) < 0.5, -values, values)  # noqa: PLR2004  # a coin
    return values.astype(dtype)


def _holds(number: int, dtype: str) -> bool:
    """Whether the backend keeps 64 bits; JAX does so only when it is asked to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tensor = keras.ops.convert_to_tensor(np.asarray([number]), dtype=dtype)
        except OverflowError:
            return False
    return int(keras.ops.convert_to_numpy(tensor)[0]) == number


def _implied_range(model: Any, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Numbers that a `Normalization` or `Rescaling` layer brings to the order of 1, for an input of this shape."""
    generator = np.random.default_rng(2)
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001  # no public walk
        try:
            if isinstance(layer, keras.layers.Normalization) and not layer.invert:
                mean, variance = (keras.ops.convert_to_numpy(part) for part in (layer.mean, layer.variance))
                values = mean.reshape(-1) if mean.size == 1 else mean
                spread = np.sqrt(variance.reshape(-1) if variance.size == 1 else variance)
                return np.broadcast_to(values + spread * generator.normal(0, 1, shape), shape)
            if isinstance(layer, keras.layers.Rescaling):
                scale, offset = np.asarray(layer.scale, float), np.asarray(layer.offset, float)
                return np.broadcast_to((generator.uniform(-1, 1, shape) - offset) / scale, shape)
        except (AttributeError, TypeError, ValueError):  # not adapted, or the layer stands behind another shape
            continue
    return None


def comparable_sample(
    answers: KerasAnswers, name: str, arrays: Arrays, *, atol: float, changed: Arrays
) -> Sample | None:
    """A sample of the fit rows, each of the others replaced by a fit one; ``None`` when no row is fit.

    Args:
        answers: Keras' answers.
        name: The sample's name.
        arrays: Arrays by input name.
        atol: The tolerance of the verification.
        changed: Those of the arrays that are unusual; a rounding of them must not decide the answer.
    """
    try:
        return fit_sample(answers, name, arrays, atol=atol, changed=changed)
    except Exception:  # noqa: BLE001  # Keras refuses such numbers with whatever its backend raises
        return None


def fit_sample(answers: KerasAnswers, name: str, arrays: Arrays, *, atol: float, changed: Arrays) -> Sample | None:
    """As `comparable_sample`, for arrays that Keras may refuse.

    An infinity is an answer to ordinary numbers, such as a masked score, and none to unusual ones.

    Raises:
        Exception: Keras refuses them, with whatever its backend raises.
    """
    rows = len(next(iter(arrays.values())))
    left_out = 0
    with np.errstate(all="ignore"):
        expected = answers(arrays)
        rounded = arrays | {key: _rounded(array) for key, array in changed.items()}
        moved = answers(rounded) if changed else expected
        is_zero = all(_is_zero(array) for array in changed.values())
        fit = np.array(
            [
                _is_fit(expected, moved, row, rows=rows, atol=atol, is_zero=is_zero, is_usual=not changed)
                for row in range(rows)
            ]
        )
        if not fit.any():
            return None
        left_out = int(rows - fit.sum())
        if left_out:
            order = np.where(fit, np.arange(rows), int(np.flatnonzero(fit)[0]))
            arrays = {key: array[order] for key, array in arrays.items()}
            expected = answers(arrays)
    if not all(_has_answer(answer, is_usual=not changed) for answer in expected.values()):
        return None  # the rows of a batch are not independent
    return Sample(name, arrays, expected, (rows,), left_out=left_out, is_whole=True)


def _has_answer(answer: NDArray[Any], *, is_usual: bool) -> bool:
    if answer.dtype.kind != "f":
        return True
    return not np.isnan(answer).any() if is_usual else bool(np.isfinite(answer).all())


def _rounded(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, each a few roundings nearer to zero, and zeros a little off; integers as they are."""
    if array.dtype.kind != "f":
        return array
    if _is_zero(array):
        return (np.random.default_rng(3).uniform(-_ROUNDING, _ROUNDING, array.shape)).astype(array.dtype)
    share = max(_ROUNDING, 4 * float(np.finfo(array.dtype).eps))
    factors = 1 - share * np.random.default_rng(3).random(array.shape)
    return (array.astype(np.float64) * factors).astype(array.dtype)


def _is_zero(array: NDArray[Any]) -> bool:
    """Whether an array holds zeros and the smallest numbers alone."""
    return bool(np.abs(array.astype(np.float64)).max(initial=0) < _ROUNDING**2) or array.dtype.kind != "f"


def _is_fit(
    expected: Arrays, moved: Arrays, row: int, *, rows: int, atol: float, is_zero: bool, is_usual: bool
) -> bool:
    for name, answer in expected.items():
        has_rows = answer.ndim > 0 and len(answer) == rows
        left, right = (part[name][row] if has_rows else part[name] for part in (expected, moved))
        if not all(_has_answer(np.asarray(part), is_usual=is_usual) for part in (left, right)):
            return False
        if answer.dtype.kind == "f" and is_zero:  # a jump at zero is no rounding; only the order of equals is open
            continue
        try:
            compare(np.asarray(left), np.asarray(right), atol=atol * _SHARE, what=name)
        except ParityError:
            return False
    return True


def _numpy_type(tensor: TensorInfo) -> np.dtype[Any]:
    return np.dtype("float32" if tensor.dtype == "bfloat16" else tensor.dtype)
