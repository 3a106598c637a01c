"""One record to ONNX nodes: shared by the walk over a model and by the body of a loop."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import KerasTensor, tree

from mnistkit.core.errors import ExportError, InputError, one_line
from mnistkit.export.native import registry
from mnistkit.export.native.casts import cast_as_backend
from mnistkit.export.native.graph import Graph, Value
from mnistkit.export.native.keras_hooks import is_own
from mnistkit.export.native.records import Record, UnsupportedItem, map_leaves
from mnistkit.export.native.registry import UnsupportedOp
from mnistkit.export.native.symbolic_dim import SymbolicDim
from mnistkit.export.native.value_types import WIDE

FAULT = "which is a fault of mnistkit: please report it"
"""How the reason ends for which a handler of the exporter's own refuses by raising."""
_OWN = "mnistkit."

# Operations that look up or move whole elements, for which narrowing the answer is as good as narrowing the argument.
_MOVES = frozenset({"ExpandDims", "GetItem", "Reshape", "Squeeze", "Take", "Transpose"})


def handler_of(record: Record) -> Any:
    """Return the lowering of a record's layer or operation, or None."""
    kind = type(record.target)
    return registry.find_layer(kind) if record.is_layer else registry.find_op(kind)


def no_handler(record: Record) -> UnsupportedItem:
    """Say that a record has no lowering."""
    kind = registry.class_name(type(record.target))
    cure = "no handler for this operation; register one with @register_op or choose another exporter"
    return UnsupportedItem(record.scope or "the top of the model", kind, cure)


def write_record(graph: Graph, record: Record) -> UnsupportedItem | None:
    """Append the nodes of one record; return why that is impossible, or None.

    Raises:
        ExportError: The handler gives another number of values than Keras does.
    """
    handler = handler_of(record)
    if handler is None:
        return no_handler(record)
    held = attributes_of(record) if is_own(type(record.target)) else ()  # the exporter's own have tensors inside them
    if any(id(x) not in graph.tensors for x in tensors_in((record.args, record.kwargs, held))):
        return None if record.is_layer else _no_input(record)

    graph.scope = record.scope
    moves = type(record.target).__name__ in _MOVES

    def argument(x: Any) -> Any:
        if not isinstance(x, KerasTensor) or isinstance(x, SymbolicDim):
            return x
        if not moves:  # an input of a type that the backend does not hold is computed with in the type that it does
            value = graph.tensors[id(x)]
            _note_types(graph, value.dtype, x.dtype)
            graph.tensors[id(x)] = graph.cast(value, x.dtype)
        return graph.tensors[id(x)]

    args, kwargs = map_leaves((record.args, record.kwargs), argument)
    graph.spec = flat(record.outputs)
    try:
        if record.is_layer:
            kwargs = _accepted(handler, kwargs)
        results = handler(graph, record.target, *args, **kwargs)
    except UnsupportedOp as error:
        kind = registry.class_name(type(record.target))
        return UnsupportedItem(
            record.scope or "the top of the model", kind, f"{error}; choose another exporter", error.opset
        )
    except (ExportError, InputError):
        raise
    except Exception as error:
        if not handler.__module__.startswith(_OWN):
            raise
        kind = registry.class_name(type(record.target))
        what = f"its translation fails ({type(error).__name__}: {one_line(error, limit=120)}), {FAULT}"
        return UnsupportedItem(record.scope or "the top of the model", kind, f"{what}; choose another exporter")
    specs = flat(record.outputs)
    values = [results] if isinstance(results, Value) else flat(results)
    if len(values) != len(specs):
        raise ExportError(
            f"the handler for {type(record.target).__name__} gave {len(values)} values for {len(specs)} outputs; fix it"
        )
    for spec, result in zip(specs, values, strict=True):
        value = cast_as_backend(graph, result, spec.dtype)
        if value.shape != spec.shape or value is not result or value.name is None or value.shape is None:
            # the same stored tensor under the shape that Keras gave it: that one knows every free dimension
            alias = Value(
                value.name, value.dtype, tuple(spec.shape), value.const, value.storage_layout, value.name_hint
            )
            alias._logical = value._logical  # noqa: SLF001  keeps the Transpose that was already written
            value = alias
        graph.tensors[id(spec)] = value
    return None


def _note_types(graph: Graph, declared: str, held: str) -> None:
    """Say for the report where the answer depends on the backend that the model was exported under."""
    backend = keras.backend.backend()
    if declared != held:
        graph.notes.add(f"{declared} is computed with as {held}, as under {backend}")
    elif held in WIDE:
        graph.notes.add(f"{held} is computed with as under {backend}; other backends may narrow it")


def _no_input(record: Record) -> UnsupportedItem:
    return UnsupportedItem(
        record.scope or "the top of the model",
        registry.class_name(type(record.target)),
        "it uses a tensor from outside the model; make every tensor an input of the model",
    )


def _accepted(handler: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """A layer handler names the arguments that matter to it; flags such as ``training`` are dropped."""
    parameters = inspect.signature(handler).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return {key: value for key, value in kwargs.items() if key != "training"}
    dropped = {k for k, v in kwargs.items() if k not in parameters and v is not None and k != "training"}
    tensors = [k for k in dropped if isinstance(kwargs[k], Value) and not k.endswith("mask")]
    if tensors:
        raise UnsupportedOp(f"its argument {tensors[0]!r} is not supported")
    return {key: value for key, value in kwargs.items() if key in parameters}


def attributes_of(record: Record) -> Any:
    """Return the attributes of a recorded operation, among which may be tensors and free sizes."""
    return () if record.is_layer else tuple(vars(record.target).values())


def tensors_in(structure: Any) -> list[KerasTensor]:
    """All tensors in a structure, those that a free dimension is an axis of included."""
    found: list[KerasTensor] = []

    def visit(x: Any) -> Any:
        if isinstance(x, SymbolicDim):
            stack = [x]
            while stack:
                head, left, right = stack.pop().expr
                if head == "axis":
                    found.append(left)
                else:
                    stack.extend(side for side in (left, right) if isinstance(side, SymbolicDim))
        elif isinstance(x, KerasTensor):
            found.append(x)
        return x

    map_leaves(structure, visit)
    return found


def flat(structure: Any) -> list[Any]:
    """Return the leaves of a structure of tensors or values, without None."""
    if isinstance(structure, (KerasTensor, Value)):
        return [structure]
    return [x for x in tree.flatten(structure) if x is not None]
