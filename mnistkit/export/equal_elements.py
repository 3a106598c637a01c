"""``top_k`` of equal elements: PyTorch takes any of them, JAX, TensorFlow and the file take the first.

While Keras' answers are collected under PyTorch, it takes the first as well: its own choice depends on the length and
on the device, and no file could follow it. Where that changes an answer, the report of the export says so.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import keras

from mnistkit.core.thread_patches import ThreadPatch

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTE = (
    "PyTorch's top_k takes any of several equal elements; the file takes the first one, as the other backends do; "
    "Keras was compared with that choice"
)
_TOP_K = ThreadPatch(lambda: (sys.modules["torch"], "topk"))


@contextlib.contextmanager
def first_of_equal() -> Iterator[list[str]]:
    """Let ``torch.topk`` take the first of equal elements, in this thread.

    Yields:
        A list that becomes ``[NOTE]`` where PyTorch had taken another one.
    """
    notes: list[str] = []
    if keras.backend.backend() != "torch":
        yield notes
        return
    torch: Any = sys.modules["torch"]  # Keras has imported it

    def top_k(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, **options: Any) -> Any:  # noqa: A002, FBT001, FBT002 - the names and the order are PyTorch's
        found = original(input, k, dim, largest, sorted, **options)
        if options or not k or not input.ndim:  # with out= the answers are the caller's own tensors
            return found
        values, indices = torch.sort(input, dim=dim, descending=largest, stable=True)
        values, indices = values.narrow(dim, 0, k), indices.narrow(dim, 0, k)
        if not notes and not torch.equal(indices, found[1]):
            notes.append(NOTE)
        return torch.return_types.topk((values, indices))

    with _TOP_K(top_k) as original:
        yield notes
