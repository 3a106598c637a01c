"""Puts PyTorch's fused kernel in the place of the ten operations on lists by which Keras writes an update of Adam.

The operations go over the memory of all variables ten times, the kernel once. Keras adds epsilon to the square root
before the correction of the bias, PyTorch after it. So the kernel gets Keras' corrected learning rate as its learning
rate, and infinity as the number of the step: its own corrections are 1 then.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from mnistkit.training.torch.graph import alike, meta_of, shape_of, share_memory, targets
from mnistkit.training.torch.hooks import ScriptSource, fused_adam

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATEN = torch.ops.aten
_UPDATE = (
    "aten._foreach_mul_.Scalar",  # momentums, beta_1
    "aten._foreach_add_.List",  # momentums, gradients, 1 - beta_1
    "aten._foreach_mul_.Scalar",  # velocities, beta_2
    "aten._foreach_mul.List",  # gradients, gradients
    "aten._foreach_add_.List",  # velocities, the line above, 1 - beta_2
    "aten._foreach_mul.Tensor",  # momentums, corrected learning rate
    "aten._foreach_sqrt.default",  # velocities
    "aten._foreach_add.Scalar",  # the line above, epsilon
    "aten._foreach_div.List",
    "aten._foreach_add_.List",  # variables, the line above, -1
)
"""The operations in Keras' order."""
_STEP = "_infinity"


class _Update(NamedTuple):
    """The lists of tensors and the numbers of an update."""

    variables: list[Any]
    gradients: list[Any]
    momentums: list[Any]
    velocities: list[Any]
    rate: Any
    beta_1: float
    beta_2: float
    epsilon: float


def fuse_adam(module: Any, state: list[Any]) -> None:
    """Rewrite the updates that are exactly Keras' own, in float32; leave the others alone.

    Args:
        module: a traced step, on the CPU.
        state: the inputs that hold variables.
    """
    if not _kernel_fits():
        return
    graph = module.graph
    calls = [node for node in graph.nodes if node.op == "call_function" and "_foreach_" in str(node.target)]
    for i in range(len(calls) - len(_UPDATE) + 1):
        found = calls[i : i + len(_UPDATE)]
        update = _read(found) if tuple(str(call.target) for call in found) == _UPDATE else None
        if update is not None and _is_alone(found) and _fits(graph, update, state):
            _replace(module, found, update)
    graph.lint()
    module.recompile()


def contiguous_inputs(graph: Any) -> list[int]:
    """Return the numbers of the inputs whose elements the kernel takes in the order of their memory."""
    read = {
        source
        for node in graph.nodes
        if node.target is fused_adam
        for tensors in (node.args[0], *node.args[2:4])
        for source in map(_origin, tensors)
    }
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    return [i for i, node in enumerate(inputs) if node in read]


def script(module: Any) -> None:
    """Let functions in TorchScript's own language call the kernel.

    TorchScript takes the kernel for a change of lists, not of the tensors in them, and leaves out changes of lists that
    nobody reads. So the functions read one: they multiply the smallest variable by 1.
    """
    graph = module.graph
    for node in [node for node in graph.nodes if node.target is fused_adam]:
        variables, gradients, momentums, velocities, _, steps = node.args
        options = dict(node.kwargs)
        rate = options.pop("lr")
        written = ", ".join(f"{name}={value!r}" for name, value in options.items())
        smallest = min(range(len(variables)), key=lambda i: math.prod(shape_of(variables[i])))
        arguments = (
            "variables: List[Tensor], gradients: List[Tensor], momentums: List[Tensor], velocities: List[Tensor]"
        )
        source = (
            f"def call({arguments}, steps: List[Tensor], rate: Tensor):\n"
            "    none: List[Tensor] = []\n"
            "    torch.ops.aten._fused_adam_("
            f"variables, gradients, momentums, velocities, none, steps, lr=rate, {written})\n"
            f"    variables[{smallest}].mul_(1)\n"
            "    return rate\n"
        )
        call = ScriptSource(source).call
        call.__name__, call.__module__ = node.name, __name__  # by which a graph names what it calls
        with graph.inserting_before(node):
            graph.call_function(call, (variables, gradients, momentums, velocities, steps, rate))
        graph.erase_node(node)
    module.recompile()


@functools.cache
def _kernel_fits() -> bool:
    """Tell whether PyTorch has the kernel and it computes what is said above; its numbers of steps are undocumented."""
    if fused_adam is None:
        return False
    with torch.no_grad():
        gradient = torch.linspace(-2, 3, 37)
        variable, momentum, velocity = gradient.cos(), gradient.sin(), gradient.square() + 1e-9
        epsilon, rate = torch.tensor(0.5), torch.tensor(0.25)
        wanted_momentum = momentum * 0.75 + gradient * 0.25
        wanted_velocity = velocity * 0.875 + gradient.square() * 0.125
        wanted = variable - rate * wanted_momentum / (wanted_velocity.sqrt() + epsilon)
        lists: tuple[list[Any], ...] = ([variable], [gradient], [momentum], [velocity], [], [torch.tensor(torch.inf)])
        try:
            fused_adam(*lists, lr=rate, **_options(0.75, 0.875, float(epsilon)))
        except (RuntimeError, TypeError):  # a PyTorch in which it is not on the CPU, or takes other arguments
            return False
        pairs = ((variable, wanted), (momentum, wanted_momentum), (velocity, wanted_velocity))
        return all(torch.allclose(got, expected, rtol=1e-6, atol=1e-6) for got, expected in pairs)


def _options(beta_1: float, beta_2: float, epsilon: float) -> dict[str, Any]:
    numbers = {"beta1": beta_1, "beta2": beta_2, "weight_decay": 0.0, "eps": epsilon}
    return {**numbers, "amsgrad": False, "maximize": False}


def _read(calls: list[Any]) -> _Update | None:
    """Return what the calls compute, None where that is something else."""
    momentums, velocities = list(calls[0].args[0]), list(calls[2].args[0])
    beta_1, beta_2, epsilon = calls[0].args[1], calls[2].args[1], calls[7].args[1]
    gradients, (variables, _) = list(calls[1].args[1]), calls[9].args
    squares, scaled, roots, below, change = (_results(calls[i]) for i in (3, 5, 6, 7, 8))
    expected: list[tuple[Any, ...]] = [
        (momentums, beta_1),
        (momentums, gradients),
        (velocities, beta_2),
        (gradients, gradients),
        (velocities, squares),
        (momentums, calls[5].args[1]),
        (velocities,),
        (roots, epsilon),
        (scaled, below),
        (list(variables), change),
    ]
    factors = {1: {"alpha": 1 - beta_1}, 4: {"alpha": 1 - beta_2}, 9: {"alpha": -1}}
    for i, (call, wanted) in enumerate(zip(calls, expected, strict=True)):
        given = tuple(list(arg) if isinstance(arg, list | tuple) else arg for arg in call.args)
        if given != wanted or dict(call.kwargs) != factors.get(i, {}):
            return None
    if not (0 <= beta_1 < 1 and 0 <= beta_2 < 1):
        return None
    return _Update(list(variables), gradients, momentums, velocities, calls[5].args[1], beta_1, beta_2, epsilon)


def _results(call: Any) -> list[Any]:
    """Return what is read of a call's results, in their order."""
    return sorted(call.users, key=lambda user: user.args[1]) if _has_items(call) else []


def _has_items(call: Any) -> bool:
    return all(user.target is operator.getitem for user in call.users)


def _is_alone(calls: list[Any]) -> bool:
    """Tell whether nothing else is computed from the first to the last of the calls, nor reads what is in between."""
    own = {*calls, *(user for call in calls for user in call.users)}
    return all(user in own for node in own for user in node.users) and all(node in own for node in _between(calls))


def _between(calls: list[Any]) -> Iterator[Any]:
    node = calls[0]
    while node is not calls[-1]:
        yield node
        node = node.next


def _fits(graph: Any, update: _Update, state: list[Any]) -> bool:
    """Tell whether the tensors are of the kind that the kernel takes."""
    own = [_origin(node) for node in (*update.variables, *update.momentums, *update.velocities)]
    lists = update[:4]
    if len(set(own)) != len(own) or not set(own) <= set(state) or len({len(one) for one in lists}) != 1:
        return False
    for tensors in zip(*lists, strict=True):
        metas = [meta_of(node) for node in tensors]
        if any(meta is None or meta.dtype != torch.float32 or meta.shape != metas[0].shape for meta in metas):
            return False
    rate = meta_of(update.rate)
    is_number = rate is not None and tuple(rate.shape) == () and rate.dtype == torch.float32
    # the kernel finishes one variable after the other, and a gradient must not be one that is finished already
    return is_number and not share_memory(graph, [*update.gradients, update.rate], own)


def _origin(node: Any) -> Any:
    """Return the tensor that a node is, past changes in place, whose result is the tensor itself."""
    while node.op == "call_function" and targets(node) == [node.args[0]] and alike(node, node.args[0]):
        node = node.args[0]
    return node


def _replace(module: Any, calls: list[Any], update: _Update) -> None:
    graph = module.graph
    if not hasattr(module, _STEP):
        module.register_buffer(_STEP, torch.tensor(torch.inf), persistent=False)
    with graph.inserting_before(calls[-1]):
        step = graph.get_attr(_STEP)
        gradients = [graph.call_function(_ATEN.contiguous.default, (node,)) for node in update.gradients]
        own = update.variables, gradients, update.momentums, update.velocities
        lists: tuple[list[Any], ...] = (*own, [], [step] * len(gradients))
        options = _options(update.beta_1, update.beta_2, update.epsilon)
        graph.call_function(fused_adam, lists, {"lr": update.rate, **options})
    for call in reversed(calls):
        for result in list(call.users):
            graph.erase_node(result)
        graph.erase_node(call)
