"""The symbolic tensors of a trace, as a class of their own: Keras' class stays as it is.

Keras' ``KerasTensor`` refuses what a layer's call may do to a tensor: ``constant * tensor``, where the constant is an
array of the framework, and ``tensor == other``.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor

from mnistkit.export.native.current_trace import TRACING


class SymbolicTensor(KerasTensor):
    """A tensor with a shape, a type and no content; :func:`~.symbolic_dim.make_tensor` makes it.

    Its shape may hold symbolic dimensions, which the constructor of ``KerasTensor`` would turn into plain numbers.
    """

    # NumPy leaves `array * tensor` to the tensor
    __array_ufunc__ = None
    __hash__ = KerasTensor.__hash__
    shape: tuple[Any, ...] = ()

    def __init__(self, dtype: str) -> None:
        super().__init__((), dtype=dtype, name="t")  # with a name, Keras counts none of its own up

    @property
    def __jax_array__(self) -> Any:
        """JAX leaves ``array * tensor`` to a tensor that has no such method."""
        raise AttributeError("__jax_array__")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """PyTorch asks here what one of its functions is to do with a symbolic tensor."""
        tracer = TRACING.active
        if tracer is None or not tracer.follows_framework:
            return NotImplemented
        return tracer.call_framework(func, args, kwargs or {})

    def reshape(self, *newshape: Any) -> Any:
        """``x.reshape((2, -1))``, as Keras has it, and ``x.reshape(2, -1)``, as frameworks have it."""
        return keras.ops.reshape(self, newshape[0] if len(newshape) == 1 else newshape)

    def squeeze(self, *axis: Any, **options: Any) -> Any:
        """Remove axes of length 1; PyTorch leaves other axes alone."""
        tracer = TRACING.active
        if tracer is not None and tracer.follows_framework:
            return tracer.framework_attribute(self, "squeeze")(*axis, **options)
        return keras.ops.squeeze(self, *axis, **options)

    def __getattr__(self, name: str) -> Any:
        """What a tensor of the framework has, while a layer that may use it is called."""
        tracer = TRACING.active
        if tracer is None or not tracer.follows_framework or name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return tracer.framework_attribute(self, name)

    def __eq__(self, other: object) -> Any:
        """Compare the contents while a model is traced, as real tensors do; at other times the identities."""
        if TRACING.active is None or other is None or isinstance(other, (str, type)):
            return NotImplemented
        return keras.ops.equal(self, other)
