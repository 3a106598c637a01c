"""Removes what a traced step does not need: needless copies, repeated constants, unused results."""

from __future__ import annotations

from typing import Any

import torch

from mnistkit.training.torch import fuse_adam, fuse_foreach, fuse_losses, peephole
from mnistkit.training.torch.graph import is_pure, meta_of, replace, written

_ATEN = torch.ops.aten
_SAME = {_ATEN.detach.default, _ATEN.alias.default}
_FACTORIES = {
    _ATEN.scalar_tensor.default,
    _ATEN.full.default,
    _ATEN.zeros.default,
    _ATEN.ones.default,
    _ATEN.arange.default,
}
_BY_SHAPE = {_ATEN.ones_like.default, _ATEN.zeros_like.default, _ATEN.full_like.default}


def simplify(module: Any, *, states: int, device: Any) -> list[list[int]]:
    """Rewrite a traced module in place; what it does to its inputs stays the same.

    Args:
        module: the step; its first inputs are the variables.
        states: number of variables.
        device: where the step runs.

    Returns:
        For each input added at the end: the numbers of the variables that must be its views, end to end.
    """
    graph = module.graph
    changing = written(graph)
    for node in list(graph.nodes):
        # a constant that the step counts in is copied anew in every step
        if node.target in _SAME or (node.target is _ATEN.lift_fresh_copy.default and node not in changing):
            replace(node, node.args[0])
    constants = _fold_constants(module, device)
    peephole.remove_redundant(graph, constants)
    _fold_constants(module, device)
    _merge_equals(graph)
    graph.eliminate_dead_code()
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if torch.device(device).type == "cpu":
        fuse_losses.fuse_losses(graph)
        fuse_adam.fuse_adam(module, inputs[:states])
    joined = fuse_foreach.fuse_foreach(module, inputs[:states])
    peephole.fuse_pairs(graph)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()
    return [[inputs.index(node) for node in tensors] for tensors in joined]


def _fold_constants(module: Any, device: Any) -> dict[Any, Any]:
    """Compute what depends on no input once and for all; return the constants by their nodes."""
    changing = written(module.graph)
    values: dict[Any, Any] = {}
    for node in list(module.graph.nodes):
        if node.op == "get_attr" and node not in changing:
            values[node] = getattr(module, node.target)
        if node.op != "call_function" or not is_pure(node) or node in changing:
            continue
        inputs, meta = node.all_input_nodes, meta_of(node)
        if node.target in _BY_SHAPE and meta is not None:
            value = node.target(torch.empty(tuple(meta.shape), dtype=meta.dtype, device=device), *node.args[1:])
        elif all(i in values for i in inputs) and (inputs or node.target in _FACTORIES):
            value = node.target(
                *torch.fx.node.map_arg(node.args, values.__getitem__),
                **torch.fx.node.map_arg(node.kwargs, values.__getitem__),
            )
        else:
            continue
        if isinstance(value, torch.Tensor):
            values[_constant(module, node, value.detach())] = value.detach()
    return values


def _constant(module: Any, node: Any, value: Any) -> Any:
    """Put a constant in the place of a node."""
    name = f"_folded_{sum(1 for _ in module.buffers())}"
    module.register_buffer(name, value, persistent=False)
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    constant.meta["val"] = value
    replace(node, constant)
    return constant


def _merge_equals(graph: Any) -> None:
    """Compute once what is computed twice from the same unchanging inputs."""
    changing = written(graph)
    known: dict[Any, Any] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or not is_pure(node) or node in changing:
            continue
        if any(source in changing for source in node.all_input_nodes):
            continue
        key = (node.target, repr(node.args), repr(sorted(node.kwargs.items())))
        if key in known:
            replace(node, known[key])
        else:
            known[key] = node
