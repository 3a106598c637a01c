"""If-conversion: a traced step takes both branches of a condition and selects the results by its value.

PyTorch's Keras asks for the value of a condition in Python (``keras.ops.cond``), which one trace cannot stand for.
Learning-rate schedules, moving averages of weights, gradient accumulation and loss scaling depend on it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training.keras_hooks import replaced_cond
from mnistkit.training.torch.writes import RecordedWrites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def if_conversion(branch: Callable[[], Any] = contextlib.nullcontext) -> Iterator[None]:
    """Replace ``keras.ops.cond`` within the block, in this thread; each branch finds the tensors as they were before.

    Args:
        branch: makes a context manager to enter around each branch.
    """

    def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
        if not isinstance(pred, torch.Tensor) or pred.device.type == "meta":
            return original(pred, true_fn, false_fn)
        with branch():
            return _predicated(pred.to(torch.bool), true_fn, false_fn)

    with replaced_cond(cond) as original:
        yield


def _predicated(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    import keras

    with RecordedWrites() as in_true:
        if_true = keras.tree.map_structure(_copy, true_fn())
    after_true = {key: _copy(tensor) for key, (tensor, _) in in_true.before.items()}
    in_true.undo()
    with RecordedWrites() as in_false:
        if_false = false_fn()
    with torch.no_grad():
        for key, (tensor, before) in in_false.before.items():
            if key not in after_true:
                tensor.copy_(torch.where(pred, before, tensor))
        for key, (tensor, _) in in_true.before.items():
            tensor.copy_(torch.where(pred, after_true[key], tensor))
    return keras.tree.map_structure(lambda a, b: _select(pred, a, b), if_true, if_false)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _select(pred: Any, if_true: Any, if_false: Any) -> Any:
    return None if if_true is None and if_false is None else torch.where(pred, if_true, if_false)
