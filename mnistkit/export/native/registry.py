"""Who writes what: the table of handlers, open to users.

Three kinds:

* an *operation handler* turns one recorded ``keras.ops`` operation into ONNX nodes:
  ``handler(graph, op, *args, **kwargs)``, the arguments being those of the operation's ``call``;
* a *layer handler* does the same for a whole layer that cannot be traced: ``handler(graph, layer, *args, **kwargs)``;
* a *rewrite* expresses an operation or a layer by other ``keras.ops`` calls, on symbolic tensors, during tracing:
  ``rewrite(op, *args, **kwargs)`` or ``rewrite(layer, *args, **kwargs)``.

All are found by class, through the method resolution order for layers, so that a subclass inherits its parent's handler
unless it overrides ``call``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)

_OPS: dict[str, Handler] = {}
_REWRITES: dict[str, Handler] = {}
_LAYERS: dict[str, Handler] = {}
_USER_LAYERS: dict[type, Handler] = {}
_LAYER_REWRITES: dict[str, Handler] = {}


class Unwritable(Exception):  # noqa: N818  a signal inside the writer, never seen by a user
    """Raise it from a handler that meets a configuration that ONNX cannot express; the message says why.

    The writer collects it with the path of the layer and goes on, so that all are listed at once.
    """


def register_op(*operations: type | str) -> Callable[[H], H]:
    """Register a handler for operation classes, given as classes or by class name.

    Returns:
        A decorator that returns the handler unchanged.
    """

    def decorate(handler: H) -> H:
        for operation in operations:
            _OPS[operation if isinstance(operation, str) else operation.__name__] = handler
        return handler

    return decorate


def register_rewrite(*operations: str) -> Callable[[H], H]:
    """Register an expression of operation classes by other ``keras.ops``."""

    def decorate(handler: H) -> H:
        for operation in operations:
            _REWRITES[operation] = handler
        return handler

    return decorate


def register_layer(*layers: type | str) -> Callable[[H], H]:
    """Register a handler for whole layers: a class of yours, or by name a class of ``keras.layers``.

    Example:
        >>> @register_layer(MyScale)
        ... def my_scale(graph, layer, x):
        ...     return graph.pointwise("Mul", x, graph.weight(layer.factor))

    The handler gets the graph, the layer and the values of the arguments of ``layer.call`` (masks included, when the
    layer's ``call`` takes one), and returns values in the structure of the layer's output.
    """

    def decorate(handler: H) -> H:
        for layer in layers:
            if isinstance(layer, str):
                _LAYERS[layer] = handler
            else:
                _USER_LAYERS[layer] = handler
        return handler

    return decorate


def register_layer_rewrite(*layers: str) -> Callable[[H], H]:
    """Register an expression of classes of ``keras.layers`` by ``keras.ops`` and other layers."""

    def decorate(handler: H) -> H:
        for layer in layers:
            _LAYER_REWRITES[layer] = handler
        return handler

    return decorate


def find_op(operation: type) -> Handler | None:
    """Return the handler of an operation class, or None."""
    return _OPS.get(operation.__name__)


def find_rewrite(operation: type) -> Handler | None:
    """Return the rewrite of an operation class, or None."""
    return _REWRITES.get(operation.__name__)


def find_layer(layer: type) -> Handler | None:
    """Return the handler of a layer class, or None when the layer is to be traced."""
    return _find(layer, _LAYERS, _USER_LAYERS)


def find_layer_rewrite(layer: type) -> Handler | None:
    """Return the rewrite of a layer class, or None."""
    return _find(layer, _LAYER_REWRITES, {})


def _find(layer: type, named: dict[str, Handler], classes: dict[type, Handler]) -> Handler | None:
    for kind in layer.__mro__:
        if kind in classes:
            return classes[kind]
        if kind.__module__.startswith("keras.") and kind.__name__ in named:
            return named[kind.__name__]
        if "call" in vars(kind):
            return None
    return None


def known() -> dict[str, list[str]]:
    """Return the names of everything with a handler, for tables and messages."""
    layers = sorted({*_LAYERS, *_LAYER_REWRITES}) + sorted(kind.__name__ for kind in _USER_LAYERS)
    return {"operations": sorted(_OPS), "rewrites": sorted(_REWRITES), "layers": layers}
