"""Traces of a user's own train step under PyTorch: what it may do that Keras' does not, and what is refused."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training.keras_hooks import build_optimizer, noted_builds
from mnistkit.training.own_steps import optimizers_of
from mnistkit.training.side_effects import side_effect
from mnistkit.training.torch.untraceable import ChangesTensorError, UntraceableError
from mnistkit.training.torch.writes import memory_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Trace = Any  # of ``trace``, which uses this module


def trace(model: Any, once: Callable[[], Trace]) -> Trace:
    """Trace a model's own train step, twice; refuse what does not do the same in every step.

    Args:
        model: the model.
        once: traces the step, and leaves the model as it was.

    Raises:
        UntraceableError: the step does something that a trace does not show.
    """
    reason = side_effect(model, ("train_step", "compute_loss", "compute_metrics"))
    if reason is not None:
        raise UntraceableError(reason)
    for optimizer in optimizers_of(model):
        if not optimizer.built and hasattr(optimizer, "inner_optimizer"):
            raise UntraceableError(f"{optimizer.name} is not built: call its build(variables) first")
    first = _with_optimizers(lambda: _without_gradients(model, once))
    second = _without_gradients(model, once)
    if not _are_same(first, second):
        raise UntraceableError("its train_step does not do the same in every step")
    return second


def _with_optimizers(once: Callable[[], Trace]) -> Trace:
    """Trace; build each optimizer that the step would build, as ``model.fit`` does in the first step."""
    while True:
        needed: list[tuple[Any, Any]] = []
        try:
            with noted_builds(needed):
                return once()
        except Exception:
            if not needed:
                raise
        build_optimizer(*needed[0])


def _without_gradients(model: Any, once: Callable[[], Trace]) -> Trace:
    """Trace; refuse a step that adds gradients to those of the step before."""
    with _marked_gradients(model) as marks:
        marked = {memory_of(mark) for mark in marks}
        try:
            traced = once()
            used = {memory_of(value) for value in _constants(traced).values()}
        except ChangesTensorError as error:
            used = error.memory
            if not used & marked:
                raise
    if used & marked:
        raise UntraceableError("its gradients add up from step to step: call self.zero_grad() first")
    return traced


@contextlib.contextmanager
def _marked_gradients(model: Any) -> Iterator[list[Any]]:
    """Give each parameter, within the block, a gradient that can be told from others."""
    parameters = [one for one in model.parameters() if one.requires_grad]
    before = [one.grad for one in parameters]
    marks = [torch.zeros_like(one) for one in parameters]
    for parameter, mark in zip(parameters, marks, strict=True):
        parameter.grad = mark
    try:
        yield marks
    finally:
        for parameter, grad in zip(parameters, before, strict=True):
            parameter.grad = grad


def _are_same(one: Trace, two: Trace) -> bool:
    """Tell whether two traces do the same, up to the names of their constants."""
    if len(one.random_ops) != len(two.random_ops) or len(one.state) != len(two.state):
        return False
    nodes = list(one.graph.graph.nodes), list(two.graph.graph.nodes)
    if len(nodes[0]) != len(nodes[1]):
        return False
    place = {node: i for each in nodes for i, node in enumerate(each)}
    values = _constants(one), _constants(two)
    for a, b in zip(*nodes, strict=True):
        if a.op != b.op or (a.op == "call_function" and a.target is not b.target):
            return False
        if a.op == "get_attr" and not _is_same_constant(values[0].get(a), values[1].get(b)):
            return False
        numbered = [repr(torch.fx.node.map_arg((n.args, n.kwargs), lambda arg: place[arg])) for n in (a, b)]
        if numbered[0] != numbered[1]:
            return False
    return True


def _constants(traced: Trace) -> dict[Any, Any]:
    module = traced.graph
    held = {node: getattr(module, node.target) for node in module.graph.nodes if node.op == "get_attr"}
    return {node: value for node, value in held.items() if isinstance(value, torch.Tensor)}


def _is_same_constant(one: Any, two: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(two, torch.Tensor):
        return one is two
    return one.shape == two.shape and one.dtype == two.dtype and bool(torch.equal(one.nan_to_num(), two.nan_to_num()))
