"""A recurrent layer as a loop around one traced time step.

The time step is traced once (``time_step``). A call runs it forward through the sequence and keeps what its derivative
needs at each time; then it runs the derivative backward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training.torch import hooks
from mnistkit.training.torch.graph import largest_product
from mnistkit.training.torch.opaque import Opaque
from mnistkit.training.torch.time_step import differentiated, take_out_products, trace_step

if TYPE_CHECKING:
    from collections.abc import Callable


class Loop(Opaque):
    """A call of a layer.

    Its inputs are the sequences, with the time first, the values that go from step to step, and the tensors that the
    step reads from around it; its results are the outputs, time first, and the last values. Products of the input
    with such a tensor are computed for all times at once, as further sequences.

    Args:
        step: from the sequences at one time and the values before, a list of the output and the values after.
        sequences: of the layer: the input, perhaps a mask.
        states: before the first step.
        carries_output: whether a step also takes the output before it, zeros at first.
        returns_all: whether the outputs of all steps are wanted, or the last alone.

    Raises:
        NoLoopError: the time step cannot be traced by itself.
    """

    def __init__(
        self,
        step: Callable[[list[Any], list[Any]], list[Any]],
        sequences: list[Any],
        states: list[Any],
        *,
        carries_output: bool,
        returns_all: bool,
    ) -> None:
        super().__init__()
        self._returns_all = returns_all
        differentiates = torch.is_grad_enabled()
        with hooks.untraced(), torch.no_grad():
            values = [one[0].detach() for one in sequences]
            before = [one.detach() for one in states]
            if carries_output:
                output = torch.zeros_like(step(values, [*before, torch.zeros(())])[1])
                self._first: list[Any] = [output]
                before = [*before, output]
            else:
                self._first = []
            self._carried = len(before)
            module, self._around = trace_step(step, values, before)
        self._factors = take_out_products(module, len(sequences), len(values) + len(before))
        with hooks.untraced():
            sequences = self._with_products(sequences)
        self._sequences = len(sequences)
        needs = [tensor.requires_grad for tensor in (*sequences, *states, *self._first, *self._around)]
        unread = [not node.users for node in module.graph.nodes if node.op == "placeholder"]
        needs = [need and differentiates and not not_read for need, not_read in zip(needs, unread, strict=True)]
        if any(needs):  # from the second step on, what goes from step to step depends on all that is differentiated
            needs[len(sequences) : len(sequences) + len(before)] = [True] * len(before)
        with hooks.untraced():
            example = [*(one[0].detach() for one in sequences), *before, *(one.detach() for one in self._around)]
            self._step = differentiated(
                module, example, needs, results=1 + len(before), around=len(sequences) + len(before)
            )
        self.multiplications = largest_product(module.graph)
        self._kept: Any = None

    def _with_products(self, sequences: list[Any]) -> list[Any]:
        first = sequences[0]
        found = [first.flatten(0, 1) @ self._around[i] for i in self._factors]
        return [*sequences, *(one.unflatten(0, first.shape[:2]) for one in found)]

    def run(self, sequences: list[Any], states: list[Any]) -> list[Any]:
        """Call it; return the outputs and the last states."""
        inputs = (*self._with_products(sequences), *states, *self._first, *self._around)
        differentiated = (one if need else one.detach() for one, need in zip(inputs, self._step.needs, strict=True))
        return self(*differentiated)[: 1 + len(states)]

    def forward(self, tensors: list[Any], *, saves: bool) -> list[Any]:
        """Do the time steps."""
        tensors = [tensor.detach() for tensor in tensors]
        at, end = self._sequences, self._sequences + self._carried
        # a layer with a state of its own changes it before the backward pass
        before, around = [one.clone() for one in tensors[at:end]], tensors[end:]
        outputs, kept = [], []
        for values in zip(*(one.unbind(0) for one in tensors[:at]), strict=True):
            given = (*values, *before, *around)
            out, *rest = self._step.forward(*given)
            if saves:
                kept.append([*(given[i] for i in self._step.reads), *rest[self._carried :]])
            outputs.append(out)
            before = rest[: self._carried]
        self._kept = kept
        made = torch.stack(outputs if self._returns_all else outputs[-1:])
        return [made, *(one.clone() for one in before)]

    def backward(self, gradients: list[Any]) -> list[Any]:
        """Go back through the time steps."""
        of_outputs, *of_carried = gradients
        kept, self._kept = self._kept, None
        each = list(of_outputs.unbind(0))
        zeros = torch.zeros_like(each[-1])
        if not self._returns_all:
            each = [*[zeros] * (len(kept) - 1), *each]
        of_sequences: list[list[Any]] = []
        sums: list[Any] = []
        factors: list[list[Any]] = []
        at, end = self._sequences, self._sequences + self._carried
        last = len(self._step.needs)
        while kept:
            found = self._step.backward(*kept.pop(), each.pop(), *of_carried)
            of_sequences.append(list(found[:at]))
            of_carried = list(found[at:end])
            if sums:
                hooks.add_lists(sums, list(found[end:last]))
            else:
                sums = [one.clone() for one in found[end:last]]
            factors.append(list(found[last:]))
        joined = [torch.cat(one) for one in zip(*factors, strict=True)]
        for i, left, right in zip(self._step.products, joined[::2], joined[1::2], strict=True):
            sums[i - end] = left.t() @ right
        stacked = [torch.stack(one[::-1]) for one in zip(*of_sequences, strict=True)]
        return [*stacked, *(one.clone() for one in of_carried), *sums]
