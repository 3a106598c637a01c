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

    def __eq__(self, other: object) -> Any:
        """Compare the contents while a model is traced, as real tensors do; at other times the identities."""
        if TRACING.active is None or other is None or isinstance(other, (str, type)):
            return NotImplemented
        return keras.ops.equal(self, other)
