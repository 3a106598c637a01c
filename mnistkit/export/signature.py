"""The names, types and shapes of a Keras model's inputs and outputs, free of the process-wide counters."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mnistkit.backend import load_keras
from mnistkit.contract import BATCH, CLASSES, INPUT_NAME, OUTPUT_NAME, SIDE
from mnistkit.errors import ExportError, InputError
from mnistkit.runtime import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_COUNTED = re.compile(r"^(?P<stem>.*?)_\d+$")


@dataclass(frozen=True, slots=True)
class Signature:
    """What an exported file declares.

    Attributes:
        name: The graph's name.
        inputs: Inputs in the order of ``model.inputs``.
        outputs: Outputs in the order of ``model.outputs``.
    """

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @property
    def reads_digits(self) -> bool:
        """Whether the shapes are those of a classifier of 28x28 images into ten classes."""
        if len(self.inputs) != 1 or len(self.outputs) != 1 or not self.inputs[0].dtype.startswith("float"):
            return False
        sizes = [size for size in self.inputs[0].shape[1:] if isinstance(size, int)]
        is_image = len(sizes) == len(self.inputs[0].shape) - 1 and math.prod(sizes) == SIDE * SIDE
        return is_image and self.outputs[0].shape[1:] == (CLASSES,)

    def renamed(self, *, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None) -> Signature:
        """The same with other names.

        Raises:
            InputError: There are more or fewer names than tensors, or one is empty or used twice.
        """
        changes: dict[str, Any] = {}
        for kind, names in (("inputs", inputs), ("outputs", outputs)):
            tensors: tuple[TensorInfo, ...] = getattr(self, kind)
            if names is None:
                continue
            if len(names) != len(tensors) or not all(names):
                raise InputError(f"{len(names)} names for {len(tensors)} {kind}: {', '.join(names)}")
            changes[kind] = tuple(replace(tensor, name=name) for tensor, name in zip(tensors, names, strict=True))
        result = replace(self, **changes)
        every = [tensor.name for tensor in (*result.inputs, *result.outputs)]
        if len(set(every)) != len(every):
            raise InputError(f"names used twice: {', '.join(sorted({name for name in every if every.count(name) > 1}))}")
        return result

    def for_digits(self) -> Signature:
        """The same with the contract's names for a digit classifier."""
        return self.renamed(inputs=[INPUT_NAME], outputs=[OUTPUT_NAME])


def signature_of(model: Any) -> Signature:
    """Read the signature of a built Keras model.

    Raises:
        ExportError: The model was never built, so its inputs have no shape yet.
    """
    keras = load_keras()
    try:
        inputs, outputs = keras.tree.flatten(model.inputs), keras.tree.flatten(model.outputs)
    except (AttributeError, ValueError) as error:
        raise ExportError(f"{model.name}: the model has no input shape yet; call it once, or give it an Input") from error
    if not inputs or not outputs:
        raise ExportError(f"{model.name}: the model has no input shape yet; call it once, or give it an Input")
    in_names = _distinct(plain_name(tensor.name) for tensor in inputs)
    # The layer that made it names an output; Sequential has no output_names.
    out_names = _distinct((plain_name(tensor._keras_history.operation.name) for tensor in outputs), taken=in_names)
    return Signature(
        plain_name(model.name),
        tuple(_tensor(tensor, name) for tensor, name in zip(inputs, in_names, strict=True)),
        tuple(_tensor(tensor, name) for tensor, name in zip(outputs, out_names, strict=True)),
    )


def input_structure(model: Any) -> Any:
    """The model's symbolic inputs in the nesting that a call takes: one tensor, a list, or a dict."""
    functional = getattr(model, "_functional", None) or model  # a Sequential keeps a functional model inside
    return getattr(functional, "_inputs_struct", model.inputs)


def plain_name(name: str) -> str:
    """A layer's name without the number that Keras appends for every further layer of the process."""
    counted = _COUNTED.match(name)
    return counted["stem"] if counted else name


def _tensor(tensor: Any, name: str) -> TensorInfo:
    sizes: list[int | str | None] = [size if size is not None else f"{name}_{n}" for n, size in enumerate(tensor.shape)]
    if sizes and tensor.shape[0] is None:
        sizes[0] = BATCH
    return TensorInfo(name, str(tensor.dtype), tuple(sizes))


def _distinct(names: Iterable[str], *, taken: Sequence[str] = ()) -> list[str]:
    """The names with ``_1``, ``_2`` … behind those already used."""
    used = list(taken)
    result = []
    for name in names:
        number, candidate = 0, name
        while candidate in used:
            number += 1
            candidate = f"{name}_{number}"
        used.append(candidate)
        result.append(candidate)
    return result
