"""Which handler lowers or decomposes which class: the tables behind the native exporter, open to users.

Four kinds of handlers:

* a *lowering* turns one recorded ``keras.ops`` operation into ONNX nodes: ``handler(graph, op, *args, **kwargs)``, the
  arguments being those of the operation's ``call``;
* a *layer lowering* does the same for a whole layer that cannot be traced: ``handler(graph, layer, *args, **kwargs)``;
* a *decomposition* expresses an operation by other ``keras.ops`` calls, on symbolic tensors, during tracing:
  ``handler(op, *args, **kwargs)``;
* a *layer decomposition* does the same for a layer: ``handler(layer, *args, **kwargs)``.

All are found by class, never by the name of a class. The names in the exporter's own tables stand for Keras' own
classes and are resolved when they are registered; a user's class that is called ``Round`` is not Keras' ``Round``.
Layers are found through the method resolution order: a subclass inherits its parent's handler unless it overrides
``call``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import keras

from mnistkit.core.errors import InputError
from mnistkit.export.native.keras_hooks import is_own, layer_class, operation_class, operation_of

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)

_LOWERINGS: dict[type, Handler] = {}
_DECOMPOSITIONS: dict[type, Handler] = {}
_LAYER_LOWERINGS: dict[type, Handler] = {}
_LAYER_DECOMPOSITIONS: dict[type, Handler] = {}
_NAMED: dict[str, Handler] = {}  # every name in the exporter's own tables, those that this Keras lacks included


class UnsupportedOp(Exception):  # noqa: N818  a signal inside the exporter, never seen by a user
    """Raise it from a handler that meets a configuration that ONNX cannot express; the message says why.

    The exporter collects it with the path of the layer and goes on, so that all are listed at once.

    Args:
        message: Why.
        opset: The opset from which on ONNX can, where there is one.
        is_final: Whether no other exporter can help.
    """

    def __init__(self, message: str, *, opset: int | None = None, is_final: bool = False) -> None:
        super().__init__(message)
        self.opset, self.is_final = opset, is_final


# -- for users --------------------------------------------------------------------------------------------------------


def register_op(*operations: type | Handler | str, replace: bool = False) -> Callable[[H], H]:
    """Register a handler for operations.

    Args:
        operations: Classes of operations (yours or Keras'), public functions of ``keras.ops``, or names of Keras'
            classes, such as ``"Erfinv"``.
        replace: Take the place of a handler that is registered already.

    Example:
        >>> @register_op(keras.ops.erfinv)
        ... def erfinv(graph, op, x):
        ...     ...

    Returns:
        A decorator that returns the handler unchanged. The handler gets the graph, the operation and the values of
        the arguments of the operation's ``call``, and returns values in the structure of its output.

    Raises:
        InputError: Something is not an operation, or has a handler already.
    """
    kinds = [_operation(operation) for operation in operations]
    return _registering(_LOWERINGS, (_LOWERINGS, _DECOMPOSITIONS), kinds, replace=replace)


def register_layer(*layers: type | str, replace: bool = False) -> Callable[[H], H]:
    """Register a handler for whole layers: a class of yours, or a class of ``keras.layers`` or its name.

    Args:
        layers: Classes of layers, or names of Keras' own.
        replace: Take the place of a handler that is registered already.

    Example:
        >>> @register_layer(MyScale)
        ... def my_scale(graph, layer, x):
        ...     return graph.pointwise("Mul", x, graph.weight(layer.factor))

    The handler gets the graph, the layer and the values of the arguments of ``layer.call`` (masks included, when the
    layer's ``call`` takes one), and returns values in the structure of the layer's output.

    Raises:
        InputError: Something is not a layer, or has a handler already.
    """
    kinds = [_layer(layer) for layer in layers]
    return _registering(_LAYER_LOWERINGS, (_LAYER_LOWERINGS, _LAYER_DECOMPOSITIONS), kinds, replace=replace)


# -- the exporter's own tables ----------------------------------------------------------------------------------------


def register_lowering(*operations: str | type) -> Callable[[H], H]:
    """Register a lowering of Keras' operations, by class name, or of a class of the exporter's own.

    A name that this version of Keras lacks is kept aside: the tables serve several versions.

    Raises:
        InputError: The name or class is registered already.
    """
    return _registering_named(_LOWERINGS, (_LOWERINGS, _DECOMPOSITIONS), operations, operation_class, "")


def register_decomposition(*operations: str) -> Callable[[H], H]:
    """Register an expression of Keras' operations by other ``keras.ops``.

    Raises:
        InputError: The name is registered already.
    """
    return _registering_named(_DECOMPOSITIONS, (_LOWERINGS, _DECOMPOSITIONS), operations, operation_class, "")


def register_layer_lowering(*layers: str) -> Callable[[H], H]:
    """Register a lowering of whole layers of Keras.

    Raises:
        InputError: The name is registered already.
    """
    return _registering_named(
        _LAYER_LOWERINGS, (_LAYER_LOWERINGS, _LAYER_DECOMPOSITIONS), layers, layer_class, "layers."
    )


def register_layer_decomposition(*layers: str) -> Callable[[H], H]:
    """Register an expression of Keras' layers by ``keras.ops`` and other layers.

    Raises:
        InputError: The name is registered already.
    """
    return _registering_named(
        _LAYER_DECOMPOSITIONS, (_LAYER_LOWERINGS, _LAYER_DECOMPOSITIONS), layers, layer_class, "layers."
    )


# -- looking up -------------------------------------------------------------------------------------------------------


def find_op(operation: type) -> Handler | None:
    """Return the lowering of a class of operations, or None."""
    return _LOWERINGS.get(operation)


def find_decomposition(operation: type) -> Handler | None:
    """Return the decomposition of a class of operations, or None."""
    return _DECOMPOSITIONS.get(operation)


def find_layer(layer: type) -> Handler | None:
    """Return the lowering of a class of layers, or None when the layer is to be traced."""
    return _inherited(layer, _LAYER_LOWERINGS)


def find_layer_decomposition(layer: type) -> Handler | None:
    """Return the decomposition of a class of layers, or None."""
    return _inherited(layer, _LAYER_DECOMPOSITIONS)


def class_name(kind: type) -> str:
    """Name a class in a message: Keras' own by its short name, any other in full."""
    return kind.__name__ if is_own(kind) else f"{kind.__module__}.{kind.__qualname__}"


def _inherited(layer: type, table: dict[type, Handler]) -> Handler | None:
    for kind in layer.__mro__:
        if kind in table:
            return table[kind]
        if "call" in vars(kind):
            return None
    return None


# -- registering ------------------------------------------------------------------------------------------------------


def _operation(operation: type | Handler | str) -> type:
    if isinstance(operation, str):
        kind = operation_class(operation)
    elif isinstance(operation, type):
        kind = operation if issubclass(operation, keras.Operation) else None
    else:
        kind = operation_of(operation)
    if kind is None:
        raise InputError(
            f"{_spelled(operation)} is no operation of Keras {keras.__version__}; give a class of operations, a "
            "function of keras.ops, or the name of one of Keras' classes"
        )
    return kind


def _layer(layer: type | str) -> type:
    kind = layer_class(layer) if isinstance(layer, str) else layer
    if not isinstance(kind, type) or not issubclass(kind, keras.layers.Layer):
        raise InputError(
            f"{_spelled(layer)} is no layer of Keras {keras.__version__}; give a class of layers, or the name of one "
            "of Keras' own"
        )
    return kind


def _registering(
    table: dict[type, Handler], tables: tuple[dict[type, Handler], ...], kinds: list[type], *, replace: bool
) -> Callable[[H], H]:
    def decorate(handler: H) -> H:
        for kind in kinds:
            if not replace:
                _refuse_second(class_name(kind), next((t[kind] for t in tables if kind in t), None))
            for other in tables:
                other.pop(kind, None)
            table[kind] = handler
        return handler

    return decorate


def _registering_named(
    table: dict[type, Handler],
    tables: tuple[dict[type, Handler], ...],
    names: tuple[str | type, ...],
    resolve: Callable[[str], type | None],
    prefix: str,
) -> Callable[[H], H]:
    def decorate(handler: H) -> H:
        kinds = []
        for name in names:
            if isinstance(name, str):
                _refuse_second(name, _NAMED.get(prefix + name))
                _NAMED[prefix + name] = handler
            kind = resolve(name) if isinstance(name, str) else name
            kinds += [] if kind is None else [kind]
        return _registering(table, tables, kinds, replace=False)(handler)

    return decorate


def _refuse_second(name: str, first: Handler | None) -> None:
    if first is not None:
        raise InputError(
            f"{name} has a handler already ({first.__module__}.{first.__qualname__}); "
            "give replace=True to register_op or register_layer to take its place"
        )


def _spelled(x: Any) -> str:
    return repr(x) if isinstance(x, str) else f"{getattr(x, '__module__', '?')}.{getattr(x, '__qualname__', x)}"
