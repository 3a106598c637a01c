"""Every private name of Keras that the exporter uses, in one table, each with what it is for.

A name that this version of Keras lacks is an error that says which one: never a strange failure later. The names that
the exporter replaces while it traces are marked ``patched``; :mod:`mnistkit.core.thread_patches` replaces them.
tests/keras/export/test_keras_hooks.py holds a test for each line.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras

from mnistkit.core.errors import ExportError
from mnistkit.core.thread_patches import Action, Patch


class MissingKerasNameError(ExportError):
    """This version of Keras lacks a name that the native exporter needs."""


@dataclass(frozen=True, slots=True)
class KerasName:
    """One name of Keras.

    Attributes:
        path: Module and attributes, as ``keras.src.ops.operation:Operation.symbolic_call``.
        purpose: What the exporter needs it for; part of the error message.
        used_by: The module of :mod:`mnistkit.export` that relies on it.
        patched: The exporter replaces it while it works, in its own thread.
        on_instances: Objects have the name, their class need not.
        elsewhere: Where other versions of Keras have it.
    """

    path: str
    purpose: str
    used_by: str
    patched: bool = False
    on_instances: bool = False
    elsewhere: tuple[str, ...] = ()


_SIZES_KNOWN_LATER = "record an operation whose sizes are free"

TABLE: dict[str, KerasName] = {
    name.path: name
    for name in (
        # replaced while a model is traced
        KerasName(
            "keras:Operation.symbolic_call", "record each operation of keras.ops", "native.patches", patched=True
        ),
        KerasName("keras:Layer.symbolic_call", "enter each layer", "native.patches", patched=True),
        KerasName(
            "keras.src.layers.layer:Node",
            "leave the graph of the user's model unchanged",
            "native.patches",
            patched=True,
        ),
        KerasName(
            "keras.src.backend.common.variables:Variable.__getitem__",
            "record slices of weights between free sizes",
            "native.patches",
            patched=True,
        ),
        KerasName(
            "keras.backend:backend", "see which layers ask for the backend's name", "native.patches", patched=True
        ),
        KerasName(
            "keras.config:backend", "see which layers ask for the backend's name", "native.patches", patched=True
        ),
        KerasName(
            "keras.src.utils.backend_utils:DynamicBackend.__getattr__",
            "lead preprocessing layers to keras.ops",
            "native.ops_backend",
            patched=True,
        ),
        KerasName(
            "keras.src.utils.backend_utils:DynamicBackend.name",
            "keep preprocessing layers from the code of one backend",
            "native.ops_backend",
            patched=True,
        ),
        *(
            KerasName(
                f"keras.src.backend:ops.{part}",
                "record operations of layers that bypass keras.ops",
                "native.patches",
                patched=True,
                elsewhere=(f"keras.src.backend:{part}",),  # before Keras 3.16
            )
            for part in ("numpy", "core", "nn", "math")
        ),
        KerasName(
            "keras.src.backend:backend", "call quantized layers alike on every backend", "native.patches", patched=True
        ),
        KerasName(
            "keras.src.quantizers.quantizers:unpack_int4",
            "store 4-bit weights as such",
            "native.patches",
            patched=True,
            elsewhere=("keras.src.quantizers.packing:unpack_int4",),  # from Keras 3.16 on
        ),
        KerasName(
            "keras.src.quantizers.quantizers:dequantize_with_sz_map",
            "write the scales of groups of weights",
            "native.patches",
            patched=True,
        ),
        KerasName(
            "keras.src.quantizers.quantizers:quantize_and_dequantize",
            "store weights in 8-bit floats",
            "native.patches",
            patched=True,
            elsewhere=("keras.src.quantizers.float8_scaling:quantize_and_dequantize",),  # from Keras 3.16 on
        ),
        # replaced while the outputs of layers are compared
        KerasName("keras:Layer.__call__", "see the output of every layer", "diagnose", patched=True),
        # read or called
        KerasName("keras.src.ops.numpy:GetItem", _SIZES_KNOWN_LATER, "native.patches"),
        *(
            KerasName(f"keras.src.ops.numpy:{name}", _SIZES_KNOWN_LATER, "native.sized_functions")
            for name in ("Full", "BroadcastTo", "Reshape", "Tile", "Repeat")
        ),
        *(
            KerasName(f"keras.src.ops.core:{name}", _SIZES_KNOWN_LATER, "native.sized_functions")
            for name in ("Slice", "SliceUpdate", "Cast")
        ),
        KerasName(
            "keras.src.backend.common.masking:get_keras_mask", "hand masks to shape inference", "native.shape_inference"
        ),
        KerasName(
            "keras.src.backend.common.masking:set_keras_mask", "hand masks to shape inference", "native.shape_inference"
        ),
        KerasName("keras:Layer._flatten_layers", "walk over nested layers", "samples, choose, verification, fallback"),
        KerasName(
            "keras:Layer._build_shapes_dict",
            "know the inputs of a subclassed model",
            "native.signature",
            on_instances=True,
        ),
        KerasName(
            "keras:Sequential._functional", "know the inputs of a Sequential", "native.signature", on_instances=True
        ),
        KerasName(
            "keras:KerasTensor._keras_history", "name inputs after their layer", "native.signature", on_instances=True
        ),
        KerasName(
            "keras:layers.IntegerLookup._value_dtype",
            "write the type of a lookup table",
            "native.lowerings.tabular",
            on_instances=True,
        ),
    )
}


def check() -> None:
    """Look every name of the table up.

    Raises:
        MissingKerasNameError: This version of Keras lacks one.
    """
    for name in TABLE.values():
        if not name.on_instances:
            private(name.path)


def private(path: str) -> Any:
    """Return what a name of the table stands for.

    Args:
        path: A key of :data:`TABLE`.

    Raises:
        MissingKerasNameError: This version of Keras has no such name.
    """
    owner, name = owner_of(path)
    return getattr(owner, name)


def owner_of(path: str) -> tuple[Any, str]:
    """Return the class or module that has a name of the table, and the name there.

    Raises:
        MissingKerasNameError: This version of Keras has no such name.
    """
    entry = TABLE[path]
    cause: Exception | None = None
    for candidate in (path, *entry.elsewhere):
        module, _, dotted = candidate.partition(":")
        *parents, name = dotted.split(".")
        try:
            owner: Any = importlib.import_module(module)
            for parent in parents:
                owner = getattr(owner, parent)
        except (ImportError, AttributeError) as error:
            cause = cause or error
            continue
        if name in (vars(owner) if entry.patched else dir(owner)):  # what is patched must not be inherited
            return owner, name
    raise _missing(entry) from cause


def patch_of(path: str, action: Action, *, while_suspended: bool = False) -> Patch:
    """Patch a name of the table.

    Raises:
        MissingKerasNameError: This version of Keras has no such name.
    """
    return Patch(*owner_of(path), action, while_suspended=while_suspended)


def _missing(entry: KerasName) -> MissingKerasNameError:
    return MissingKerasNameError(
        f"Keras {keras.__version__} has no {entry.path}, which the native exporter needs to {entry.purpose}; "
        "choose another exporter, or another version of Keras"
    )


def attribute(owner: Any, path: str) -> Any:
    """Return a private attribute of an object.

    Args:
        owner: The object.
        path: A key of :data:`TABLE`; its last part is the attribute.

    Raises:
        MissingKerasNameError: The object has no such attribute in this version of Keras.
    """
    entry = TABLE[path]
    try:
        return getattr(owner, path.rpartition(".")[2])
    except AttributeError as error:
        raise _missing(entry) from error


# -- what the exporter asks of Keras ----------------------------------------------------------------------------------


def backend_modules() -> tuple[ModuleType, ...]:
    """Return the modules whose functions run on tensors of the backend: the collecting one first, then its parts.

    Until 3.15 Keras collects them in ``keras.src.backend``, later in ``keras.src.backend.ops``.
    """
    collecting = owner_of("keras.src.backend:ops.core")[0]
    return (collecting, *(private(f"keras.src.backend:ops.{part}") for part in ("numpy", "core", "nn", "math")))


def sized_function_owners(name: str) -> list[ModuleType]:
    """Return the backend modules that have a function that takes sizes: its own one, and those that imported it.

    Raises:
        MissingKerasNameError: None has it in this version of Keras.
    """
    _, numpy, core, _, _ = backend_modules()
    owners = [module for module in (numpy, core) if name in vars(module)]
    if not owners:
        raise _missing(KerasName(f"keras.src.backend:{name}", _SIZES_KNOWN_LATER, "native.patches", patched=True))
    return owners


def importers_of(path: str) -> list[ModuleType]:
    """Return the modules of Keras that have a function of the table, under its own name: they imported it.

    Raises:
        MissingKerasNameError: This version of Keras has no such function.
    """
    owner, name = owner_of(path)
    function = getattr(owner, name)
    modules = [module for key, module in sorted(sys.modules.items()) if key.startswith("keras.src.") and module]
    return [module for module in modules if vars(module).get(name) is function]


def flatten_layers(layer: Any, *, include_self: bool = True) -> list[Any]:
    """List the layers inside a layer or model, at any depth; Keras has no public walk over them."""
    return list(private("keras:Layer._flatten_layers")(layer, include_self=include_self))


def takes_argument(layer: Any, name: str) -> bool:
    """Say whether a layer's ``call`` has an argument of this name, as Keras itself decides it."""
    return name in inspect.signature(layer.call).parameters


def get_mask(tensor: Any) -> Any:
    """Return the mask that Keras attached to a tensor, or None."""
    return private("keras.src.backend.common.masking:get_keras_mask")(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor, as Keras does."""
    private("keras.src.backend.common.masking:set_keras_mask")(tensor, mask)


def input_structure(model: Any) -> Any:
    """Return the symbolic inputs of a functional or sequential model in their own structure, None for others."""
    if isinstance(model, keras.Sequential):
        model = attribute(model, "keras:Sequential._functional")  # its public `inputs` is a flat list
    return model.input if hasattr(model, "inputs") and hasattr(model, "operations") else None


def build_shapes(model: Any) -> dict[str, Any]:
    """Return the shapes that a subclassed model was built with, by argument; empty before it is built."""
    return getattr(model, "_build_shapes_dict", None) or {}


def layer_of(tensor: Any) -> Any:
    """Return the layer that a symbolic tensor comes from, or the tensor itself."""
    history = getattr(tensor, "_keras_history", None)
    return history.operation if history is not None and history.operation is not None else tensor


def lookup_dtype(layer: Any) -> str:
    """Return the type of the values in a lookup layer."""
    return str(attribute(layer, "keras:layers.IntegerLookup._value_dtype"))


# -- Keras' own classes -----------------------------------------------------------------------------------------------


@functools.cache
def own_classes(*packages: str) -> dict[str, tuple[type, ...]]:
    """Return Keras' own classes of operations and layers below some packages, by class name.

    A class counts when it is what its module calls by that name: a class that only says that its module is one of
    Keras' does not.

    Args:
        packages: Such as ``keras.src.ops``.
    """
    found: dict[str, tuple[type, ...]] = {}
    for name, module in sorted(sys.modules.items()):
        if module is None or not any(name == package or name.startswith(f"{package}.") for package in packages):
            continue
        for attribute, value in vars(module).items():
            if not isinstance(value, type) or not issubclass(value, keras.Operation):
                continue
            if value.__module__ == name and value.__name__ == attribute:
                found[attribute] = (*found.get(attribute, ()), value)
    return found


def operation_class(name: str) -> type | None:
    """Return the class of that name that ``keras.ops`` and Keras' activations record; None when there is none.

    Raises:
        ExportError: Two classes have the name.
    """
    return _only(name, own_classes("keras.src.ops", "keras.src.activations"))


def layer_class(name: str) -> type | None:
    """Return Keras' own class of layers of that name, base classes included; None when there is none.

    Raises:
        ExportError: Two classes have the name.
    """
    return _only(name, own_classes("keras.src.layers"))


def _only(name: str, classes: dict[str, tuple[type, ...]]) -> type | None:
    found = classes.get(name, ())
    if len(found) > 1:
        homes = ", ".join(kind.__module__ for kind in found)
        raise ExportError(
            f"Keras {keras.__version__} has {len(found)} classes {name} ({homes}), which the native exporter cannot "
            "tell apart by name; choose another exporter, or another version of Keras"
        )
    return found[0] if found else None


def is_own(kind: type) -> bool:
    """Say whether a class of operations or layers is Keras' own, whatever a class of a user is called."""
    module = sys.modules.get(kind.__module__)
    return (
        module is not None
        and (kind.__module__ == "keras" or kind.__module__.startswith("keras."))
        and getattr(module, kind.__qualname__, None) is kind
    )


def operation_of(function: Callable[..., Any]) -> type | None:
    """Return the class that a function of ``keras.ops`` records, from the names in its code; None for any other."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or not function.__module__.startswith("keras."):
        return None
    names = getattr(inspect.unwrap(function), "__globals__", {})
    kinds = {names.get(name) for name in code.co_names}
    own = {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, keras.Operation) and is_own(kind)}
    own -= {keras.Operation}
    return own.pop() if len(own) == 1 else None
