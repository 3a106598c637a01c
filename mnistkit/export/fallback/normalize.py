"""Bring a file from any exporter to the contract: names, free dimensions, versions, and nothing of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from mnistkit.core.contract import IR_VERSION, PRODUCER
from mnistkit.core.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.export.signature import Signature

_OF_ONNX = ("", "ai.onnx", "ai.onnx.ml")


def normalize(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto:
    """Bring a foreign exporter's file to the contract, in place.

    Args:
        model: What an exporter wrote.
        signature: The names, types and shapes that the file is to declare, in the model's own order.

    Raises:
        ExportError: The exporter wrote another number of inputs or outputs than the model has.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)  # without the initializers, which old exporters list as inputs too
    rename(model, signature)
    _strip(model)
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
    graph.name = "model"
    model.producer_name, model.producer_version, model.domain, model.model_version = PRODUCER, "", "", 0
    model.ir_version = ir_version_for(model)
    return model


def unknown_operations(model: onnx.ModelProto) -> list[str]:
    """Names of operations that ONNX does not have, as tf2onnx leaves them in a file."""
    own = {(function.domain, function.name) for function in model.functions}
    found = {
        node.op_type
        for graph in _with_inner(model.graph)
        for node in graph.node
        if node.domain in _OF_ONNX and not onnx.defs.has(node.op_type, node.domain)
        if (node.domain, node.op_type) not in own
    }
    return sorted(found)


def rename(model: onnx.ModelProto, signature: Signature) -> None:
    """Give inputs and outputs the signature's names and shapes, in place.

    Raises:
        ExportError: The file has another number of inputs or outputs than the model.
    """
    graph = model.graph
    for kind, values, wanted in (
        ("inputs", graph.input, signature.inputs),
        ("outputs", graph.output, signature.outputs),
    ):
        if len(values) != len(wanted):
            raise ExportError(f"the exporter wrote {len(values)} {kind}, the model has {len(wanted)}")
    found = [value.name for value in (*graph.input, *graph.output)]
    _rename_all(graph, _renaming(found, [tensor.name for tensor in (*signature.inputs, *signature.outputs)]))
    for values, wanted in ((graph.input, signature.inputs), (graph.output, signature.outputs)):
        for value, tensor in zip(values, wanted, strict=True):
            _declare(value, tensor)


def ir_version_for(model: onnx.ModelProto) -> int:
    """The contract's IR version, or the oldest that the file's opset may be used with."""
    return max(IR_VERSION, int(onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)))


def _declare(value: onnx.ValueInfoProto, tensor: TensorInfo) -> None:
    dims = value.type.tensor_type.shape
    dims.Clear()
    for size in tensor.shape:
        dims.dim.add(**({"dim_value": size} if isinstance(size, int) else {"dim_param": size or ""}))


def _strip(model: onnx.ModelProto) -> None:
    """Remove comments, stack traces and intermediate shapes."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer, *model.functions):
        item.doc_string = ""
        del item.metadata_props[:]


def _renaming(found: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Old names to new ones; a name in the way of a new one moves aside."""
    renaming = dict(zip(found, wanted, strict=True))
    for name in wanted:
        if name not in renaming:
            renaming[name] = f"{name}_inner"
    return {old: new for old, new in renaming.items() if old != new}


def _rename_all(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for slots in (node.input, node.output):
            for index, name in enumerate(slots):
                slots[index] = names.get(name, name)
    for inner in _inner(graph):
        _rename_all(inner, names)


def _inner(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """The bodies of loops and branches."""
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    return [g for a in attributes for g in (*([a.g] if a.HasField("g") else []), *a.graphs)]


def _with_inner(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for inner in _inner(graph):
        yield from _with_inner(inner)
