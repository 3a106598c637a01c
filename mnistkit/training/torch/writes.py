"""The tensors that a piece of code changes in place, with what they held before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mnistkit.training.torch.hooks import DispatchMode, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_WITH_MEMORY = (torch.Tensor, torch.nn.Parameter)  # others stand for a tensor while something is traced


class RecordedWrites(DispatchMode):
    """Within the block, keeps a copy of each tensor before its first change, except of those made in the block.

    Version counters would not do: operations on lists leave them alone.

    Args:
        known: further tensors to keep no copy of.

    Attributes:
        before: tensors with their copies, by the memory that they view.
    """

    def __init__(self, known: Iterable[Any] = ()) -> None:
        super().__init__()
        self.before: dict[Any, tuple[Any, Any]] = {}
        self._known = {memory_of(tensor) for tensor in known}
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for i, argument in enumerate(schema_of(func).arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in tensors_in(args[i] if i < len(args) else kwargs.get(argument.name)):
                    key = (memory_of(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
                    is_old = memory_of(tensor) not in self._made and memory_of(tensor) not in self._known
                    if is_old and key not in self.before:
                        self.before[key] = tensor, torch.ops.aten.clone.default(tensor)
        out = func(*args, **kwargs)
        known = {memory_of(tensor) for tensor in tensors_in([args, kwargs])}
        self._made.update(memory_of(tensor) for tensor in tensors_in(out) if memory_of(tensor) not in known)
        return out

    def undo(self) -> None:
        """Give the changed tensors back what they held, the last change first."""
        with torch.no_grad():
            for tensor, before in reversed(self.before.values()):
                tensor.copy_(before)

    def made(self, tensor: Any) -> bool:
        """Tell whether a tensor's memory was made in the block."""
        return memory_of(tensor) in self._made


def tensors_in(value: Any) -> list[Any]:
    """Return the tensors in nested lists, tuples and dicts, without those that only stand for one."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in tensors_in(part)]
    return [value] if type(value) in _WITH_MEMORY else []


def memory_of(tensor: Any) -> int:
    """Return the address of the memory that a tensor views."""
    return int(tensor.untyped_storage().data_ptr())
