"""A function of tensors as one program for each shape, where the backend would compile every operation by itself.

JAX compiles every operation for every shape, a tenth of a second each. What runs a few times is not worth XLA's and
LLVM's expensive passes either.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_programs: dict[str, Future[Any]] = {}  # by what they compute, so that a model of the same kind is compiled once
_PROGRAMS = 64  # kept at most
_COMPILERS = 2  # at work at once; XLA compiles outside of Python's lock
_QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
_QUICKER = _QUICK | {"xla_cpu_use_fusion_emitters": False}  # a third to four fifths of the time; not in every version


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
        self._traced: dict[Any, Any] = {}  # a trace, or how it was refused
        self._known: dict[Any, Future[Any]] = {}
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
        shapes = self._shapes(arguments)
        if shapes not in self._known:
            self._known[shapes] = self._compile(self._trace(arguments))
        return self._known[shapes]

    def answer_shapes(self, arguments: Any, *, like: Any) -> list[tuple[int, ...]] | None:
        """The shapes of a result; ``None`` where it is not computed as that for other arguments.

        Nothing is compiled. Computed alike means: by the same operations, in the same order, with the same constants;
        only sizes differ.

        Args:
            arguments: The arguments.
            like: The other arguments.

        Raises:
            Exception: As for a call.
        """
        one, other = self._trace(arguments), self._trace(like)
        if list(_outline(one.jaxpr)) != list(_outline(other.jaxpr)):
            return None
        return [tuple(leaf.shape) for leaf in self._jax.tree.leaves(one.out_info)]

    def _shapes(self, arguments: Any) -> Any:
        return tuple((leaf.shape, str(leaf.dtype)) for leaf in self._jax.tree.leaves(arguments))

    def _trace(self, arguments: Any) -> Any:
        shapes = self._shapes(arguments)
        if shapes not in self._traced:
            try:
                self._traced[shapes] = self._function.trace(*arguments)
            except Exception as error:  # a function raises what it likes
                self._traced[shapes] = error.with_traceback(None)  # its frames hold on to every tensor
                raise
        traced = self._traced[shapes]
        if isinstance(traced, Exception):
            raise traced
        return traced

    def _compile(self, traced: Any) -> Future[Any]:
        lowered = traced.lower()
        digest = hashlib.sha256(lowered.as_text().encode())
        for constant in traced.jaxpr.consts:
            digest.update(np.asarray(constant).tobytes())
        key = digest.hexdigest()
        if key not in _programs:
            while len(_programs) >= _PROGRAMS:
                del _programs[next(iter(_programs))]
            is_cpu = self._jax.default_backend() == "cpu"
            compiling = functools.partial(_compile_quickly, lowered) if is_cpu else lowered.compile
            _programs[key] = self._compilers.submit(compiling)
        return _programs[key]


def _compile_quickly(lowered: Any) -> Any:
    try:
        return lowered.compile(compiler_options=_QUICKER)
    except Exception as error:
        if "No such compile option" not in str(error):
            raise
        return lowered.compile(compiler_options=_QUICK)


def _outline(closed: Any) -> Iterator[Any]:
    """What a program does, without the sizes: its operations and constants in their order, those within others too."""
    yield from (np.asarray(constant).tobytes() for constant in closed.consts)
    yield from _outline_of_steps(closed.jaxpr)


def _outline_of_steps(jaxpr: Any) -> Iterator[Any]:
    jax = importlib.import_module("jax")
    for step in jaxpr.eqns:
        yield step.primitive.name
        yield from (repr(value.val) for value in step.invars if hasattr(value, "val"))
        for inner in jax.tree.leaves(step.params, is_leaf=lambda value: hasattr(value, "eqns")):
            if hasattr(inner, "consts") and hasattr(inner, "jaxpr"):
                yield from _outline(inner)
            elif hasattr(inner, "eqns"):
                yield from _outline_of_steps(inner)


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
