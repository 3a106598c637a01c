"""Keras' own answers: what every file is compared with.

Where a backend compiles each operation for each shape, the whole model is compiled as one program for each shape
instead: the check of a small transformer takes 2 s that way, not 40.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mnistkit.export.compiled import compiled, looks_at_values
from mnistkit.export.equal_elements import first_of_equal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.export.signature import Signature

Arrays = dict[str, "NDArray[Any]"]

_LAST_BIT = 2.0  # how many units in the last place weights and inputs are moved at most


class KerasAnswers:
    """A model's inference answers for arrays by input name.

    Args:
        model: The Keras model.
        signature: What it takes, under Keras' names.

    Attributes:
        notes: Where the answers given so far are not the backend's own, and why.
    """

    def __init__(self, model: Any, signature: Signature) -> None:
        self.model, self.signature = model, signature
        self._variables = list(model.variables)
        self._program = compiled(self._run)
        self.notes: set[str] = set()

    def __call__(self, arrays: Arrays) -> Arrays:
        """Keras' answers by output name.

        Raises:
            Exception: Keras refuses the arrays, with whatever its backend raises.
        """
        if self._program is None:
            with first_of_equal() as notes:
                answers = self.signature.call(self.model, arrays)
            self.notes.update(notes)
            return answers
        tensors = self.signature.tensors(arrays)
        try:
            flat = self._program(self._values(), tensors)
        except Exception as error:
            if not looks_at_values(error):
                raise  # a shape that the model does not take: operation by operation it would take seconds to say so
            answers = self.signature.call(self.model, arrays)
            self._program = None
            return answers
        return self.signature.named([keras.ops.convert_to_numpy(answer) for answer in flat])

    def prepare(self, arrays: Arrays) -> None:
        """Begin to compile for arrays of these shapes, if the backend compiles.

        Raises:
            Exception: Keras refuses the shapes, with whatever its backend raises.
        """
        if self._program is not None:
            self._program.prepare(self._values(), self.signature.tensors(arrays))

    def shapes_if_alike(self, arrays: Arrays, other: Arrays) -> dict[str, tuple[int, ...]] | None:
        """The shapes of Keras' answers to arrays, without a call; ``None`` where that is not known.

        Known where the backend compiles, and where the model computes them as those to other arrays: by the same
        operations with the same constants, so that only sizes differ.

        Raises:
            Exception: Keras refuses the shapes, with whatever its backend raises.
        """
        if self._program is None:
            return None
        values = self._values()
        one, like = ((values, self.signature.tensors(each)) for each in (arrays, other))
        shapes = self._program.answer_shapes(one, like=like)
        if shapes is None:
            return None
        return {tensor.name: shape for tensor, shape in zip(self.signature.outputs, shapes, strict=True)}

    @property
    def is_compiled(self) -> bool:
        """Whether what is refused is refused for its shapes alone, whatever the values."""
        return self._program is not None

    def stop_compiling(self) -> bool:
        """Run operation by operation from now on; whether that makes a difference.

        A layer may hide from `looks_at_values` why it cannot be compiled. So what is refused by the compiled model
        is asked once more, before it is called refused.
        """
        was_compiled, self._program = self._program is not None, None
        return was_compiled

    def moved(self, arrays: Arrays) -> Arrays:
        """Keras' answers with every weight and every input moved by about its last bit.

        How far they are from the answers is how far any two right computations may be apart: each sum and product
        rounds by as much.
        """
        generator = np.random.default_rng(4)
        values = [_moved(keras.ops.convert_to_numpy(v.value), generator) for v in self._variables]
        tensors = [
            keras.ops.convert_to_tensor(value, dtype=v.dtype) for value, v in zip(values, self._variables, strict=True)
        ]
        inputs = self.signature.tensors({key: _moved(array, generator) for key, array in arrays.items()})
        with first_of_equal():
            flat = (self._program or self._run)(tensors, inputs)
        return self.signature.named([keras.ops.convert_to_numpy(answer) for answer in flat])

    def _values(self) -> list[Any]:
        return [variable.value for variable in self._variables]

    def _run(self, values: list[Any], tensors: list[Any]) -> list[Any]:
        """The model with these values in its variables; the variables themselves stay as they are."""
        variables = list(zip(self._variables, values, strict=True))
        return [keras.ops.convert_to_tensor(answer) for answer in self.signature.apply(self.model, tensors, variables)]


def _moved(array: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    if array.dtype not in (np.float16, np.float32, np.float64):
        return array
    share = _LAST_BIT * float(np.finfo(array.dtype).eps)
    with np.errstate(all="ignore"):  # the type's limits become infinite
        return (array * (1 + share * generator.uniform(-1, 1, array.shape))).astype(array.dtype)
