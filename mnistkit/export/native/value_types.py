"""The type of every value: the one that Keras' backend computes in, where that is not the one that Keras infers.

Keras' promotion rules narrow 64 bits to 32, as JAX does. PyTorch and TensorFlow keep 64 bits in many operations, and
Keras' own inference does not know: ``ops.mod(ids, 1000)`` of int64 is inferred as int32 and computed in int64 under
PyTorch. So an operation on wide types is asked on the backend itself, on tensors without content, what it answers with;
and a type that the backend does not hold at all (int64 in JAX) is replaced by the one that it holds instead.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, tree

WIDE = frozenset({"float64", "int64", "uint16", "uint32", "uint64"})
"""Types that some backends hold in another one, or lose on the way."""
NARROW = frozenset({"bool", "int8", "int16", "int32", "uint8"})
"""Types that operations bring to another one, each backend in its own way: Keras' rules do not say."""


@functools.cache
def held_type(dtype: str) -> str:
    """Return the type in which the backend holds values of a type: ``int32`` for ``int64`` under JAX."""
    if dtype not in WIDE:
        return dtype
    with warnings.catch_warnings():  # JAX says that it narrows
        warnings.simplefilter("ignore")
        return str(keras.backend.standardize_dtype(keras.ops.convert_to_tensor(np.zeros((), dtype)).dtype))


def computed(target: keras.Operation, args: Any, kwargs: Any, inferred: Any) -> Any:
    """Return the outputs that Keras infers, with the types that the backend answers with.

    Args:
        target: The operation.
        args: Its arguments, with a number for each size.
        kwargs: Likewise.
        inferred: Keras' symbolic outputs.
    """
    concerned = (args, kwargs, list(vars(target).values()), inferred)
    if not asks_backend(concerned):
        return inferred
    if (held_type("int64") == "int64" or not concerns_wide(concerned)) and _runs(target):
        try:
            held = {name: value for name, value in vars(target).items() if isinstance(value, KerasTensor)}
            answered = _Asked(target).compute_output_spec(*tree.map_structure(_symbol, (args, kwargs, held)))
        except Exception:  # noqa: BLE001  whatever the backend raises: it cannot say, and Keras' inference stands
            answered = None
        flat, types = tree.flatten(inferred), [_dtype(x) for x in tree.flatten(answered)]
        if len(flat) == len(types):
            return tree.pack_sequence_as(inferred, [_typed(*pair) for pair in zip(flat, types, strict=True)])
    return tree.map_structure(lambda a: _typed(a, held_type(str(_dtype(a)))), inferred)


def _symbol(value: Any) -> Any:
    """A symbol in place of a variable: JAX traces no variables that are handed over."""
    return KerasTensor(value.shape, value.dtype) if isinstance(value, keras.Variable) else value


class _Asked(keras.Operation):
    """An operation that gets the tensors that it holds, such as the limits of ``clip``, as arguments."""

    def __init__(self, target: keras.Operation) -> None:
        super().__init__()
        self._target = target

    def call(self, args: Any, kwargs: Any, held: dict[str, Any]) -> Any:
        """Run a copy of the operation that holds these tensors."""
        return copied_operation(self._target, held).call(*args, **kwargs)


def copied_operation(target: keras.Operation, attributes: dict[str, Any]) -> Any:
    """Return a copy of an operation with some attributes replaced."""
    copied = object.__new__(type(target))  # copy.copy would go through Keras' serialization
    for name, value in (vars(target) | attributes).items():
        object.__setattr__(copied, name, value)
    return copied


def concerns_wide(structure: Any) -> bool:
    """Say whether a structure holds tensors, arrays or variables of a wide type, or numbers that need one."""
    return _concerns(structure, WIDE) or any(map(_is_long, tree.flatten(structure)))


def asks_backend(structure: Any) -> bool:
    """Say whether Keras' rules do not tell the type of what an operation on a structure answers."""
    return _concerns(structure, NARROW) or concerns_wide(structure)


def _concerns(structure: Any, kinds: frozenset[str]) -> bool:
    return any(_dtype(x) in kinds for x in tree.flatten(structure))


def _runs(target: keras.Operation) -> bool:
    """Say whether an operation can be computed: those of the exporter's own are symbols alone."""
    return type(target).call is not keras.Operation.call


def _dtype(x: Any) -> str | None:
    dtype = getattr(x, "dtype", None)
    try:
        return None if dtype is None else str(keras.backend.standardize_dtype(dtype))
    except (TypeError, ValueError):
        return None


def _is_long(x: Any) -> bool:
    return type(x) is int and not -(2**31) <= x < 2**31


def _typed(tensor: Any, dtype: str | None) -> Any:
    if not isinstance(tensor, KerasTensor) or dtype is None or tensor.dtype == dtype:
        return tensor
    return KerasTensor(tensor.shape, dtype=dtype, name="t")


def promoted_type(*kinds: Any) -> str:
    """Return the common type of operands by Keras' rules, with 64 bits kept where an operand has them.

    Args:
        kinds: Names of types, and ``int`` or ``float`` for Python's numbers, which are weak.
    """
    common = str(keras.backend.result_type(*kinds))
    wide = {kind for kind in kinds if isinstance(kind, str) and kind in {"float64", "int64", "uint64"}}
    if not wide:
        return common
    if "float" in common:
        return "float64" if "float64" in wide else common
    return "uint64" if common.startswith("uint") else "int64"
