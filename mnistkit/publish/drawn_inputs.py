"""Inputs that a model takes, drawn by what it declares: to measure how long it takes, not what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.core.runtime import Runtime
    from mnistkit.core.tensors import TensorInfo

    Arrays = dict[str, NDArray[Any]]

_LENGTHS = (32, 224, 4, 1, 3)
"""Sizes tried for free axes that are no batch axis, all the same, until the model takes one."""
_MOST_NUMBERS = 2**24  # of one row of an input


def batch_axis(runtime: Runtime) -> tuple[bool, int | None]:
    """Whether the first axis of all inputs is a free batch axis, and else its fixed size, ``None`` where there is none.

    A batch axis is free where each input's first axis is free and an output's first axis has the same name.
    """
    first = {tensor.shape[0] if tensor.shape else 0 for tensor in runtime.inputs}
    answers = {tensor.shape[0] if tensor.shape else 0 for tensor in runtime.outputs}
    if len(first) != 1 or not first & answers:
        return False, None
    (size,) = first
    return not isinstance(size, int), size if isinstance(size, int) else None


def draw_inputs(runtime: Runtime) -> Arrays:
    """One row for each input, that the model takes.

    Raises:
        InputError: It takes words or other things than numbers, its rows are very large, or onnxruntime refuses all
            that was tried.
    """
    refused: InputError | None = None
    for length in _LENGTHS:
        rng = np.random.default_rng(0)
        inputs = {tensor.name: _draw(tensor, length, rng=rng) for tensor in runtime.inputs}
        try:
            runtime.run(inputs)
        except InputError as error:
            refused = refused or error
            continue
        return inputs
    assert refused is not None
    raise refused


def _draw(tensor: TensorInfo, length: int, *, rng: np.random.Generator) -> NDArray[Any]:
    sizes = [size if isinstance(size, int) else (1 if axis == 0 else length) for axis, size in enumerate(tensor.shape)]
    if (
        not all(isinstance(size, int | str | None) for size in tensor.shape)
        or np.prod(sizes, dtype=float) > _MOST_NUMBERS
    ):
        raise InputError(f"its input {tensor} is too large to draw")
    if tensor.dtype == "bool":
        return rng.random(sizes) < 0.5  # noqa: PLR2004  # a coin
    if tensor.dtype.startswith(("int", "uint")):
        return rng.integers(0, 2, sizes).astype(tensor.dtype)  # small enough for any table
    if tensor.dtype.startswith("float"):
        return rng.normal(0, 1, sizes).astype(tensor.dtype)
    raise InputError(f"its input {tensor} takes no numbers, so none can be drawn")


def repeat_rows(inputs: Arrays, count: int) -> Arrays:
    """The same rows again and again, ``count`` in all."""
    return {name: np.ascontiguousarray(np.resize(array, (count, *array.shape[1:]))) for name, array in inputs.items()}
