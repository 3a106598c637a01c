"""Parts of a step that stand in its trace as one operation each, forward and backward.

What PyTorch's tracer sees of a recurrent layer would be thousands of operations, the same few for each time step. A
part like that is a Python object with a ``forward`` and a ``backward``; the trace holds calls of two operations with
the number of the object. What ``backward`` needs of the last ``forward`` stays in the object.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import torch


class Opaque:
    """A differentiable function of tensors.

    Attributes:
        key: its number in a trace. The object must live as long as the trace does.
        multiplications: of its largest matrix product.
    """

    multiplications = 0

    def __init__(self) -> None:
        self.key = next(_NUMBERS)
        _KNOWN[self.key] = self

    def forward(self, tensors: list[Any], *, saves: bool) -> list[Any]:
        """Return the results, in memory of their own; with ``saves``, keep what ``backward`` needs."""
        raise NotImplementedError

    def backward(self, gradients: list[Any]) -> list[Any]:
        """Return the gradient of each input, zeros where it has none."""
        raise NotImplementedError

    def __call__(self, *tensors: Any) -> list[Any]:
        """Call it, to be traced and differentiated."""
        return list(_Call.apply(self, *tensors))


class _Call(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Opaque, *tensors: Any) -> Any:
        results = torch.ops.mnistkit.part_forward(list(tensors), part.key, any(ctx.needs_input_grad))
        ctx.part = part
        ctx.save_for_backward(results[0])  # so that the trace has the two calls in this order
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        found = torch.ops.mnistkit.part_backward([*gradients, *ctx.saved_tensors], ctx.part.key)
        wanted = ctx.needs_input_grad[1:]
        return None, *(gradient if want else None for gradient, want in zip(found, wanted, strict=True))


def part_of(node: Any) -> Opaque | None:
    """Return the part that a node of a trace calls, or None."""
    if node.target in (torch.ops.mnistkit.part_forward.default, torch.ops.mnistkit.part_backward.default):
        return _KNOWN[node.args[1]]
    return None


def _forward(tensors: list[Any], key: int, saves: bool) -> list[Any]:  # noqa: FBT001 - PyTorch calls it by position
    with torch.no_grad():
        return _KNOWN[key].forward(tensors, saves=saves)


def _backward(tensors: list[Any], key: int) -> list[Any]:
    with torch.no_grad():
        return _KNOWN[key].backward(tensors[:-1])


_KNOWN: weakref.WeakValueDictionary[int, Opaque] = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()
_LIBRARY = torch.library.Library("mnistkit", "DEF")
_LIBRARY.define("part_forward(Tensor[] tensors, int key, bool saves) -> Tensor[]")
_LIBRARY.define("part_backward(Tensor[] tensors, int key) -> Tensor[]")
_LIBRARY.impl("part_forward", _forward, "CompositeExplicitAutograd")
_LIBRARY.impl("part_backward", _backward, "CompositeExplicitAutograd")
