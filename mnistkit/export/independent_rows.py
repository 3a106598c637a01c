"""Whether a model answers each row of a batch as it answers it alone, so that batches of any size have equal answers.

Keras can be asked: once for many rows, once for one of them alone. Where it compiles for each shape, the second answer
costs as much as the first. There, if the native exporter wrote the file, the file itself is asked for the row alone.
Keras is traced and not run. What is not computed then are Keras' numbers for one row. These things stand for them:

- Keras computes one row by the same operations and constants as many, and its answers have the shapes of one row.
- In the file the number of rows is a symbol. What the model computes from it is in the file, and a decision by it is
  refused. So nothing in the file is made from the number of rows that the check happens to use.
- The file answers the row alone as Keras answers it among the others.
- The verification then holds the file, at every batch size, against Keras' answers to the whole batch.

Where one of these fails, Keras is asked for the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.core.comparison import compare
from mnistkit.core.errors import ParityError
from mnistkit.core.runtime import Runtime

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from mnistkit.export.answers import KerasAnswers
    from mnistkit.export.samples import Sample

Arrays = dict[str, "NDArray[Any]"]


def have_independent_rows(
    answers: KerasAnswers, sample: Sample, *, atol: float, written: onnx.ModelProto | None = None
) -> bool:
    """Whether each row of a batch is answered as it is alone.

    Not so for outputs whose first axis is not the batch, nor for a model that mixes its rows.

    Args:
        answers: Keras' answers.
        sample: Rows, with Keras' answers to all of them in one batch.
        atol: The tolerance of the verification.
        written: The file to be, under Keras' names, where the native exporter wrote it; with it Keras may be left out.
    """
    rows = sample.rows
    if rows < 2 or not all(answer.ndim and len(answer) == rows for answer in sample.expected.values()):  # noqa: PLR2004  # several
        return False
    row = {key: array[-1:] for key, array in sample.inputs.items()}
    if written is not None and _is_traced_alike(answers, sample, row):
        try:
            alone = _ask_file(written, row)
        except Exception:  # noqa: BLE001  # onnxruntime does not take the file, or has no answer; the verification says so
            alone = None
        if alone is not None and _is_answered_alike(sample, alone, atol):
            return True
    try:
        alone = answers(row)
    except Exception:  # noqa: BLE001  # Keras refuses a single row with whatever its backend raises
        return False
    return _is_answered_alike(sample, alone, atol)


def _is_traced_alike(answers: KerasAnswers, sample: Sample, row: Arrays) -> bool:
    """Whether Keras is known, without a call, to compute one row as it computes many."""
    try:
        shapes = answers.shapes_if_alike(row, sample.inputs)
    except Exception:  # noqa: BLE001  # Keras refuses a single row with whatever its backend raises
        return False
    return shapes == {key: (1, *answer.shape[1:]) for key, answer in sample.expected.items()}


def _ask_file(written: onnx.ModelProto, row: Arrays) -> Arrays:
    runtime = Runtime(written.SerializeToString(), device="cpu", exact=True, optimize=False)
    taken = {tensor.name for tensor in runtime.inputs}  # an input that no answer depends on is not in every file
    return runtime.run({key: array for key, array in row.items() if key in taken})


def _is_answered_alike(sample: Sample, alone: Arrays, atol: float) -> bool:
    try:
        for key, expected in sample.expected.items():
            compare(expected[-1:], alone[key], atol=atol, what=key, nan=True)
    except (ParityError, KeyError):
        return False
    return True
