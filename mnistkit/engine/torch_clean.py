"""What a traced step does not need: copies that copy nothing, constants computed anew, results nobody reads."""

from __future__ import annotations

import math
from typing import Any

import torch

_ATEN = torch.ops.aten
_SAME = {_ATEN.detach.default, _ATEN.lift_fresh_copy.default, _ATEN.alias.default}
_FACTORIES = {
    _ATEN.scalar_tensor.default,
    _ATEN.full.default,
    _ATEN.zeros.default,
    _ATEN.ones.default,
    _ATEN.arange.default,
}
_IN_PLACE = {
    _ATEN.add.Tensor: _ATEN.add_.Tensor,
    _ATEN.sub.Tensor: _ATEN.sub_.Tensor,
    _ATEN.mul.Tensor: _ATEN.mul_.Tensor,
}


def clean(module: Any) -> None:
    """Rewrite a traced module in place; what it does to its inputs stays the same."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _SAME:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    _fold_constants(module)
    graph.eliminate_dead_code()
    _update_in_place(graph)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()


def largest_product(module: Any) -> int:
    """Return the number of multiplications of the largest matrix product or convolution of a traced module."""
    return max((_multiplications(node) for node in module.graph.nodes if node.op == "call_function"), default=0)


def _multiplications(node: Any) -> int:
    if node.target not in (_ATEN.mm.default, _ATEN.bmm.default, _ATEN.addmm.default, _ATEN.convolution.default):
        return 0
    out = _shape(node)
    left, right = node.args[-2:] if node.target is not _ATEN.convolution.default else node.args[:2]
    inner = _shape(left)[-1] if node.target is not _ATEN.convolution.default else math.prod(_shape(right)[1:])
    return int(math.prod(out) * inner)


def _shape(node: Any) -> tuple[int, ...]:
    value = node.meta.get("val")
    meta = value if value is not None else node.meta.get("tensor_meta")
    return tuple(meta.shape) if meta is not None else (0,)


def _is_pure(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.is_mutable and torch.Tag.nondeterministic_seeded not in node.target.tags


def _written(graph: Any) -> set[Any]:
    """Return the nodes that some operation changes in place."""
    found: set[Any] = set()
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable:
            torch.fx.node.map_arg(node.args[0], found.add)
    return found


def _fold_constants(module: Any) -> None:
    graph = module.graph
    written = _written(graph)
    values: dict[Any, Any] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            values[node] = getattr(module, node.target)
        if node.op != "call_function" or not _is_pure(node) or node in written:
            continue
        inputs = node.all_input_nodes
        if not all(i in values and i not in written for i in inputs) or not (inputs or node.target in _FACTORIES):
            continue
        value = node.target(
            *torch.fx.node.map_arg(node.args, values.__getitem__),
            **torch.fx.node.map_arg(node.kwargs, values.__getitem__),
        )
        if not isinstance(value, torch.Tensor):
            continue
        name = f"_folded_{len(values)}"
        module.register_buffer(name, value.detach(), persistent=False)
        with graph.inserting_before(node):
            constant = graph.get_attr(name)
        values[constant] = value
        node.replace_all_uses_with(constant)
        graph.erase_node(node)


def _update_in_place(graph: Any) -> None:
    """Turn ``x.copy_(x + y)`` into ``x.add_(y)`` where nothing else reads the sum or ``x`` in between."""
    for copy in [node for node in graph.nodes if node.target is _ATEN.copy_.default]:
        target, made = copy.args[:2]
        if made.op != "call_function" or made.target not in _IN_PLACE or list(made.users) != [copy]:
            continue
        if made.args[0] is not target or made.kwargs or target.op != "placeholder":
            continue
        if _touched_between(made, copy, target):
            continue
        with graph.inserting_before(copy):
            update = graph.call_function(_IN_PLACE[made.target], (target, made.args[1]))
        copy.replace_all_uses_with(update)
        graph.erase_node(copy)
        graph.erase_node(made)


def _touched_between(first: Any, last: Any, target: Any) -> bool:
    node = first.next
    while node is not last:
        schema = getattr(node.target, "_schema", None)
        if target in node.all_input_nodes or (schema is not None and schema.is_mutable):
            return True
        node = node.next
    return False
