"""What a model's own step returns, as part of the state that a traced step writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from mnistkit.training.own_steps import checked
from mnistkit.training.pytree import tree_map
from mnistkit.training.torch.hooks import untraced
from mnistkit.training.torch.untraceable import UntraceableError


@dataclass(frozen=True, slots=True)
class Held:
    """A value that a step returns.

    Attributes:
        value: the tensor that each step overwrites.
    """

    value: Any


def values_of(tree: Any) -> Any:
    """Return what the last step returned, from ``KeptLogs.tree``."""
    return None if tree is None else tree_map(lambda one: one.value, tree)


@dataclass(slots=True)
class KeptLogs:
    """The values that a step returns.

    Attributes:
        held: each value, in the order of the graph's outputs.
        tree: what the step returns, with these values in it.
    """

    held: list[Held] = field(default_factory=list)
    tree: Any = None

    def take(self, logs: Any) -> list[Any]:
        """Note what a step returned while it is traced; return its tensors."""
        tensors: list[Any] = []

        def take(value: Any) -> Held:
            if not isinstance(value, torch.Tensor):
                # model.fit runs the step's Python code in every step, and may find another number
                raise UntraceableError(f"it returns a {type(value).__name__}, not a tensor")
            tensors.append(value.detach())
            with untraced():
                self.held.append(Held(torch.zeros(value.shape, dtype=value.dtype, device=value.device)))
            return self.held[-1]

        self.tree = tree_map(take, checked(logs))
        return tensors

    def put_into(self, graph: Any, *, after: int) -> None:
        """Let a graph write its outputs into further inputs, which come after so many others."""
        last = [node for node in graph.nodes if node.op == "placeholder"][after - 1]
        output = next(node for node in graph.nodes if node.op == "output")
        for i, value in enumerate(output.args[0]):
            with graph.inserting_after(last):
                last = graph.placeholder(f"log_{i}")
            last.meta["val"] = self.held[i].value
            with graph.inserting_before(output):
                graph.call_function(torch.ops.aten.copy_.default, (last, value))
