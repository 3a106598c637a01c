"""Conditions in a traced step: both branches are taken, and the results are selected by the condition's value.

PyTorch's Keras asks for the value of a condition in Python (``keras.ops.cond``), which one trace cannot stand for.
Learning-rate schedules, moving averages of weights, gradient accumulation and loss scaling depend on it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def both_branches() -> Iterator[None]:
    """Let ``keras.ops.cond`` take both branches within the block; each finds the tensors as they were before."""
    import keras

    original = keras.src.backend.torch.core.cond

    def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
        if not isinstance(pred, torch.Tensor) or pred.device.type == "meta":
            return original(pred, true_fn, false_fn)
        pred = pred.to(torch.bool)
        with _Writes() as in_true:
            if_true = keras.tree.map_structure(_copy, true_fn())
        after_true = {key: _copy(tensor) for key, (tensor, _) in in_true.before.items()}
        with torch.no_grad():
            for tensor, before in reversed(in_true.before.values()):
                tensor.copy_(before)
        with _Writes() as in_false:
            if_false = false_fn()
        with torch.no_grad():
            for key, (tensor, before) in in_false.before.items():
                if key not in after_true:
                    tensor.copy_(torch.where(pred, before, tensor))
            for key, (tensor, _) in in_true.before.items():
                tensor.copy_(torch.where(pred, after_true[key], tensor))
        return keras.tree.map_structure(lambda a, b: _select(pred, a, b), if_true, if_false)

    with mock.patch.object(keras.src.backend.torch.core, "cond", cond):
        yield


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _select(pred: Any, if_true: Any, if_false: Any) -> Any:
    return None if if_true is None and if_false is None else torch.where(pred, if_true, if_false)


class _Writes(TorchDispatchMode):
    """Keeps what the tensors that a branch changes held before, except those that it made itself.

    Version counters would not do: operations on lists leave them alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[Any, tuple[Any, Any]] = {}
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for i, argument in enumerate(func._schema.arguments):  # noqa: SLF001 - there is no public name for it
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in _tensors(args[i] if i < len(args) else kwargs.get(argument.name)):
                    key = (_memory(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
                    if _memory(tensor) not in self._made and key not in self.before:
                        self.before[key] = tensor, torch.ops.aten.clone.default(tensor)
        out = func(*args, **kwargs)
        known = {_memory(tensor) for tensor in _tensors([args, kwargs])}
        self._made.update(_memory(tensor) for tensor in _tensors(out) if _memory(tensor) not in known)
        return out


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return [value] if isinstance(value, torch.Tensor) else []


def _memory(tensor: Any) -> int:
    return int(tensor.untyped_storage().data_ptr())
