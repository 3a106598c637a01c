"""A function of tensors as one program for each shape, where the backend would compile every operation by itself.

JAX compiles every operation for every shape, a tenth of a second each. What runs a few times is not worth XLA's and
LLVM's expensive passes either.
"""

from __future__ import annotations

import hashlib
import importlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_programs: dict[str, Future[Any]] = {}  # by what they compute, so that a model of the same kind is compiled once
_PROGRAMS = 64  # kept at most
_COMPILERS = 2  # at work at once; XLA compiles outside of Python's lock


def compiled(function: Callable[..., Any]) -> Programs | None:
    """Return a function of lists of tensors as programs; ``None`` where its backend is fast without."""
    return Programs(function) if keras.backend.backend() == "jax" else None


class Programs:
    """A function of lists of tensors, compiled once for each shape.

    Args:
        function: The function; it is traced with tensors that have no values.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._jax = importlib.import_module("jax")
        self._function = self._jax.jit(function)
        cheap = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
        self._options = cheap if self._jax.default_backend() == "cpu" else None
        self._known: dict[Any, Future[Any] | Exception] = {}
        self._compilers = ThreadPoolExecutor(_COMPILERS, thread_name_prefix="mnistkit-compile")

    def __call__(self, *arguments: Any) -> Any:
        """The function's result.

        Raises:
            Exception: The function cannot be traced, with whatever it raises; see `looks_at_values`.
        """
        return self.prepare(*arguments).result()(*arguments)

    def prepare(self, *arguments: Any) -> Future[Any]:
        """Begin to compile for these shapes, in another thread; a shape that was refused is refused at once.

        Raises:
            Exception: As for a call.
        """
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in self._jax.tree.leaves(arguments))
        if shapes not in self._known:
            try:
                self._known[shapes] = self._compile(arguments)
            except Exception as error:  # a function raises what it likes
                self._known[shapes] = error.with_traceback(None)  # its frames hold on to every tensor
                raise
        known = self._known[shapes]
        if isinstance(known, Exception):
            raise known
        return known

    def _compile(self, arguments: Any) -> Future[Any]:
        traced = self._function.trace(*arguments)
        lowered = traced.lower()
        digest = hashlib.sha256(lowered.as_text().encode())
        for constant in traced.jaxpr.consts:
            digest.update(np.asarray(constant).tobytes())
        key = digest.hexdigest()
        if key not in _programs:
            while len(_programs) >= _PROGRAMS:
                del _programs[next(iter(_programs))]
            _programs[key] = self._compilers.submit(lowered.compile, compiler_options=self._options)
        return _programs[key]


def looks_at_values(error: BaseException | None) -> bool:
    """Whether a function could not be compiled though it may run as it is: mostly it asks for its arguments' values."""
    jax = importlib.import_module("jax")
    kinds = (
        jax.errors.ConcretizationTypeError,  # also of booleans and integers
        jax.errors.TracerArrayConversionError,
        jax.errors.NonConcreteBooleanIndexError,
        jax.errors.UnexpectedTracerError,
        jax.errors.JaxRuntimeError,  # XLA itself gives up
    )
    while error is not None:
        if isinstance(error, kinds) or "Tracer" in str(error):  # Keras raises some anew under another type
            return True
        error = error.__cause__ or error.__context__
    return False
