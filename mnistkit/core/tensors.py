"""What a model declares of its inputs and outputs, and why it refuses the arrays that it was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Declared name, element type and shape of an input or output; a free dimension is its name or ``None``."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype} [{sizes}]"


def tensor_info(node: Any) -> TensorInfo:
    """Return what onnxruntime says of one input or output."""
    return TensorInfo(node.name, _DTYPES.get(node.type, node.type), tuple(node.shape))


def find_mismatch(inputs: Sequence[TensorInfo], feeds: Mapping[str, Any]) -> str | None:
    """The first difference between what a model declares and what it was given; None where there is none.

    Names come first, then the type, then the number of axes, then their sizes.
    """
    names = [info.name for info in inputs]
    for name in feeds:
        if name not in names:
            close = did_you_mean(str(name), names)
            return f"no input is called {name!r}{close or '; it takes ' + ', '.join(map(str, inputs))}"
    sizes: dict[str, tuple[int, str]] = {}
    for info in inputs:
        if info.name not in feeds:
            return f"input {info} is missing"
        found = _of_array(info, feeds[info.name]) or _of_shared_sizes(info, feeds[info.name], sizes)
        if found:
            return found
    return None


def _of_array(info: TensorInfo, array: Any) -> str | None:
    if not isinstance(array, np.ndarray):
        return (
            f"{info.name}: expected an array, got {type(array).__name__}; numpy.asarray(..., {info.dtype!r}) makes one"
        )
    is_text = info.dtype == "tensor(string)"
    if not (array.dtype.kind in "UOST" if is_text else array.dtype == info.dtype):
        cure = "" if is_text else f"; array.astype({info.dtype!r}) converts"
        return f"{info.name}: expected {'text' if is_text else info.dtype}, got {array.dtype}{cure}"
    fits = array.ndim == len(info.shape) and all(
        size == wanted for size, wanted in zip(array.shape, info.shape, strict=True) if isinstance(wanted, int)
    )
    return None if fits else f"expected {info}, got shape {list(array.shape)}"


def _of_shared_sizes(info: TensorInfo, array: Any, sizes: dict[str, tuple[int, str]]) -> str | None:
    """Axes of one name have one size in all inputs."""
    for size, axis in zip(array.shape, info.shape, strict=True):
        if isinstance(axis, str):
            first, name = sizes.setdefault(axis, (size, info.name))
            if first != size:
                return f"{axis} is {first} in {name} and {size} in {info.name}; give both the same"
    return None
