"""Patterns of a few operations that can be replaced by fewer; each gives the same numbers, or rounds once less."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training.torch.graph import (
    alike,
    meta_of,
    owns_memory_until,
    replace,
    shape_of,
    untouched_between,
    written,
)
from mnistkit.training.torch.hooks import CAST

if TYPE_CHECKING:
    from collections.abc import Callable

_ATEN = torch.ops.aten
_ARGMAX = {_ATEN.argmax.default, _ATEN.argmin.default}
_IN_PLACE = {
    _ATEN.add.Tensor: _ATEN.add_.Tensor,
    _ATEN.sub.Tensor: _ATEN.sub_.Tensor,
    _ATEN.mul.Tensor: _ATEN.mul_.Tensor,
}
_OUT_OF_PLACE = {in_place: new for new, in_place in _IN_PLACE.items()}
_MULTIPLY = {_ATEN.mul.Scalar, _ATEN.mul.Tensor}
_ELEMENTWISE = {_ATEN.div.Scalar, _ATEN.div.Tensor, *_MULTIPLY, _ATEN.neg.default}
_EXACT_IN_FLOAT32 = 2**24  # integers up to it are the same number in int64, int32 and float32


def remove_redundant(graph: Any, constants: dict[Any, Any]) -> None:
    """Drop operations that give one of their inputs, and shorten chains of conversions."""
    _functionalize(graph)
    for _ in range(2):  # what becomes simple because its readers did
        _one_pass(graph, constants)
        graph.eliminate_dead_code()


def _one_pass(graph: Any, constants: dict[Any, Any]) -> None:
    changing = written(graph)
    for node in list(graph.nodes):
        if node.op != "call_function" or node in changing:
            continue
        other = _fold_noop(node, constants)
        if other is not None and other not in changing and alike(node, other):
            replace(node, other)
            continue
        shorter = _shorten_chain(node)
        if shorter is not None and not any(
            source in changing for source in shorter[1] if isinstance(source, torch.fx.Node)
        ):
            with graph.inserting_before(node):
                new = graph.call_function(*shorter)
            new.meta = dict(node.meta)
            replace(node, new)
            continue
        if node.args and _is_op(node.args[0]):
            _compute_on_smaller_side(graph, node, node.args[0], changing)


def _functionalize(graph: Any) -> None:
    """Turn changes in place into operations with a result of their own, where a copy becomes needless by it.

    Changes in place stop the other patterns. Two cases: a value is copied and then changed; a value is copied into new
    memory.
    """
    for node in list(graph.nodes):
        if node.target is _ATEN.copy_.default and _is_fresh_buffer(node.args[0]) and alike(*node.args[:2]):
            with graph.inserting_before(node):
                new = graph.call_function(
                    _ATEN.clone.default, (node.args[1],), {"memory_format": torch.contiguous_format}
                )
            new.meta = dict(node.meta)
            replace(node, new)
            continue
        if node.target not in _OUT_OF_PLACE or not _is_op(node.args[0]):
            continue
        value = node.args[0]
        copies = [user for user in value.users if user.target is _ATEN.clone.default and not user.kwargs]
        if not copies or not alike(value, node) or not owns_memory_until(graph, value, node):
            continue
        with graph.inserting_before(node):
            new = graph.call_function(_OUT_OF_PLACE[node.target], node.args, node.kwargs)
        new.meta = dict(node.meta)
        replace(node, new)


def _is_fresh_buffer(node: Any) -> bool:
    """Tell whether a node is memory in the usual order that nobody else uses."""
    new = getattr(node, "target", None) is _ATEN.new_empty_strided.default
    return new and len(node.users) == 1 and meta_of(node).is_contiguous()


def _is_expanded_times_scaled(node: Any, inner: Any) -> bool:
    product = node.target is _ATEN.mul.Tensor and inner.target is _ATEN.expand.default
    return product and _is_scaled_by_power_of_two(node.args[1])


def _is_scaled_by_power_of_two(node: Any) -> bool:
    """Tell whether a node, read once, is a product with a power of two, which rounds nothing."""
    times = getattr(node, "target", None) in _MULTIPLY and len(node.users) == 1
    if not times or not isinstance(node.args[1], int | float):
        return False
    return alike(node, node.args[0]) and abs(math.frexp(node.args[1])[0]) == 0.5  # noqa: PLR2004 - of 2**n


def _compute_on_smaller_side(graph: Any, node: Any, inner: Any, changing: set[Any]) -> None:
    """Compute before a tensor is expanded, or after it is summed, not the other way round."""
    read = {inner, *inner.all_input_nodes, *(source for arg in node.all_input_nodes for source in arg.all_input_nodes)}
    if read & changing:
        return
    alone = node.all_input_nodes == [inner]
    if alone and node.target in _ELEMENTWISE and inner.target is _ATEN.expand.default:  # f(expand(x)) is expand(f(x))
        steps = [(node.target, (inner.args[0], *node.args[1:])), (inner.target, inner.args[1:])]
    elif node.target is _ATEN.sum.dim_IntList and inner.target is _ATEN.neg.default:  # sum(-x) is -sum(x)
        steps = [(node.target, (inner.args[0], *node.args[1:])), (inner.target, ())]
    elif _is_expanded_times_scaled(node, inner):  # expand(x) * (y * 2) is expand(x * 2) * y
        scaled = node.args[1]
        steps = [(scaled.target, (inner, scaled.args[1])), (node.target, (scaled.args[0],))]
    else:
        return
    (first, first_args), (second, second_args) = steps
    with graph.inserting_before(node):
        small = graph.call_function(first, first_args, node.kwargs)
        small.meta["val"] = first(meta_of(first_args[0]), *first_args[1:], **node.kwargs)
        new = graph.call_function(second, (small, *second_args))
    new.meta = dict(node.meta)
    replace(node, new)


def fuse_pairs(graph: Any) -> None:
    """Replace two operations by the one that does both."""
    for node in list(graph.nodes):
        rule = _FUSIONS.get(node.target)
        fused = rule(node) if rule is not None else None
        if fused is None:
            continue
        made, target, args, kwargs = fused
        if list(made.users) != [node] or not untouched_between(graph, made, node, made.all_input_nodes):
            continue
        with graph.inserting_before(node):
            new = graph.call_function(target, args, kwargs)
        new.meta = dict(node.meta)
        replace(node, new)
        graph.erase_node(made)


def _fold_noop(node: Any, constants: dict[Any, Any]) -> Any:
    """Return the input that a node only passes on, or None."""
    if node.target is _ATEN.where.self and node.args[0] in constants:
        condition = constants[node.args[0]]
        if condition.numel() and bool((condition == condition.reshape(-1)[0]).all()):
            return node.args[1 if bool(condition.reshape(-1)[0]) else 2]
    if node.target in (_ATEN.mul.Tensor, _ATEN.div.Tensor):
        pairs = [node.args, node.args[::-1]] if node.target is _ATEN.mul.Tensor else [node.args]
        for value, one in pairs:
            if one in constants and bool((constants[one] == 1).all()):
                return value
    if node.target in (_ATEN.sum.default, _ATEN.mean.default) and shape_of(node.args[0]) == ():
        return node.args[0]
    if node.target is _ATEN.pow.Tensor_Scalar and node.args[1] == 1:
        return node.args[0]
    if node.target is _ATEN.clone.default and alike(node, node.args[0]):
        return node.args[0] if meta_of(node.args[0]).stride() == meta_of(node).stride() else None
    if node.target in (_ATEN.expand.default, _ATEN.view.default) and shape_of(node) == shape_of(node.args[0]):
        return node.args[0]
    return None


def _shorten_chain(node: Any) -> tuple[Any, ...] | None:
    """Return target, arguments and keywords of an operation that gives what a node gives in fewer steps."""
    if node.target is _ATEN.eq.Tensor:
        both = [_argmax_behind_casts(value) for value in node.args]
        if None not in both:
            return _ATEN.eq.Tensor, tuple(both), {}
    if node.target is _ATEN.clone.default and getattr(node.args[0], "target", None) is _ATEN.clone.default:
        return node.target, node.args[0].args, node.kwargs
    if node.target is _ATEN.sum.default and not node.kwargs:
        cast = node.args[0]
        inner = cast.args[0] if _is_cast(cast) else None
        if inner is not None and meta_of(inner) is not None and meta_of(inner).dtype == torch.bool:
            return _ATEN.sum.default, (inner,), {"dtype": cast.kwargs["dtype"]}
    return None


def _argmax_behind_casts(node: Any) -> Any:
    """Return the argmax that a node converts to a type which holds it exactly, or None."""
    while _is_cast(node) and node.kwargs["dtype"] in (torch.int32, torch.int64, torch.float32):
        node = node.args[0]
    if getattr(node, "target", None) not in _ARGMAX or max(shape_of(node.args[0]), default=0) > _EXACT_IN_FLOAT32:
        return None
    return node if len(node.args) > 1 and node.args[1] is not None else None


def _is_cast(node: Any) -> bool:
    return getattr(node, "target", None) is CAST and set(node.kwargs) == {"dtype"}


def _fuse_copy_of_update(node: Any) -> tuple[Any, ...] | None:
    """``x.copy_(x + y)`` is ``x.add_(y)``."""
    target, made = node.args[:2]
    fits = made.op == "call_function" and made.target in _IN_PLACE and made.args[0] is target
    if not fits or not alike(made, target) or target.op != "placeholder":
        return None
    return made, _IN_PLACE[made.target], (target, *made.args[1:]), made.kwargs


def _fuse_into_addcmul(node: Any) -> tuple[Any, ...] | None:
    """``v.add_(a * b, alpha=c)`` is ``v.addcmul_(a, b, value=c)``; the same for a quotient.

    And ``(a * b).add_(v)``, a product that nobody else reads, is ``addcmul(v, a, b)``.
    """
    target, made = node.args
    if _is_mul(target) and not node.kwargs and _is_float(made, like=target) and alike(node, target):
        return target, _ATEN.addcmul.default, (made, *target.args), {}
    both = {_ATEN.mul.Tensor: _ATEN.addcmul_.default, _ATEN.div.Tensor: _ATEN.addcdiv_.default}
    if not _is_op(made) or made.target not in both or not meta_of(target).dtype.is_floating_point:
        return None
    if not all(_is_op(arg) or getattr(arg, "op", "") == "placeholder" for arg in made.args) or not alike(made, target):
        return None
    return made, both[made.target], (target, *made.args), {"value": node.kwargs.get("alpha", 1)}


def _fuse_into_addmm(node: Any) -> tuple[Any, ...] | None:
    """``x @ w + b`` is one operation where ``b`` is a vector, and so is ``v + a * b``."""
    if _is_mul(node.args[1]) and not node.kwargs and alike(node, node.args[1]) and alike(node, node.args[0]):
        return node.args[1], _ATEN.addcmul.default, (node.args[0], *node.args[1].args), {}
    made, bias = node.args
    if not _is_op(made) or made.target is not _ATEN.mm.default or node.kwargs or not alike(node, made):
        return None
    if getattr(bias, "op", "") not in ("placeholder", "get_attr") or shape_of(bias) != shape_of(made)[1:]:
        return None
    return made, _ATEN.addmm.default, (bias, *made.args), {}


def _is_mul(node: Any) -> bool:
    """Tell whether a node is a product of two tensors of floats."""
    return getattr(node, "target", None) is _ATEN.mul.Tensor and all(_is_float(arg, like=node) for arg in node.args)


def _is_float(value: Any, *, like: Any) -> bool:
    """Tell whether a value is a tensor of floats, of the same type as another's."""
    one, two = (meta_of(node) if isinstance(node, torch.fx.Node) else None for node in (value, like))
    return one is not None and two is not None and one.dtype == two.dtype and one.dtype.is_floating_point


def _is_op(node: Any) -> bool:
    return getattr(node, "op", "") == "call_function"


_FUSIONS: dict[Any, Callable[[Any], tuple[Any, ...] | None]] = {
    _ATEN.copy_.default: _fuse_copy_of_update,
    _ATEN.add_.Tensor: _fuse_into_addcmul,
    _ATEN.add.Tensor: _fuse_into_addmm,
}
