"""What a step reads and changes beside its batch: Keras variables and PyTorch buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from mnistkit.training.keras_hooks import flatten_layers
from mnistkit.training.torch.graph import written
from mnistkit.training.torch.untraceable import ChangesTensorError
from mnistkit.training.torch.writes import memory_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class State(Protocol):
    """Something that holds a tensor: a Keras variable or a ``Buffer``."""

    @property
    def value(self) -> Any:
        """The tensor."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer of a PyTorch module.

    Attributes:
        module: the module.
        name: of the buffer in the module.
    """

    module: Any
    name: str

    @property
    def value(self) -> Any:
        """The tensor."""
        return getattr(self.module, self.name)


def keras_state(model: Any) -> list[State]:
    """Return the variables of a model, of its metrics and of its optimizer, each once."""
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return list({id(variable): variable for variable in variables}.values())


def buffers_of(model: Any) -> list[State]:
    """Return the PyTorch buffers in the layers of a model, each once."""
    found: dict[tuple[int, str], State] = {}
    for layer in flatten_layers(model):
        for module in layer.modules():
            for name, tensor in module.named_buffers(recurse=False):
                if tensor is not None:
                    found[id(module), name] = Buffer(module, name)
    return list(found.values())


def captured_state(
    model: Any, module: Any, *, known: list[State], read: Iterable[State], made: Callable[[Any], bool]
) -> list[State]:
    """Return the Keras variables and buffers that a trace holds as constants.

    They belong to none of the model's lists: a loss weight that a callback changes, a running mean in a loss.

    Args:
        model: the model.
        module: the traced step.
        known: state that is an input already.
        read: the Keras variables that the step read.
        made: tells whether a tensor was made by the step itself.

    Raises:
        ChangesTensorError: the step changes another tensor.
    """
    graph = module.graph
    held = [(node, getattr(module, node.target)) for node in graph.nodes if node.op == "get_attr"]
    outside = {
        node: memory_of(tensor) for node, tensor in held if isinstance(tensor, torch.Tensor) and not made(tensor)
    }
    if not outside:
        return []
    memory = set(outside.values())
    found = [one for one in (*buffers_of(model), *read) if memory_of(one.value) in memory]
    explained = {memory_of(one.value) for one in [*known, *found]}
    changed = written(graph)
    unexplained = {address for node, address in outside.items() if node in changed and address not in explained}
    if unexplained:
        raise ChangesTensorError(unexplained)
    inputs = {memory_of(one.value) for one in known}
    return [one for one in found if memory_of(one.value) not in inputs]
