"""Let layers that call the backend directly call ``keras.ops`` while they are traced.

Keras' preprocessing layers call ``self.backend.numpy.pad(...)`` and the like, so that they also run inside ``tf.data``;
symbolic tensors cannot go there. For one call, ``self.backend`` answers with the functions of ``keras.ops`` under the
same names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from mnistkit.core.errors import ExportError
from mnistkit.export.native.current_trace import active_tracer
from mnistkit.export.native.keras_hooks import backend_modules, flatten_layers, owner_of

if TYPE_CHECKING:
    from mnistkit.export.native.current_trace import ActiveTracer

_PARTS = ("ops", "numpy", "core", "nn", "math", "image", "linalg")


class OpsBackend:
    """Answers the names of a Keras backend with the functions of ``keras.ops``."""

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


_OPS_BACKEND = OpsBackend()


def _convert(x: Any, dtype: Any = None, **_: Any) -> Any:
    if isinstance(x, keras.KerasTensor):
        return x if dtype is None or x.dtype == keras.backend.standardize_dtype(dtype) else ops.cast(x, dtype)
    return ops.convert_to_tensor(x, dtype)


def _one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, **_: Any) -> Any:
    """Backends differ in the type of a one-hot without one; ``keras.ops`` always has the float type."""
    if dtype is None:
        backend_nn = backend_modules()[3]
        dtype = backend_nn.one_hot(ops.zeros((1,), "int32"), 2).dtype
    return ops.one_hot(x, num_classes, axis=axis, dtype=keras.backend.standardize_dtype(dtype))


def uses_backend_directly(layer: Any) -> bool:
    """Say whether the layer, or one inside it, bypasses ``keras.ops`` through ``self.backend``."""
    dynamic = owner_of("keras.src.utils.backend_utils:DynamicBackend.name")[0]
    return any(isinstance(vars(part).get("backend"), dynamic) for part in flatten_layers(layer))


@contextlib.contextmanager
def symbolic_backend(layer: Any) -> Iterator[None]:
    """Let ``self.backend`` of the layer, and of the layers inside it, be ``keras.ops`` for this thread's trace."""
    tracer = active_tracer()
    count = int(uses_backend_directly(layer))
    tracer.symbolic_backends += count
    try:
        yield
    finally:
        tracer.symbolic_backends -= count


def dynamic_function(tracer: ActiveTracer, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``DynamicBackend.__getattr__``: the function of ``keras.ops`` inside :func:`symbolic_backend`."""
    return getattr(_OPS_BACKEND, args[1]) if tracer.symbolic_backends else original(*args, **kwargs)


def dynamic_name(tracer: ActiveTracer, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """``DynamicBackend.name``: no backend's name inside :func:`symbolic_backend`, so that no layer takes its way."""
    return "symbolic" if tracer.symbolic_backends else str(original(*args, **kwargs))
