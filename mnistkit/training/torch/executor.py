"""Ways to run a traced step; all compute the same.

``build`` takes the first that works. TorchScript's interpreter calls the same kernels as Python at a fraction of the
cost per call, but it is deprecated; the plain graph module runs everywhere.
"""

from __future__ import annotations

import copy
import operator
import threading
import warnings
from typing import TYPE_CHECKING, Any, Protocol

import torch

from mnistkit.training.torch import fuse_adam, hooks
from mnistkit.training.torch.hooks import schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CONSTANTS = (bool, int, float, type(None))
_WARNINGS = threading.Lock()  # Python's warning filters belong to the process


class Step(Protocol):
    """A traced step that can be run."""

    def __call__(self, *tensors: Any) -> Any:
        """Change the given tensors in place."""


class UnavailableError(Exception):
    """This way cannot run the step."""


def build(module: Any, inputs: Sequence[Any]) -> Step:
    """Return the step, to be run in the first way that works.

    Args:
        module: a traced module, which changes its inputs in place and returns nothing of interest.
        inputs: tensors like those it will be called with; they stay as they are.
    """
    for way in EXECUTORS.values():
        try:
            return way(module, inputs)
        except UnavailableError:
            continue
    raise AssertionError("the plain graph module runs everywhere")


def graph_module(module: Any, inputs: Sequence[Any]) -> Step:
    """Run the graph as the Python code that torch.fx writes for it."""
    del inputs
    step: Step = module.forward
    return step


def torchscript(module: Any, inputs: Sequence[Any]) -> Step:
    """Run the graph in TorchScript's interpreter.

    Raises:
        UnavailableError: TorchScript is missing, or cannot hold one of the operations.
    """
    if not hooks.HAS_TORCHSCRIPT:
        raise UnavailableError("this PyTorch has no TorchScript")
    scripted = _copy_of(module)
    _script_lists_of_booleans(scripted)
    fuse_adam.script(scripted)

    def step(*tensors: Any) -> Any:
        scripted.forward(*tensors)
        return tensors[0]

    with torch.no_grad(), _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.*not supported", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        try:
            traced: Step = hooks.script(step, tuple(tensor.clone() for tensor in inputs), check_trace=False)
        except RuntimeError as error:
            raise UnavailableError(str(error)) from error
        return traced


EXECUTORS: Mapping[str, Callable[[Any, Sequence[Any]], Step]] = {
    "torchscript": torchscript,
    "graph module": graph_module,
}
"""By name, the fastest first."""


def _copy_of(module: Any) -> Any:
    return torch.fx.GraphModule(module, copy.deepcopy(module.graph))


def _script_lists_of_booleans(module: Any) -> None:
    """Let functions in TorchScript's own language make the calls that its tracer cannot hold.

    These are calls with lists of booleans: the backward operations of convolutions and normalizations, which take one
    to know which gradients are wanted.
    """
    graph = module.graph
    for node in list(graph.nodes):
        schema = schema_of(node.target)
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
    function = hooks.ScriptSource(f"def call({tensors}):\n    results = {call}\n    return {results}\n").call
    function.__name__, function.__module__ = node.name, __name__  # by which a graph names what it calls
    return function
