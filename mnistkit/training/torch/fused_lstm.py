"""An LSTM layer by oneDNN's kernel: all its time steps in one call, forward and backward.

PyTorch's ``torch.lstm`` calls the same kernel. It is called here directly, because it keeps what its backward kernel
needs only where gradients are recorded, which a replayed step does not do.
"""

from __future__ import annotations

from typing import Any

import torch

from mnistkit.training.torch.hooks import lstm_backward, lstm_forward
from mnistkit.training.torch.opaque import Opaque

HAS_KERNEL = lstm_forward is not None and lstm_backward is not None
_LSTM = 2  # PyTorch's number for this kind of layer


class FusedLSTM(Opaque):
    """A call of a layer.

    Its inputs are the sequence (time, batch, features), the two initial states (batch, units), the kernels of input and
    state (4 * units, ...) and two biases (4 * units); its results are the outputs (time, batch, units) and the two
    last states. The gates are in the order input, forget, candidate, output, which is Keras' too.

    Args:
        sequence: as the first input.
        units: size of the state.
    """

    def __init__(self, sequence: Any, units: int) -> None:
        super().__init__()
        self._units = units
        steps, batch, features = sequence.shape
        self.multiplications = 4 * units * batch * max(steps * features, units)
        self._kept: Any = None

    def forward(self, tensors: list[Any], *, saves: bool) -> list[Any]:
        """Run the kernel."""
        x, h, c, *weights = (tensor.detach().contiguous() for tensor in tensors)
        h, c = h.clone(), c.clone()  # a layer with a state of its own changes it before the backward pass
        with torch.set_grad_enabled(saves):
            outputs, *states, workspace = lstm_forward(
                x, *weights, h, c, False, [], _LSTM, self._units, 1, True, False, True, saves
            )
        self._kept = (x, *weights, h, c, outputs, *states), workspace
        return [outputs.clone() if saves else outputs, *(state.clone() for state in states)]

    def backward(self, gradients: list[Any]) -> list[Any]:
        """Run the backward kernel."""
        (kept, workspace), self._kept = self._kept, None
        of_outputs, *of_states = (gradient.contiguous() for gradient in gradients)
        options: tuple[Any, ...] = (False, _LSTM, self._units, 1, True, True, False, [], True)
        x, *of_weights, h, c = lstm_backward(*kept, of_outputs, *of_states, *options, workspace)
        return [x, h, c, *of_weights]
