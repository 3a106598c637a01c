"""A step as one CUDA graph: all its kernels are started by one call.

A small model's step is some hundred kernels of a few microseconds, and starting each from the host takes longer than
running it. A graph is recorded once, without running anything, and works on the addresses that it was recorded with: on
the model's own variables, and on copies of the batch and of the random numbers. Where a step cannot be recorded (an
operation waits for the device, or allocates outside PyTorch), it goes on as it was: each size of a batch for itself.

Source: "CUDA Graphs" in PyTorch's notes on CUDA semantics (warm up on another stream, then record).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

SWITCH = "MNISTKIT_CUDA_GRAPHS"
"""The environment variable that turns graphs off with ``0``; read when a step is traced."""

_WARM_UP = 3  # runs before recording: libraries load their kernels and allocate their workspaces in the first ones


def capture(module: Any, *, held: tuple[Sequence[Any], Sequence[Any]], given: Sequence[Any]) -> CapturedStep | None:
    """Record a step; ``None`` where it does not run on a CUDA device, graphs are off, or it cannot be recorded.

    Args:
        module: a traced module, which changes its inputs in place and returns nothing of interest.
        held: its first and its last inputs, the state and the joined buffers: the graph works on these very tensors.
        given: the inputs between them, the batch and the random numbers, as an example.
    """
    tensors = [*held[0], *given, *held[1]]
    if os.environ.get(SWITCH) == "0" or any(tensor.device.type != "cuda" for tensor in tensors):
        return None
    try:
        return CapturedStep(module, held=held, given=given)
    except RuntimeError:  # what CUDA and PyTorch raise where an operation cannot be recorded
        torch.cuda.synchronize(tensors[0].device)
        return None


class CapturedStep:
    """A recorded step; the arguments are those of `capture`, and all tensors stay as they are.

    Raises:
        RuntimeError: The step cannot be recorded.
    """

    def __init__(self, module: Any, *, held: tuple[Sequence[Any], Sequence[Any]], given: Sequence[Any]) -> None:
        device = given[0].device
        # kept, because the graph knows their addresses alone, as it does those of the module's constants
        self._module, self._held = module, ([*held[0]], [*held[1]])
        self._places = [tensor.data_ptr() for tensor in held[0]]
        self._graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.no_grad(), torch.cuda.device(device):
            with torch.cuda.stream(aside):
                copies = [tensor.clone() for tensor in (*held[0], *given, *held[1])]
                for _ in range(_WARM_UP):
                    module.forward(*copies)
            torch.cuda.synchronize(device)
            del copies
            self._given = [tensor.clone() for tensor in given]
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                module.forward(*self._held[0], *self._given, *self._held[1])

    def works_on(self, state: Sequence[Any]) -> bool:
        """Tell whether these are the tensors that the graph reads and changes; a callback may have put others there."""
        return [tensor.data_ptr() for tensor in state] == self._places

    def __call__(self, given: Sequence[Any]) -> None:
        """Do one step on a batch and random numbers."""
        for mine, tensor in zip(self._given, given, strict=True):
            mine.copy_(tensor, non_blocking=True)
        self._graph.replay()
