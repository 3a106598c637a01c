"""Prove a written file: the checker, then Keras' own answers against the very session that will serve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.backend import load_keras
from mnistkit.errors import ExportError, ParityError
from mnistkit.export.signature import input_structure
from mnistkit.parity import Comparison, compare
from mnistkit.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mnistkit.export.signature import Signature

BATCH_SIZES = (1, 2, 3, 64)
ATOL = 1e-5
_CHUNK_BYTES = 64 * 1024**2  # inputs given to Keras at once


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs to compare on, and what Keras answers.

    Attributes:
        name: What they are, for the table.
        inputs: Arrays by input name, all with the same number of rows.
        expected: Keras' answers by output name.
    """

    name: str
    inputs: dict[str, NDArray[Any]]
    expected: dict[str, NDArray[Any]]

    @property
    def rows(self) -> int:
        """Number of inputs along the batch axis."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the proof's table: a sample run at one batch size."""

    sample: str
    batch_size: int
    comparison: Comparison


def keras_answers(model: Any, signature: Signature, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Keras' inference answers for whole arrays, by output name.

    Raises:
        ExportError: An answer is NaN, so nothing could be proven with it.
    """
    keras = load_keras()
    arrays = [inputs[tensor.name] for tensor in signature.inputs]
    rows = len(arrays[0])
    step = max(1, min(rows, _CHUNK_BYTES // max(1, sum(array[:1].nbytes for array in arrays))))
    parts = []
    for start in range(0, rows, step):
        tensors = [keras.ops.convert_to_tensor(array[start : start + step]) for array in arrays]
        answers = model(keras.tree.pack_sequence_as(input_structure(model), tensors), training=False)
        parts.append([keras.ops.convert_to_numpy(answer) for answer in keras.tree.flatten(answers)])
    whole = [np.concatenate(column) for column in zip(*parts, strict=True)]
    for tensor, answer in zip(signature.outputs, whole, strict=True):
        if answer.dtype.kind == "f" and np.isnan(answer).any():
            raise ExportError(f"Keras itself answers with NaN in {tensor.name}; train the model again before exporting")
    return {tensor.name: answer for tensor, answer in zip(signature.outputs, whole, strict=True)}


def check_graph(path: Path) -> None:
    """onnx's own full check: schema, types and shapes.

    Raises:
        ExportError: The file is not valid ONNX.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the checker has several unrelated exceptions
        raise ExportError(f"the exported graph is not valid ONNX: {' '.join(str(error).split())[:300]}") from error


def prove(path: Path, samples: Sequence[Sample], *, atol: float) -> list[Row]:
    """Hold the file's answers against Keras', every sample at several batch sizes.

    Raises:
        ParityError: An answer differs by more than ``atol``, or is NaN.
        ExportError: The file is not valid ONNX, or onnxruntime does not read it.
    """
    check_graph(path)
    runtime = Runtime(path, device="cpu", exact=True)
    rows = []
    for sample in samples:
        for size in sorted({min(size, sample.rows) for size in (*BATCH_SIZES, sample.rows)}):
            rows.append(Row(sample.name, size, _prove_one(runtime, sample, size, atol)))
    return rows


def _prove_one(runtime: Runtime, sample: Sample, size: int, atol: float) -> Comparison:
    limit = min(sample.rows, max(size * 4, 256))  # small batches over all 10,000 images would only cost time
    starts = range(0, limit - limit % size, size)
    parts = [
        runtime.run({name: array[start : start + size] for name, array in sample.inputs.items()}) for start in starts
    ]
    seen = len(starts) * size
    worst: Comparison | None = None
    for name, expected in sample.expected.items():
        actual = np.concatenate([part[name] for part in parts])
        found = compare(expected[:seen], actual, atol=atol, what=f"{sample.name}, batch size {size}, output {name}")
        if worst is None or found.largest > worst.largest:
            worst = found
    if worst is None:
        raise ParityError(f"{sample.name}: nothing was compared")
    return worst


def draw_inputs(signature: Signature, *, kind: str, rows: int = 64) -> dict[str, NDArray[Any]]:
    """Inputs of one kind for any model, the same on every machine.

    Args:
        signature: What the model takes.
        kind: ``"noise"`` (uniform in [0, 1]) or ``"edges"`` (zeros, ones, the smallest normal number, and mixtures).
        rows: Size of the batch axis.
    """
    generator = np.random.default_rng(0)
    arrays = {}
    for tensor in signature.inputs:
        shape = (rows, *(size if isinstance(size, int) else 8 for size in tensor.shape[1:]))
        values = generator.random(shape)
        if kind == "edges":
            tiny = float(np.finfo(np.float32).tiny)
            values = generator.choice([0.0, 1.0, tiny, 1 / 255], size=shape)
            for row, value in enumerate((0.0, 1.0, tiny)[:rows]):
                values[row] = value
        arrays[tensor.name] = values.astype(tensor.dtype)
    return arrays


def worst_of(rows: Sequence[Row]) -> float:
    """Largest difference in a proof."""
    return max((row.comparison.largest for row in rows), default=math.nan)
