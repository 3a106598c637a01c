"""Computes the binary cross-entropy of many numbers with vector instructions.

PyTorch's kernel for the CPU has none. Its formula is written as operations that have them, in the same order. The
gradient of the clipping before it is four operations in a trace; one does the same.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch

from mnistkit.training.torch.graph import alike, meta_of, replace, shape_of, written

_ATEN = torch.ops.aten
_ENOUGH = 2048  # numbers; below, the calls of more operations cost more than the logarithms
_LEAST_LOG = -100  # PyTorch's bound of both logarithms


def fuse_losses(graph: Any) -> None:
    """Rewrite the binary cross-entropies in a traced step for the CPU, where they are of numbers clipped before."""
    for node in list(graph.nodes):
        if node.target is _ATEN.binary_cross_entropy.default and _fits(node, written(graph)):
            clipped = node.args[0]
            _replace_loss(graph, node)
            _replace_clip_gradient(graph, clipped)
    graph.lint()


def _fits(node: Any, changing: set[Any]) -> bool:
    """Tell whether a node has one loss for each number, which is NaN or not below 0 nor above 1."""
    clipped, targets, *rest = node.args
    if rest != [None, 0] or node.kwargs or getattr(clipped, "target", None) is not _ATEN.clamp.default:
        return False
    if clipped.kwargs or len(clipped.args) != 3 or any(not isinstance(bound, float) for bound in clipped.args[1:]):  # noqa: PLR2004 - value, from, to
        return False
    _, least, most = clipped.args
    if not 0 <= least <= most <= 1 or {clipped, clipped.args[0], targets, node} & changing:
        return False
    is_large = math.prod(shape_of(clipped)) >= _ENOUGH and meta_of(clipped).dtype == torch.float32
    return is_large and alike(clipped, targets) and alike(clipped, node) and alike(clipped, clipped.args[0])


def _replace_loss(graph: Any, node: Any) -> None:
    """Write ``(y - 1) * max(log(1 - p), -100) - y * max(log(p), -100)``."""
    clipped, targets = node.args[:2]
    with graph.inserting_before(node):
        least = _least_log(graph, clipped, targets)
        logs = graph.call_function(_ATEN.clamp_min.Tensor, (graph.call_function(_ATEN.log.default, (clipped,)), least))
        others = graph.call_function(_ATEN.log1p.default, (graph.call_function(_ATEN.neg.default, (clipped,)),))
        others = graph.call_function(_ATEN.clamp_min.Tensor, (others, least))
        minus_one = graph.call_function(_ATEN.sub.Tensor, (targets, 1))
        product = graph.call_function(_ATEN.mul.Tensor, (minus_one, others))
        loss = graph.call_function(_ATEN.addcmul.default, (product, targets, logs), {"value": -1})
    for made in (logs, others, minus_one, product, loss):
        made.meta = dict(node.meta)
    replace(node, loss)


def _least_log(graph: Any, clipped: Any, targets: Any) -> Any:
    """Return -100, by way of PyTorch's own function, which raises an error where it does for all the numbers.

    The mean is NaN where one of the numbers is. Newer versions of PyTorch also look at the targets.
    An operation whose result nobody reads would be left out.
    """
    mean = graph.call_function(_ATEN.mean.default, (clipped,))
    between = graph.call_function(_ATEN.clamp.default, (mean, 0.0, 1.0))  # the mean's rounding
    extremes = graph.call_function(_ATEN.aminmax.default, (targets,))
    both = [graph.call_function(operator.getitem, (extremes, i)) for i in (0, 1)]
    losses = [graph.call_function(_ATEN.binary_cross_entropy.default, (between, one, None, 0)) for one in both]
    product = graph.call_function(_ATEN.mul.Tensor, (graph.call_function(_ATEN.add.Tensor, tuple(losses)), 0.0))
    nothing = graph.call_function(_ATEN.nan_to_num.default, (product, 0.0))
    return graph.call_function(_ATEN.add.Tensor, (nothing, float(_LEAST_LOG)))


def _replace_clip_gradient(graph: Any, clipped: Any) -> None:
    """Write ``where(value >= least and value <= most, gradient, 0)`` as one operation; no value is NaN here."""
    value, least, most = clipped.args
    for node in list(graph.nodes):
        if node.target is not _ATEN.where.self or not _is_inside(node.args[0], value, least, most):
            continue
        gradient, zero = node.args[1:]
        if not alike(gradient, value) or not _is_zero(graph.owning_module, zero):
            continue
        below = float(np.nextafter(np.float32(least), np.float32(-np.inf)))  # the operation leaves the bounds out
        above = float(np.nextafter(np.float32(most), np.float32(np.inf)))
        with graph.inserting_before(node):
            new = graph.call_function(_ATEN.hardtanh_backward.default, (gradient, value, below, above))
        new.meta = dict(node.meta)
        inside = node.args[0]
        replace(node, new)
        if not inside.users:
            graph.erase_node(inside)  # a change in place, which stays otherwise
    graph.eliminate_dead_code()


def _is_inside(node: Any, value: Any, least: float, most: float) -> bool:
    if getattr(node, "target", None) not in (_ATEN.logical_and.default, _ATEN.logical_and_.default):
        return False
    if any(len(one.users) > 1 for one in node.all_input_nodes):
        return False
    wanted = [(_ATEN.ge.Scalar, (value, least)), (_ATEN.le.Scalar, (value, most))]
    return [(getattr(one, "target", None), getattr(one, "args", ())) for one in node.args] == wanted


def _is_zero(module: Any, node: Any) -> bool:
    """Tell whether a node is the constant 0."""
    constant = getattr(module, node.target) if node.op == "get_attr" else None
    return isinstance(constant, torch.Tensor) and not bool((constant != 0).any())
