"""What one trace cannot stand for: operations whose results depend on more than their inputs and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training.torch.hooks import DispatchMode, schema_of
from mnistkit.training.torch.writes import tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable

_ATEN = torch.ops.aten
_INDEX = {_ATEN.index.Tensor, _ATEN._unsafe_index.Tensor}  # noqa: SLF001 - its name among the ATen operations
_REPEAT = _ATEN.repeat_interleave.Tensor
_DROPOUT = _ATEN.bernoulli_.float  # what Keras' Dropout without a seed and PyTorch's own come to
_DROPOUT_RATES = ("dropout_p", "dropout")


class UntraceableError(Exception):
    """The step looks at values or at hidden state, so that one trace cannot stand for all steps."""


class ChangesTensorError(UntraceableError):
    """The step changes tensors that are no state of the model's.

    Args:
        memory: where they are.
    """

    def __init__(self, memory: set[int]) -> None:
        super().__init__("it changes a tensor that is neither a Keras variable nor a buffer")
        self.memory = memory


class UntraceableOperations(DispatchMode):
    """Refuses operations within the block, before they run.

    Args:
        allows_dropout: tells whether dropout may draw from PyTorch's global generator now; a replay on the CPU draws
            there too, step by step, as the step itself would.

    Attributes:
        drew: whether it has.
    """

    def __init__(self, allows_dropout: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._allows_dropout = allows_dropout
        self.drew = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.dynamic_output_shape in func.tags and func is not _REPEAT and not _indexes_by_numbers(func, args):
            raise UntraceableError(f"the result of {func} has a shape that depends on values")
        if torch.Tag.nondeterministic_seeded in func.tags and _draws_globally(func, args, kwargs):
            if func is not _DROPOUT or args[0].device.type != "cpu" or not self._allows_dropout():
                raise UntraceableError(f"{func} draws from PyTorch's global random generator")
            self.drew = True
        return func(*args, **kwargs)


def check_repeats(graph: Any) -> None:
    """Refuse repetitions by computed numbers; by a given number they are the same operation, on a constant."""
    computed: set[Any] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or computed.intersection(node.all_input_nodes):
            computed.add(node)
            if node.target is _REPEAT:
                raise UntraceableError(f"the result of {node.target} has a shape that depends on values")


def _indexes_by_numbers(func: Any, args: Any) -> bool:
    return func in _INDEX and all(index.dtype not in (torch.bool, torch.uint8) for index in tensors_in(list(args[1])))


def _draws_globally(func: Any, args: Any, kwargs: Any) -> bool:
    given = {argument.name: value for argument, value in zip(schema_of(func).arguments, args, strict=False)} | kwargs
    if given.get("generator") is not None:
        return False
    # attention and recurrent kernels, which draw only where they drop out
    rates = [argument.name for argument in schema_of(func).arguments if argument.name in _DROPOUT_RATES]
    return not rates or any(given.get(name, 0) for name in rates)
