"""One operation instead of one per variable: the optimizer's lists of small tensors joined end to end.

Keras' optimizers under PyTorch update lists of tensors element by element (``torch._foreach_*``); on the CPU each of
these still visits the tensors one by one. Joined in one buffer, whose parts are the single tensors, a list is updated
at once.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from mnistkit.training.torch.graph import PARTS, meta_of, shape_of, written

_ATEN = torch.ops.aten
_PREFIX = "_foreach_"
# element by element, so that joining changes no number
_ELEMENTWISE = frozenset(
    "abs add addcdiv addcmul div lerp maximum minimum mul neg pow reciprocal sign sqrt sub".split()  # noqa: SIM905 - one line
)
_OVERLOADS = {"List": "Tensor", "Scalar": "Scalar", "Tensor": "Tensor", "default": "default"}
_SMALL = 2**20  # elements of a list; beyond, the arithmetic costs more than the calls, and joining only memory

Bundle = tuple[Any, ...]  # the nodes of one list


def join_lists(module: Any, state: list[Any]) -> list[Bundle]:
    """Rewrite the operations on lists; leave the module alone where one of them cannot be joined.

    Args:
        module: a traced step.
        state: the inputs that may become parts of a buffer.

    Returns:
        One bundle for each input added at the end: the inputs that must be its parts.
    """
    graph = module.graph
    calls = [node for node in graph.nodes if node.op == "call_function" and _PREFIX in str(node.target)]
    if not calls or not all(_on_whole(call) for call in calls) or not _same_layout(calls):
        return []
    changing = written(graph)
    if not all(_can_be_whole(bundle, changing) for call in calls for bundle in _bundles(call)):
        return []
    inputs = list(dict.fromkeys(b for call in calls for b in _bundles(call) if b[0].op == "placeholder"))
    parts = [node for bundle in inputs for node in bundle]
    if len(parts) != len(set(parts)) or not set(parts) <= set(state):
        return []
    whole: dict[Bundle, Any] = {}
    for i, bundle in enumerate(inputs):
        last = [node for node in graph.nodes if node.op == "placeholder"][-1]
        with graph.inserting_after(last):
            whole[bundle] = _sized(graph.placeholder(f"joined_{i}"), bundle)
        whole[bundle].meta[PARTS] = bundle
    for call in calls:
        _rewrite(graph, call, whole, changing)
    for call in reversed(calls):
        for result in list(call.users):
            graph.erase_node(result)
        graph.erase_node(call)
    graph.lint()
    module.recompile()
    return inputs


def _bundles(call: Any) -> list[Bundle]:
    return [tuple(arg) for arg in call.args if isinstance(arg, list | tuple)]


def _on_whole(call: Any) -> Any:
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
        for bundle in _bundles(call):
            metas = [meta_of(node) for node in bundle]
            layouts.append([None if meta is None else (tuple(meta.shape), meta.dtype) for meta in metas])
    first = layouts[0]
    known = [part for part in first if part is not None]
    if len(known) != len(first) or len(first) == 1 or len({dtype for _, dtype in known}) != 1:
        return False
    return all(layout == first for layout in layouts) and sum(math.prod(shape) for shape, _ in known) <= _SMALL


def _can_be_whole(bundle: Bundle, changing: set[Any]) -> bool:
    """Tell whether a list is all inputs, or all results of one call in order, or nowhere changed."""
    if any(node.op == "placeholder" for node in bundle):
        return all(node.op == "placeholder" for node in bundle)
    if all(node.target is operator.getitem for node in bundle):
        return [node.args for node in bundle] == [(bundle[0].args[0], i) for i in range(len(bundle))]
    return not changing.intersection(bundle)


def _rewrite(graph: Any, call: Any, whole: dict[Bundle, Any], changing: set[Any]) -> None:
    with graph.inserting_before(call):
        for bundle in _bundles(call):
            if bundle not in whole:
                # reshaping copies, so a copy before it is one too many
                sources = [
                    node.args[0] if node.target is _ATEN.clone.default and node.args[0] not in changing else node
                    for node in bundle
                ]
                flat = [graph.call_function(_ATEN.reshape.default, (node, [-1])) for node in sources]
                whole[bundle] = _sized(graph.call_function(_ATEN.cat.default, (flat,)), bundle)
        target = _on_whole(call)
        args = [whole[tuple(arg)] if isinstance(arg, list | tuple) else arg for arg in call.args]
        kwargs = {**call.kwargs, "out": args[0]} if target in (_ATEN.maximum.out, _ATEN.minimum.out) else call.kwargs
        made = _sized(graph.call_function(target, tuple(args), kwargs), _bundles(call)[0])
    results = sorted((user for user in call.users if user.target is operator.getitem), key=lambda user: user.args[1])
    if len(results) == len(_bundles(call)[0]):
        whole[tuple(results)] = made
    sizes = [math.prod(shape_of(node)) for node in _bundles(call)[0]]
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


def _sized(node: Any, bundle: Bundle) -> Any:
    node.meta["val"] = torch.empty(
        sum(math.prod(shape_of(part)) for part in bundle), dtype=meta_of(bundle[0]).dtype, device="meta"
    )
    return node
