"""One time step of a recurrent layer: traced, differentiated, and split into a forward and a backward part.

The forward part computes the results and what the backward part needs of it; the backward part computes the gradients.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training.torch import hooks
from mnistkit.training.torch.graph import replace, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ATEN = torch.ops.aten


class NoLoopError(Exception):
    """The time step cannot be traced by itself."""


def trace_step(step: Callable[..., list[Any]], values: list[Any], before: list[Any]) -> tuple[Any, list[Any]]:
    """Trace a time step; return a module and the tensors around it, which are its last inputs."""

    def flat(*tensors: Any) -> list[Any]:
        return step(list(tensors[: len(values)]), list(tensors[len(values) :]))

    module = hooks.make_fx(flat)(*values, *before)
    graph = module.graph
    if any(target.op in ("placeholder", "get_attr") for node in graph.nodes for target in targets(node)):
        raise NoLoopError("it changes a tensor from outside")
    around: dict[int, tuple[Any, Any]] = {}
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        tensor = getattr(module, node.target)
        if id(tensor) not in around:
            with graph.inserting_after(last):
                last = graph.placeholder(f"around_{len(around)}")
            around[id(tensor)] = tensor, last
        node.replace_all_uses_with(around[id(tensor)][1])
        graph.erase_node(node)
    graph.set_codegen(torch.fx.graph.CodeGen())
    module.recompile()
    return module, [tensor for tensor, _ in around.values()]


def take_out_products(module: Any, at: int, end: int) -> list[int]:
    """Let a time step take products of its input with tensors around it as further inputs, after the sequences.

    Returns:
        The tensors that the input is multiplied with, by their numbers.
    """
    graph = module.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    found, last = [], inputs[at - 1]
    for node in list(graph.nodes):
        if node.target is _ATEN.mm.default and node.args[0] is inputs[0] and node.args[1] in inputs[end:]:
            found.append(inputs.index(node.args[1]) - end)
            with graph.inserting_after(last):
                last = graph.placeholder(f"product_{len(found)}")
            last.meta = dict(node.meta)
            node.replace_all_uses_with(last)
            graph.erase_node(node)
    module.recompile()
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """A time step and its derivative.

    Attributes:
        forward: from the inputs to the results, followed by what ``backward`` needs beside the inputs it reads.
        backward: from these inputs, from what it needs, and from a gradient of each result to a gradient of each input,
            followed by the factors of ``products``.
        reads: the inputs that ``backward`` reads.
        needs: for each input, whether its gradient is wanted; it is 0 otherwise.
        products: the inputs whose gradient, summed over time, is a product of such factors, and 0 here.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    reads: list[int]
    needs: list[bool]
    products: list[int]


def differentiated(module: Any, example: list[Any], needs: list[bool], *, results: int, around: int) -> Step:
    """Differentiate a time step and split it in two."""
    if not any(needs):
        return Step(_scripted(module, example), _no_gradient, [], needs, [])

    def joint(*tensors: Any) -> list[Any]:
        inputs = [one.detach() for one in tensors[: len(example)]]
        wanted = [one.requires_grad_() for one, need in zip(inputs, needs, strict=True) if need]
        with torch.enable_grad():
            outs = module(*inputs)
        pairs = [(out, g) for out, g in zip(outs, tensors[len(example) :], strict=True) if out.requires_grad]
        found = iter(torch.autograd.grad([p[0] for p in pairs], wanted, [p[1] for p in pairs], allow_unused=True))
        of_inputs = [
            _or_zeros(next(found), tensor) if need else torch.zeros(())
            for tensor, need in zip(inputs, needs, strict=True)
        ]
        return [*outs, *of_inputs]

    with torch.no_grad():
        outs = module(*example)
    with torch.enable_grad():
        both = hooks.make_fx(joint)(*example, *(torch.zeros_like(out) for out in outs))
    graph = both.graph
    for node in list(graph.nodes):
        if node.target in (_ATEN.detach.default, _ATEN.alias.default):
            replace(node, node.args[0])
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    returned = list(next(node for node in graph.nodes if node.op == "output").args[0])
    gradients, products, factors = _take_out_sums(graph, returned[results:], start=around)
    first = _read_from(returned[:results], stop=set())
    kept = [node for node in graph.nodes if node in first and node.op != "placeholder" and _is_tensor(node)]
    read = _read_from([*gradients, *factors], stop={*kept, *inputs})
    kept = [node for node in kept if node in read]
    reads = [i for i, node in enumerate(inputs[: len(example)]) if node in read]
    forward = _part(both, inputs[: len(example)], [*returned[:results], *kept])
    backward = _part(both, [*(inputs[i] for i in reads), *kept, *inputs[len(example) :]], [*gradients, *factors])
    with torch.no_grad():
        values = forward(*example)
        given = [*(example[i] for i in reads), *values[results:], *(torch.zeros_like(out) for out in outs)]
        return Step(_scripted(forward, example), _scripted(backward, given), reads, needs, products)


def _take_out_sums(graph: Any, gradients: list[Any], *, start: int) -> tuple[list[Any], list[int], list[Any]]:
    """Find gradients ``a.t() @ b`` from a place on: their sum over time is one product of all ``a`` and all ``b``.

    Returns:
        The gradients, 0 in their place; their places; the factors.
    """
    products, factors = [], []
    for i, node in enumerate(gradients):
        is_product = node.target is _ATEN.mm.default and getattr(node.args[0], "target", None) is _ATEN.t.default
        if i >= start and is_product:
            products.append(i)
            factors += [node.args[0].args[0], node.args[1]]
            with graph.inserting_after(node):
                gradients[i] = graph.call_function(_ATEN.zeros.default, ([],))
    return gradients, products, factors


def _or_zeros(gradient: Any, tensor: Any) -> Any:
    return torch.zeros_like(tensor) if gradient is None else gradient


def _no_gradient(*_: Any) -> Any:
    raise AssertionError("nothing is differentiated")


def _is_tensor(node: Any) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _read_from(nodes: Sequence[Any], *, stop: set[Any]) -> set[Any]:
    """Return nodes and all that they read, directly or not, up to some at which to stop."""
    found: set[Any] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node in found:
            continue
        found.add(node)
        if node not in stop:
            left += node.all_input_nodes
    return found


def _part(module: Any, inputs: list[Any], outputs: list[Any]) -> Any:
    """Return a module that computes some nodes of a graph from others."""
    graph = torch.fx.Graph()
    made = {node: graph.placeholder(f"input_{i}") for i, node in enumerate(inputs)}
    wanted = _read_from(outputs, stop=set(inputs))
    for node in module.graph.nodes:
        if node in wanted and node not in made:
            made[node] = graph.node_copy(node, made.__getitem__)
    graph.output(tuple(made[node] for node in outputs))
    return torch.fx.GraphModule(module, graph)


def _scripted(module: Any, example: list[Any]) -> Callable[..., Any]:
    """Return what runs a module, in TorchScript's interpreter where that is there."""
    if not hooks.HAS_TORCHSCRIPT:
        return module.forward  # type: ignore[no-any-return]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Callable[..., Any] = hooks.script(
            lambda *tensors: tuple(module.forward(*tensors)), tuple(one.clone() for one in example), check_trace=False
        )
        return made
