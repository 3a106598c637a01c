"""Whether Triton may run the requests of several clients as one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnistkit.core.errors import InputError
from mnistkit.core.golden import is_text, read_golden_atol
from mnistkit.publish.drawn_inputs import draw_inputs

if TYPE_CHECKING:
    from mnistkit.publish.deploy.model import ServedFile
    from mnistkit.publish.drawn_inputs import Arrays

_ROWS = 3
_RELATIVE = 1e-3


def why_not_batched(model: ServedFile, example: Arrays | None) -> str:
    """Why the requests of several clients must not be run together; empty where they may.

    The first axis of everything has to be free, and rows have to be answered together as they are answered alone: an
    average over the batch, say, would mix what different clients sent.

    Args:
        model: The file.
        example: Inputs that it takes; ``None`` where there are none to try.
    """
    tensors = (*model.runtime.inputs, *model.runtime.outputs)
    for tensor in tensors:
        if not tensor.shape or isinstance(tensor.shape[0], int):
            return f"the first axis of {tensor} is no free batch axis"
    names = {tensor.shape[0] for tensor in model.runtime.inputs}
    if len(names) > 1:
        return f"the first axes of the inputs have different names ({', '.join(sorted(map(str, names)))})"
    if any(size in names - {None} for tensor in tensors for size in tensor.shape[1:]):
        return "the batch axis is a second axis of a tensor as well"
    if example is None or not all(map(len, example.values())):
        same = {tensor.shape[0] for tensor in tensors} == names
        return "" if same else "there are no inputs to try whether rows can be answered together"
    return _tried(model, example)


def example_inputs(model: ServedFile) -> Arrays | None:
    """Inputs that a model takes: of its first golden pair, or drawn; ``None`` where none can be drawn."""
    if model.golden:
        return model.golden[0].inputs
    try:
        return draw_inputs(model.runtime)
    except InputError:
        return None


def _tried(model: ServedFile, example: Arrays) -> str:
    rows = _rows(model, example)
    try:
        alone = [model.runtime.run(row) for row in rows]
        together = model.runtime.run({name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
    except InputError as error:
        return f"rows cannot be answered together ({error})"
    atol = read_golden_atol(model.runtime.metadata)
    for name, answers in together.items():
        if len(answers) != len(rows) or any(len(one[name]) != 1 for one in alone):
            return f"output {name} has not one row for each row of the inputs"
        expected = np.concatenate([one[name] for one in alone])
        if answers.dtype.kind == "f":
            atol = max(atol, _RELATIVE * float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
            same = np.allclose(answers, expected, rtol=_RELATIVE, atol=atol, equal_nan=True)
        else:
            same = bool(np.array_equal(answers, expected))
        if not same:
            return f"output {name} of a row depends on the other rows of the batch"
    return ""


def _rows(model: ServedFile, example: Arrays) -> list[Arrays]:
    """Different rows of one shape, each as a batch of one."""
    pairs = [pair.inputs for pair in model.golden] or [example]
    found = [
        {name: array[place : place + 1] for name, array in inputs.items()}
        for inputs in pairs
        for place in range(min(map(len, inputs.values())))
    ]
    shapes = {name: array.shape for name, array in found[0].items()}
    rows = [row for row in found if {name: array.shape for name, array in row.items()} == shapes][:_ROWS]
    if len(rows) == 1 and _takes(model, other := {name: array.ravel()[::-1].reshape(array.shape) for name, array in
                                 rows[0].items()}):  # fmt: skip
        rows.append({name: array if is_text(array) else np.ascontiguousarray(array) for name, array in other.items()})
    return rows if len(rows) > 1 else rows * 2


def _takes(model: ServedFile, inputs: Arrays) -> bool:
    try:
        model.runtime.run(inputs)
    except InputError:
        return False
    return True
