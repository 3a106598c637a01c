"""Let layers that talk to the backend directly talk to ``keras.ops`` while they are traced.

Keras' preprocessing layers call ``self.backend.numpy.pad(...)`` and the like, so that they also run inside ``tf.data``;
symbolic tensors cannot go there. For one call, ``self.backend`` becomes this object: the same names, from
``keras.ops``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from mnistkit.core.errors import ExportError

_PARTS = ("numpy", "core", "nn", "math", "image", "linalg")


class OpsBackend:
    """Answers the names of a Keras backend with the functions of ``keras.ops``."""

    name = "symbolic"
    __name__ = "symbolic"
    _backend = "symbolic"

    def __getattr__(self, name: str) -> Any:
        if name in _PARTS:
            return ops.image if name == "image" else self
        if name == "rgb_to_grayscale":
            return ops.image.rgb_to_grayscale
        if name == "convert_to_tensor":
            return _convert
        if name == "resize":
            return ops.image.resize
        if name == "one_hot":
            return _one_hot
        function = getattr(ops, name, None)
        if function is None:
            raise ExportError(f"keras.ops has no {name}; this layer needs a handler of its own")
        return function


def _convert(x: Any, dtype: Any = None, **_: Any) -> Any:
    if isinstance(x, keras.KerasTensor):
        return x if dtype is None or x.dtype == keras.backend.standardize_dtype(dtype) else ops.cast(x, dtype)
    return ops.convert_to_tensor(x, dtype)


def _one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, **_: Any) -> Any:
    """Backends differ in the type of a one-hot without one; ``keras.ops`` always has the float type."""
    if dtype is None:
        dtype = keras.src.backend.nn.one_hot(ops.zeros((1,), "int32"), 2).dtype
    return ops.one_hot(x, num_classes, axis=axis, dtype=keras.backend.standardize_dtype(dtype))


def speaks_to_backend(layer: Any) -> bool:
    """Say whether the layer, or one inside it, bypasses ``keras.ops`` through ``self.backend``."""
    return any(_dynamic(part) for part in layer._flatten_layers())  # noqa: SLF001  Keras' only way to list them


def _dynamic(layer: Any) -> bool:
    return type(vars(layer).get("backend")).__name__ == "DynamicBackend"


@contextlib.contextmanager
def symbolic_backend(layer: Any) -> Iterator[None]:
    """Give the layer (and the layers inside it) this backend for the duration of a call."""
    changed = [part for part in layer._flatten_layers() if _dynamic(part)]  # noqa: SLF001  as above
    kept = [part.backend for part in changed]
    for part in changed:
        object.__setattr__(part, "backend", OpsBackend())
    try:
        yield
    finally:
        for part, backend in zip(changed, kept, strict=True):
            object.__setattr__(part, "backend", backend)
