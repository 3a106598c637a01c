"""What a page must know of a model, and whether a page can run it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mnistkit.core.contract import read_labels
from mnistkit.core.errors import ModelFileError
from mnistkit.core.golden import decode_golden
from mnistkit.core.runtime import Runtime
from mnistkit.digits.classifier import is_picture_model
from mnistkit.digits.contract import CLASSES, DIGITS
from mnistkit.digits.profile import fits

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from mnistkit.core.tensors import TensorInfo

MAX_BYTES: Final = 1_000_000_000
"""A tab has 4 GB for WebAssembly, in which onnxruntime holds the weights up to three times."""
_DTYPES = frozenset({"float16", "float32", "float64", "bool", "tensor(string)",
                     *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))})  # fmt: skip
_EXAMPLE_NUMBERS = 5000  # in the inputs that the page shows first


@dataclass(frozen=True, slots=True)
class WebModel:
    """A model for a page.

    Attributes:
        name: Its file's name without the ending.
        content: Its bytes.
        page: ``"digits"`` or ``"numbers"``.
        about: What the page reads: inputs, outputs, labels, an example.
        hint: What would make a better page; may be empty.
    """

    name: str
    content: bytes
    page: str
    about: dict[str, Any]
    hint: str

    @property
    def is_digits(self) -> bool:
        """Whether its classes are the ten digits."""
        return bool(self.about["labels"] == list(DIGITS))


def read_web_model(path: str | os.PathLike[str]) -> WebModel:
    """Read a model and what a page must know of it.

    Raises:
        ModelFileError: The file cannot be read, keeps its weights in another file, is too large, or takes or gives what
            a page cannot.
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = Runtime(path, device="cpu", optimize=False)
    name = Path(path).name.removesuffix(".onnx")
    content = runtime.source
    if isinstance(content, str):
        raise ModelFileError(
            f"{path}: keeps its weights in a second file, and a page takes one file; "
            f"`onnx.save(onnx.load({str(path)!r}), 'one.onnx')` in Python puts them together"
        )
    if len(content) > MAX_BYTES:
        raise ModelFileError(
            f"{path}: {len(content) / 1e9:.1f} GB is more than a browser can hold ({MAX_BYTES / 1e9:.0f} GB); serve it "
            "instead: `mnistkit serve`"
        )
    for tensor in (*runtime.inputs, *runtime.outputs):
        if tensor.dtype not in _DTYPES:
            raise ModelFileError(
                f"{path}: {tensor.name} is {tensor.dtype}, which a page cannot give or show; export the model with "
                "tensors of numbers or texts"
            )
    labels = read_labels(runtime.metadata)
    page = "digits" if is_picture_model(runtime) and (labels is None or len(labels) == CLASSES) else "numbers"
    if page == "digits":
        labels = labels or DIGITS
    about = {
        "name": name,
        "page": page,
        "inputs": [_tensor(tensor) for tensor in runtime.inputs],
        "outputs": [_tensor(tensor) for tensor in runtime.outputs],
        "labels": None if labels is None else list(labels),
        "example": None if page == "digits" else _example(runtime),
    }
    return WebModel(name, content, page, about, _hint(runtime, str(path)))


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    dtype = "string" if tensor.dtype == "tensor(string)" else tensor.dtype
    return {"name": tensor.name, "type": dtype, "shape": list(tensor.shape)}


def _example(runtime: Runtime) -> dict[str, Any] | None:
    """The inputs of the first golden pair that is small enough to be shown."""
    if "golden" not in runtime.metadata:
        return None
    names = {tensor.name for tensor in runtime.inputs}
    try:
        pairs = decode_golden(runtime.metadata)
    except ModelFileError:  # `mnistkit verify` says so; the model runs all the same
        return None
    for pair in pairs:
        if pair.inputs.keys() == names and sum(array.size for array in pair.inputs.values()) <= _EXAMPLE_NUMBERS:
            return {name: _nested(array) for name, array in pair.inputs.items()}
    return None


def _nested(array: NDArray[np.generic]) -> Any:
    """As lists; what JSON has no word for becomes text, as the page writes it too."""

    def said(value: Any) -> Any:
        if isinstance(value, list):
            return [said(one) for one in value]
        if isinstance(value, float) and not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
            return str(value)
        return value

    return said(array.tolist())


def _hint(runtime: Runtime, path: str) -> str:
    if not fits(runtime.inputs, runtime.outputs):
        return ""
    return (
        f"{path} takes arrays of 28x28 numbers, and so does the page; for a page to draw on give the file that takes "
        "pictures: `mnistkit export MODEL.keras --web DIR` makes both"
    )
