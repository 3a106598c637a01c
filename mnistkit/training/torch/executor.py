"""A traced step in TorchScript, whose interpreter calls the same kernels at a fraction of Python's cost per call.

TorchScript's tracer cannot hold lists of truth values, which the backward operations of convolutions and normalizations
take to know which gradients are wanted. Such a call becomes a function in TorchScript's own language, which can.
"""

from __future__ import annotations

import operator
import warnings
from typing import Any

import torch

_CONSTANTS = (bool, int, float, type(None))


def interpreted(module: Any, inputs: list[Any]) -> Any:
    """Return something to call in the place of a traced module.

    Args:
        module: changes its inputs in place and returns nothing of interest.
        inputs: tensors like those it will be called with.
    """
    _script_lists_of_truth_values(module)

    def step(*tensors: Any) -> Any:
        module.forward(*tensors)
        return tensors[0]

    with torch.no_grad(), torch.random.fork_rng(enabled=True, devices=[]), warnings.catch_warnings():
        # deprecated in favour of torch.compile, which takes 20 s on a CPU; nothing else replays without Python
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        try:
            return torch.jit.trace(step, tuple(tensor.clone() for tensor in inputs), check_trace=False)
        except RuntimeError:  # another operation that it cannot hold
            return module.forward


def _script_lists_of_truth_values(module: Any) -> None:
    graph = module.graph
    for node in list(graph.nodes):
        schema = getattr(node.target, "_schema", None)
        if schema is None or not any(str(argument.type) == "List[bool]" for argument in schema.arguments):
            continue
        results = [user for user in node.users if user.target is operator.getitem]
        if node.kwargs or len(results) != len(node.users) or not all(_can_be_written(arg) for arg in node.args):
            continue
        wanted = sorted({user.args[1] for user in results})
        tensors = [arg for arg in node.args if isinstance(arg, torch.fx.Node)]
        with graph.inserting_before(node):
            made = graph.call_function(_function(node, wanted), tuple(tensors))
        for user in results:
            if len(wanted) == 1:
                user.replace_all_uses_with(made)
                graph.erase_node(user)
            else:
                user.args = (made, wanted.index(user.args[1]))
        graph.erase_node(node)
    graph.lint()
    module.recompile()


def _can_be_written(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(part, _CONSTANTS) for part in value)
    return isinstance(value, (torch.fx.Node, *_CONSTANTS))


def _function(node: Any, wanted: list[int]) -> Any:
    """Write a function of a call's tensors that does the call and returns the wanted ones of its results."""
    names = (f"x{i}" for i in range(len(node.args)))
    arguments = [next(names) if isinstance(arg, torch.fx.Node) else arg for arg in node.args]
    written = [repr(list(arg)) if isinstance(arg, list | tuple) else str(arg) for arg in arguments]
    tensors = ", ".join(f"{arg}: Tensor" for arg in arguments if isinstance(arg, str))
    results = ", ".join(f"results[{i}]" for i in wanted)
    call = f"torch.ops.aten.{node.target.overloadpacket.__name__}({', '.join(written)})"
    function = torch.jit.CompilationUnit(f"def call({tensors}):\n    results = {call}\n    return {results}\n").call
    function.__name__, function.__module__ = node.name, __name__  # by which a graph names what it calls
    return function
