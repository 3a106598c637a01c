"""Verify a written file: onnx's checker, then Keras' answers against a session with the options that will serve."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from mnistkit.core.comparison import Comparison, compare
from mnistkit.core.errors import ExportError, InputError, ParityError, one_line
from mnistkit.core.runtime import Runtime
from mnistkit.export.native.keras_hooks import flatten_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mnistkit.export.answers import KerasAnswers
    from mnistkit.export.samples import Sample

_NOISE_ROOM = 16  # times the answers' own noise; one draw of it may be a small one
_MOST_WIDENED = 100.0
_NOISE_ROWS = 256
_ROOM = 8  # how many standard deviations of accumulated rounding are forgiven


@dataclass(frozen=True, slots=True)
class VerificationRow:
    """One sample run at one batch size.

    Attributes:
        sample: The sample's name.
        batch_size: The batch size.
        comparison: How far the answers are apart.
        widened: By how much the tolerance was widened, because the model's own rounding noise is that large; mostly 1.
    """

    sample: str
    batch_size: int
    comparison: Comparison
    widened: float = 1.0


def derived_atol(model: Any) -> float:
    """Tolerance that float rounding alone explains: its unit times the root of how many roundings add up.

    A rounding error is a random walk: over ``L`` layers whose longest sum has ``n`` terms its deviation grows like
    ``eps * sqrt(L * n)``. Sums run in float32 even where layers compute in float16, so a half-precision policy adds
    ``eps16 * sqrt(L)``. Source of the model: Higham, Accuracy and Stability of Numerical Algorithms, 2.8.
    The result is scaled by the largest answer when it is used (`mnistkit.core.comparison.compare`).
    """
    layers = [layer for layer in flatten_layers(model, include_self=False) if layer.weights]
    shapes = [tuple(weight.shape) for layer in layers for weight in layer.weights if len(weight.shape) > 1]
    longest = max((math.prod(shape[:-1]) for shape in shapes), default=1)
    depth = max(1, len(layers))
    tolerance = _ROOM * float(np.finfo(np.float32).eps) * math.sqrt(depth * longest)
    # a layer without weights computes in half precision too, and so do operations on an input of it
    kinds = {layer.compute_dtype for layer in flatten_layers(model, include_self=False)}
    if "float16" in kinds:
        tolerance += _ROOM * 2.0**-10 * math.sqrt(depth)
    if "bfloat16" in kinds:
        tolerance += _ROOM * 2.0**-7 * math.sqrt(depth)
    return max(1e-5, tolerance)


def check_graph(path: Path) -> None:
    """Run onnx's own full check: schema, types and shapes.

    Raises:
        ExportError: The file is not valid ONNX.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the checker has several unrelated exceptions
        raise ExportError(f"the exported graph is not valid ONNX: {one_line(error, limit=300)}") from error


def rounding_noise(answers: KerasAnswers, sample: Sample) -> float:
    """How far a model's answers move when its weights and inputs move by about their last bit, relative to the largest.

    No file can be nearer to Keras than that: its sums round in another order.
    """
    rows = sample.rows if sample.is_whole else min(sample.rows, _NOISE_ROWS)
    names = [tensor.name for tensor in answers.signature.inputs]
    arrays = {name: array[:rows] for name, array in zip(names, sample.inputs.values(), strict=True)}
    try:
        moved = answers.moved(arrays)
    except Exception:  # noqa: BLE001  # a model that reads its weights past Keras; then nothing is known
        return 0.0
    noise = 0.0
    for expected, other in zip(sample.expected.values(), moved.values(), strict=True):
        seen = expected if sample.is_whole or not expected.ndim else expected[:rows]
        if seen.dtype.kind != "f" or seen.shape != other.shape:
            continue
        left, right = seen.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(left) & np.isfinite(right)
        scale = max(1.0, float(np.abs(left[finite]).max(initial=0)))
        noise = max(noise, float(np.abs(left - right)[finite].max(initial=0)) / scale)
    return noise


def verify_samples(
    path: Path, samples: Sequence[Sample], *, atol: float, answers: KerasAnswers | None = None
) -> tuple[list[VerificationRow], list[str]]:
    """Compare the file's answers with Keras', every sample at its batch sizes.

    Args:
        path: The file.
        samples: What it is run on.
        atol: The tolerance.
        answers: Keras' answers. Where a difference is over the tolerance, the model's own rounding noise is measured,
            and a multiple of it allowed, up to a hundred times the tolerance. Without them the tolerance stands.

    Returns:
        A row for each, and what is to be told of inputs that are no numbers or infinite, where the file answers
        otherwise.

    Raises:
        ParityError: An answer differs by more than ``atol``, or is NaN.
        ExportError: The file is not valid ONNX, or onnxruntime does not read it.
    """
    check_graph(path)
    runtime = Runtime(path, device="cpu", exact=True)
    if not samples:
        raise ParityError("nothing was compared: there are no samples")
    rows, notes = [], []
    for sample in samples:
        for size in sample.batch_sizes:
            try:
                rows.append(VerificationRow(sample.name, size, _verify_one(runtime, sample, size, atol)))
            except ParityError as error:
                if sample.is_missing:
                    notes.append(f"{error}; replace such inputs first, as keras.ops.nan_to_num does")
                    continue
                noise = 0.0 if answers is None else rounding_noise(answers, sample)
                widened = min(_NOISE_ROOM * noise / atol, _MOST_WIDENED)
                if widened <= 1:
                    raise
                found = _verify_one(runtime, sample, size, widened * atol)
                rows.append(VerificationRow(sample.name, size, found, widened))
    return rows, notes


def run_in_steps(runtime: Runtime, inputs: Mapping[str, NDArray[Any]], step: int) -> dict[str, NDArray[Any]]:
    """Run whole batches of ``step`` rows one after the other; rows left over are not run.

    Raises:
        InputError: onnxruntime refuses a batch.
    """
    rows = len(next(iter(inputs.values())))
    taken = {tensor.name for tensor in runtime.inputs}  # an input that no answer depends on is not in every file
    parts = [
        runtime.run({key: array[start : start + step] for key, array in inputs.items() if key in taken})
        for start in range(0, rows - rows % step, step)
    ]
    # an answer without a batch axis is the same for every batch
    return {key: np.concatenate([p[key] for p in parts]) if parts[0][key].ndim else parts[0][key] for key in parts[0]}


def _verify_one(runtime: Runtime, sample: Sample, size: int, atol: float) -> Comparison:
    # small batches over all 10,000 images would only cost time
    limit = sample.rows if sample.is_whole else min(sample.rows, max(size * 4, 256))
    if limit < size or not sample.expected:
        raise ParityError(f"{sample.name}, batch size {size}: nothing was compared")
    try:
        answers = run_in_steps(runtime, {key: array[:limit] for key, array in sample.inputs.items()}, size)
    except InputError as error:
        raise _cannot_run(f"{sample.name}, batch size {size}", error) from error
    found = []
    for name, expected in sample.expected.items():
        what = f"{sample.name}, batch size {size}, output {name}"
        seen = expected if sample.is_whole or not expected.ndim else expected[: limit - limit % size]
        found.append(compare(seen, answers[name], atol=atol, what=what, nan=sample.is_missing))
    return max(found, key=lambda comparison: comparison.largest)


def _cannot_run(what: str, error: InputError) -> ExportError:
    """Say in which layer onnxruntime stops: the names of the nodes begin with its path."""
    text = " ".join(str(error.__cause__ or error).split())
    node = re.search(r"running (\S+) node\. Name:'([^']*)'", text)
    if node is None:
        return ParityError(f"{what}: {error}")
    layer = node[2].rpartition("/")[0] or "the top of the model"
    return ExportError(
        f"{what}: onnxruntime cannot run the file, though Keras answers; it stops in {layer} ({node[1]}): {text[-160:]}"
    )
