"""What is replaced in Keras while a model is traced, as a table.

Each replacement is ``action(tracer, original, args, kwargs)``; it acts in the tracing thread alone (see
:mod:`mnistkit.core.thread_patches`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras
from keras import KerasTensor

from mnistkit.core.thread_patches import Action, Patch
from mnistkit.export.native import fold_in_float64
from mnistkit.export.native.framework_calls import framework_patches
from mnistkit.export.native.frameworks.common import random_refusal
from mnistkit.export.native.keras_hooks import (
    backend_modules,
    importers_of,
    patch_of,
    private,
    sized_function_owners,
)
from mnistkit.export.native.ops_backend import dynamic_function, dynamic_name
from mnistkit.export.native.quantized_calls import (
    dequantize_groups,
    name_no_backend,
    store_float8,
    unpack_int4,
    without_gradient,
)
from mnistkit.export.native.sized_functions import sized_functions
from mnistkit.export.native.symbolic_dim import SymbolicDim, contains_dim

if TYPE_CHECKING:
    from mnistkit.export.native.current_trace import ActiveTracer


def patches() -> list[Patch]:
    """Return the table.

    Raises:
        MissingKerasNameError: This version of Keras lacks a name.
    """
    return [
        patch_of("keras:Operation.symbolic_call", _record_operation),
        patch_of("keras:Layer.symbolic_call", _enter_layer),
        # inferring the shapes of a layer calls the layers inside it: no nodes there either
        patch_of("keras.src.layers.layer:Node", _make_no_node, while_suspended=True),
        patch_of("keras.src.backend.common.variables:Variable.__getitem__", _slice_variable),
        patch_of("keras.src.backend:backend", name_no_backend),
        *quantizer_patches(),
        patch_of("keras.config:backend", _name_backend),
        patch_of("keras.backend:backend", _name_backend),
        patch_of("keras.src.utils.backend_utils:DynamicBackend.__getattr__", dynamic_function),
        patch_of("keras.src.utils.backend_utils:DynamicBackend.name", dynamic_name),
        *(
            Patch(module, name, _when_sized(replacement))
            for name, replacement in sized_functions().items()
            for module in sized_function_owners(name)
        ),
        Patch(keras.Layer, "add_loss", _no_loss, while_suspended=True),
        *(Patch(keras.random, name, _refuse_random(name)) for name in _RANDOM if hasattr(keras.random, name)),
        *(Patch(module, name, _when_symbolic(name)) for module in backend_modules() for name in _shared_names(module)),
        *framework_patches(),
    ]


def quantizer_patches() -> list[Patch]:
    """Return the replacements of what quantized layers call, in every module of Keras that has it."""
    functions: dict[str, Action] = {
        "keras.src.quantizers.quantizers:unpack_int4": unpack_int4,
        "keras.src.quantizers.quantizers:dequantize_with_sz_map": dequantize_groups,
        "keras.src.quantizers.quantizers:quantize_and_dequantize": store_float8,
    }
    return [
        *(
            Patch(core, "custom_gradient", without_gradient)
            for core in backend_modules()
            if _has(core, "custom_gradient")
        ),
        *(
            Patch(module, path.rpartition(":")[2], action)
            for path, action in functions.items()
            for module in importers_of(path)
        ),
    ]


def _has(module: ModuleType, name: str) -> bool:
    return name in vars(module)


def _no_loss(*_: Any) -> None:
    """``Layer.add_loss``: a loss is for training, and symbolic tensors are none."""


_RANDOM = (
    "beta", "binomial", "categorical", "dropout", "gamma", "normal", "randint", "shuffle", "truncated_normal",
    "uniform",
)  # fmt: skip


def _refuse_random(name: str) -> Action:
    """A function of ``keras.random``: no file could be held against answers that differ from call to call."""

    def action(*_: Any) -> Any:
        raise random_refusal(f"keras.random.{name}")

    return action


def _record_operation(tracer: ActiveTracer, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Operation.symbolic_call``: record the operation instead of wiring it into a Keras graph."""
    return tracer.operation(args[0], args[1:], kwargs)


def _enter_layer(tracer: ActiveTracer, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Layer.symbolic_call``: enter the layer, or record it whole, instead of inferring shapes."""
    return tracer.layer(args[0], args[1:], kwargs)


def _make_no_node(_: ActiveTracer, __: Any, ___: tuple[Any, ...], ____: dict[str, Any]) -> None:
    """``Node``: the user's model keeps the graph it has."""


def _slice_variable(_: ActiveTracer, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``Variable.__getitem__``: ``table[:length]`` is recorded when the length is symbolic."""
    variable, key = args
    if contains_dim(key):
        return private("keras.src.ops.numpy:GetItem")().symbolic_call(variable, key)
    return original(variable, key, **kwargs)


def _name_backend(tracer: ActiveTracer, original: Any, _: tuple[Any, ...], __: dict[str, Any]) -> str:
    """``keras.backend.backend``: under NumPy a layer can call no framework past ``keras.ops``."""
    tracer.queried_backend = True
    return "numpy" if tracer.pretend_numpy else str(original())


def _when_sized(replacement: Callable[..., Any]) -> Action:
    """A backend function that takes sizes: replaced when one of them is symbolic."""

    def action(_: ActiveTracer, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (replacement if contains_dim((args, kwargs)) else original)(*args, **kwargs)

    return action


def _when_symbolic(name: str) -> Action:
    """A backend function that ``keras.ops`` has too: symbolic tensors go there. Constants are computed exactly."""
    operation = getattr(keras.ops, name)

    def action(_: ActiveTracer, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _has_tensor((*args, *kwargs.values())):
            return operation(*args, **kwargs)
        if operation.__name__ in fold_in_float64.FUNCTIONS and not kwargs:
            return fold_in_float64.fold(operation.__name__, original, args)
        return original(*args, **kwargs)

    return action


def _has_tensor(values: tuple[Any, ...] | list[Any]) -> bool:
    """Say whether a symbolic tensor that is not a mere size is among the values."""
    for x in values:
        if isinstance(x, KerasTensor):
            if not isinstance(x, SymbolicDim):
                return True
        elif isinstance(x, (list, tuple)) and _has_tensor(x):
            return True
    return False


@functools.cache
def _shared_names(module: ModuleType) -> tuple[str, ...]:
    """Functions of a backend module that ``keras.ops`` has by the same name: some layers call them directly."""
    left_alone = {
        "custom_gradient", "convert_to_numpy", "device_scope", "dtype", "is_tensor", "name_scope", "shape"
    }  # fmt: skip
    return tuple(
        sorted(
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and name not in left_alone and callable(getattr(keras.ops, name, None))
        )
    )
