"""Joins the optimizer's lists of small tensors into one buffer each, so that one operation updates all variables.

Keras' optimizers under PyTorch update lists of tensors element by element (``torch._foreach_*``). On the CPU each of
these operations still visits the tensors one by one. In a joined buffer the tensors lie end to end, as views of it.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from mnistkit.training.torch.graph import VIEWS, meta_of, shape_of, written

_ATEN = torch.ops.aten
_PREFIX = "_foreach_"
# element by element, so that joining changes no number
_ELEMENTWISE = frozenset(
    "abs add addcdiv addcmul div lerp maximum minimum mul neg pow reciprocal sign sqrt sub".split()  # noqa: SIM905 - one line
)
_OVERLOADS = {"List": "Tensor", "Scalar": "Scalar", "Tensor": "Tensor", "default": "default"}
_SMALL = 2**20  # elements of a list; beyond, the arithmetic costs more than the calls, and joining only memory

TensorList = tuple[Any, ...]
"""The nodes of one list of tensors."""


def fuse_foreach(module: Any, state: list[Any]) -> list[TensorList]:
    """Rewrite the operations on lists; leave the module alone where one of them cannot be joined.

    Args:
        module: a traced step.
        state: the inputs that may become views of a buffer.

    Returns:
        For each input added at the end: the inputs that must be views of it.
    """
    graph = module.graph
    calls = [node for node in graph.nodes if node.op == "call_function" and _PREFIX in str(node.target)]
    if not calls or not all(_operation_on_joined(call) for call in calls) or not _same_layout(calls):
        return []
    changing = written(graph)
    if not all(_can_be_joined(tensors, changing) for call in calls for tensors in _tensor_lists(call)):
        return []
    inputs = list(dict.fromkeys(b for call in calls for b in _tensor_lists(call) if b[0].op == "placeholder"))
    views = [node for tensors in inputs for node in tensors]
    if len(views) != len(set(views)) or not set(views) <= set(state):
        return []
    joined: dict[TensorList, Any] = {}
    for i, tensors in enumerate(inputs):
        last = [node for node in graph.nodes if node.op == "placeholder"][-1]
        with graph.inserting_after(last):
            joined[tensors] = _with_size(graph.placeholder(f"joined_{i}"), tensors)
        joined[tensors].meta[VIEWS] = tensors
    for call in calls:
        _replace_call(graph, call, joined, changing)
    for call in reversed(calls):
        for result in list(call.users):
            graph.erase_node(result)
        graph.erase_node(call)
    graph.lint()
    module.recompile()
    return inputs


def _tensor_lists(call: Any) -> list[TensorList]:
    return [tuple(arg) for arg in call.args if isinstance(arg, list | tuple)]


def _operation_on_joined(call: Any) -> Any:
    """Return the operation on one tensor that does what a call does on lists, or None."""
    name, _, overload = str(call.target).removeprefix(f"aten.{_PREFIX}").partition(".")
    if name.rstrip("_") not in _ELEMENTWISE or overload not in _OVERLOADS:
        return None
    if name.rstrip("_") in ("addcdiv", "addcmul"):
        overload = {"Scalar": "default"}.get(overload, "none")
    if name in ("maximum_", "minimum_"):  # on one tensor they exist with an output only
        name, overload = name.rstrip("_"), "out"
    return getattr(getattr(_ATEN, name, None), _OVERLOADS.get(overload, overload), None)


def _same_layout(calls: list[Any]) -> bool:
    layouts = []
    for call in calls:
        for tensors in _tensor_lists(call):
            metas = [meta_of(node) for node in tensors]
            layouts.append([None if meta is None else (tuple(meta.shape), meta.dtype) for meta in metas])
    first = layouts[0]
    known = [part for part in first if part is not None]
    if len(known) != len(first) or len(first) == 1 or len({dtype for _, dtype in known}) != 1:
        return False
    return all(layout == first for layout in layouts) and sum(math.prod(shape) for shape, _ in known) <= _SMALL


def _can_be_joined(tensors: TensorList, changing: set[Any]) -> bool:
    """Tell whether a list is all inputs, or all results of one call in order, or nowhere changed."""
    if any(node.op == "placeholder" for node in tensors):
        return all(node.op == "placeholder" for node in tensors)
    if all(node.target is operator.getitem for node in tensors):
        return [node.args for node in tensors] == [(tensors[0].args[0], i) for i in range(len(tensors))]
    return not changing.intersection(tensors)


def _replace_call(graph: Any, call: Any, joined: dict[TensorList, Any], changing: set[Any]) -> None:
    with graph.inserting_before(call):
        for tensors in _tensor_lists(call):
            if tensors not in joined:
                # reshaping copies, so a copy before it is one too many
                sources = [
                    node.args[0] if node.target is _ATEN.clone.default and node.args[0] not in changing else node
                    for node in tensors
                ]
                flat = [graph.call_function(_ATEN.reshape.default, (node, [-1])) for node in sources]
                joined[tensors] = _with_size(graph.call_function(_ATEN.cat.default, (flat,)), tensors)
        target = _operation_on_joined(call)
        args = [joined[tuple(arg)] if isinstance(arg, list | tuple) else arg for arg in call.args]
        kwargs = {**call.kwargs, "out": args[0]} if target in (_ATEN.maximum.out, _ATEN.minimum.out) else call.kwargs
        made = _with_size(graph.call_function(target, tuple(args), kwargs), _tensor_lists(call)[0])
    results = sorted((user for user in call.users if user.target is operator.getitem), key=lambda user: user.args[1])
    if len(results) == len(_tensor_lists(call)[0]):
        joined[tuple(results)] = made
    sizes = [math.prod(shape_of(node)) for node in _tensor_lists(call)[0]]
    for node in results:
        readers = [user for user in node.users if _PREFIX not in str(user.target)]
        if not readers:
            continue
        offset = sum(sizes[: node.args[1]])
        with graph.inserting_before(node):
            part = graph.call_function(_ATEN.slice.Tensor, (made, 0, offset, offset + sizes[node.args[1]]))
            part = graph.call_function(_ATEN.view.default, (part, list(shape_of(node))))
        part.meta = dict(node.meta)
        for user in readers:
            user.replace_input_with(node, part)


def _with_size(node: Any, tensors: TensorList) -> Any:
    node.meta["val"] = torch.empty(
        sum(math.prod(shape_of(part)) for part in tensors), dtype=meta_of(tensors[0]).dtype, device="meta"
    )
    return node
