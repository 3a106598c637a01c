"""Backend functions that make tensors out of sizes alone, as operations that can be recorded.

``zeros((batch, 4))`` has no symbolic tensor among its arguments, so ``keras.ops`` would compute it for one batch size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from mnistkit.export.native.keras_hooks import private
from mnistkit.export.native.symbolic_dim import SymbolicDim


def sized_functions() -> dict[str, Callable[..., Any]]:
    """Return what replaces each backend function that takes sizes, for a call with symbolic ones."""

    def operation(name: str) -> Any:
        return private(f"keras.src.ops.numpy:{name}")

    def core(name: str) -> Any:
        return private(f"keras.src.ops.core:{name}")

    def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return operation("Full")(shape, dtype=dtype or keras.config.floatx()).symbolic_call(fill_value)

    def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = None) -> Any:  # noqa: N803  the backend's own names
        rows = keras.ops.expand_dims(keras.ops.arange(N), 1)
        columns = keras.ops.expand_dims(keras.ops.arange(N if M is None else M), 0)
        return keras.ops.cast(keras.ops.equal(rows + k, columns), dtype or keras.config.floatx())

    def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = None) -> Any:  # noqa: N803  the backend's own names
        rows = keras.ops.expand_dims(keras.ops.arange(N), 1)
        columns = keras.ops.expand_dims(keras.ops.arange(N if M is None else M), 0)
        return keras.ops.cast(keras.ops.greater_equal(rows + k, columns), dtype or keras.config.floatx())

    return {
        "full": full,
        "zeros": lambda shape, dtype=None: full(shape, 0, dtype),
        "ones": lambda shape, dtype=None: full(shape, 1, dtype),
        "eye": eye,
        "identity": lambda n, dtype=None: eye(n, dtype=dtype),
        "tri": tri,
        "broadcast_to": lambda x, shape: operation("BroadcastTo")(shape).symbolic_call(x),
        "reshape": lambda x, newshape: operation("Reshape")(newshape).symbolic_call(x),
        "tile": lambda x, repeats: operation("Tile")(repeats).symbolic_call(x),
        "repeat": lambda x, repeats, axis=None: operation("Repeat")(repeats, axis=axis).symbolic_call(x),
        "slice": lambda inputs, start_indices, shape: core("Slice")(shape).symbolic_call(inputs, start_indices),
        "slice_update": lambda inputs, start, updates: core("SliceUpdate")().symbolic_call(inputs, start, updates),
        "convert_to_tensor": _sizes_to_tensor,
        "cast": lambda x, dtype: core("Cast")(dtype).symbolic_call(x),
    }


def _sizes_to_tensor(x: Any, dtype: Any = None, **_: Any) -> Any:
    """``convert_to_tensor((batch, 1, length))``: a tensor of sizes."""
    if isinstance(x, (list, tuple)):
        return keras.ops.stack([_sizes_to_tensor(item, dtype) for item in x])
    return keras.ops.cast(x, dtype or "int32") if isinstance(x, SymbolicDim) else keras.ops.convert_to_tensor(x, dtype)
