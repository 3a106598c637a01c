"""What a graph of ATen operations tells about its nodes: shapes, purity, and whose memory changes."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from mnistkit.training.torch.hooks import schema_of
from mnistkit.training.torch.opaque import part_of

_ATEN = torch.ops.aten
VIEWS = "mnistkit_views"
"""Where an input notes the inputs that are views of it."""

_PRODUCTS = {_ATEN.mm.default, _ATEN.bmm.default, _ATEN.addmm.default}


def meta_of(node: Any) -> Any:
    """Return something with the shape and dtype that a node had while tracing, or None."""
    value = node.meta.get("val")
    meta = value if value is not None else node.meta.get("tensor_meta")
    return meta if hasattr(meta, "shape") else None


def shape_of(node: Any) -> tuple[int, ...]:
    """Return the shape that a node had while tracing; ``(0,)`` where it is not known."""
    meta = meta_of(node)
    return tuple(meta.shape) if meta is not None else (0,)


def alike(one: Any, two: Any) -> bool:
    """Tell whether two nodes are known to have the same shape and dtype."""
    a, b = meta_of(one), meta_of(two)
    return a is not None and b is not None and tuple(a.shape) == tuple(b.shape) and a.dtype == b.dtype


def is_pure(node: Any) -> bool:
    """Tell whether a node depends on its inputs alone and changes nothing."""
    schema = schema_of(node.target)
    if schema is None or part_of(node) is not None:
        return False
    return not schema.is_mutable and torch.Tag.nondeterministic_seeded not in node.target.tags


def replace(node: Any, other: Any) -> None:
    """Use another node wherever this one is used, and erase it."""
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)


def targets(node: Any) -> list[Any]:
    """Return the nodes that a node changes in place."""
    schema = schema_of(node.target)
    return _aliases(node, schema, to_write=True) if schema is not None and schema.is_mutable else []


def written(graph: Any) -> set[Any]:
    """Return the nodes whose memory some operation changes, through themselves or through another view of it."""
    owners = _owners(graph)
    changed = {owner for node in graph.nodes for target in targets(node) for owner in owners[target]}
    return {node for node, owning in owners.items() if owning & changed}


def share_memory(graph: Any, some: list[Any], others: list[Any]) -> bool:
    """Tell whether one of some nodes may view the memory of one of the others."""
    owners = _owners(graph)
    memory = set().union(*(owners[node] for node in others))
    return any(owners[node] & memory for node in some)


def untouched_between(graph: Any, first: Any, last: Any, read: list[Any]) -> bool:
    """Tell whether no operation between two nodes changes the memory of the given ones."""
    owners = _owners(graph)
    watched = {owner for node in read for owner in owners[node]}
    node = first.next
    while node is not last:
        if any(owners[target] & watched for target in targets(node)):
            return False
        node = node.next
    return True


def owns_memory_until(graph: Any, value: Any, node: Any) -> bool:
    """Tell whether a value has memory of its own, which nobody but ``node`` reads from there on."""
    owners = _owners(graph)
    if owners[value] != {value}:
        return False
    place = {other: i for i, other in enumerate(graph.nodes)}
    views = [other for other, owning in owners.items() if value in owning and place[other] < place[node]]
    return all(place[user] <= place[node] for view in views for user in view.users)


def largest_product(graph: Any) -> int:
    """Return the number of multiplications of the largest matrix product or convolution."""
    return max((_multiplications(node) for node in graph.nodes if node.op == "call_function"), default=0)


def _owners(graph: Any) -> dict[Any, set[Any]]:
    """Return for each node the nodes that made the memory which its result may share."""
    owners: dict[Any, set[Any]] = {}
    for node in graph.nodes:
        sources = [*_shared(node), *node.meta.get(VIEWS, ())]
        found: set[Any] = set().union(*(owners[source] for source in sources))
        owners[node] = found or {node}
    return owners


def _shared(node: Any) -> list[Any]:
    if node.target is operator.getitem:
        return [node.args[0]]
    schema = schema_of(node.target)
    if schema is None or all(out.alias_info is None for out in schema.returns):
        return []
    return _aliases(node, schema, to_write=False)


def _aliases(node: Any, schema: Any, *, to_write: bool) -> list[Any]:
    found: list[Any] = []
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and (argument.alias_info.is_write or not to_write):
            value = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name)
            torch.fx.node.map_arg(value, found.append)
    return found


def _multiplications(node: Any) -> int:
    part = part_of(node)
    if part is not None:
        return part.multiplications
    is_convolution = node.target is _ATEN.convolution.default
    if node.target not in _PRODUCTS and not is_convolution:
        return 0
    left, right = node.args[:2] if is_convolution else node.args[-2:]
    inner = math.prod(shape_of(right)[1:]) if is_convolution else shape_of(left)[-1]
    return int(math.prod(shape_of(node)) * inner)
