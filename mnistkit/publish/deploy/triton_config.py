"""A ``config.pbtxt`` for Triton's backend of onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mnistkit.core.errors import ModelFileError
from mnistkit.digits.classifier import is_picture_model
from mnistkit.publish.deploy.text_format import Word

if TYPE_CHECKING:
    from mnistkit.core.tensors import TensorInfo
    from mnistkit.publish.deploy.model import ServedFile

MAX_BATCH: Final = 32
"""``--max-batch`` of the server, and so are the next two its ``--max-queue`` and ``--timeout``."""
_QUEUE = 128
_SECONDS = 30
LABELS: Final = "labels.txt"
_TYPES = {
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bool": "TYPE_BOOL",
    "tensor(string)": "TYPE_STRING",
    **{f"{kind}{bits}": f"TYPE_{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


def triton_types(model: ServedFile) -> dict[str, str]:
    """Triton's name of each tensor's type.

    Raises:
        ModelFileError: Triton has none for a tensor, or cannot have one of that shape.
    """
    for tensor in (*model.runtime.inputs, *model.runtime.outputs):
        if tensor.dtype not in _TYPES:
            raise ModelFileError(
                f"{model.path}: {tensor.name} is {tensor.dtype}, which Triton's onnxruntime does not take; export the "
                "model with tensors of numbers or words, or serve it with a program of your own"
            )
        if not tensor.shape and is_picture_model(model.runtime):
            raise ModelFileError(
                f"{model.path}: it takes pictures of any size and answers with a single number, which Triton does not "
                "take; give the classifier's file"
            )
        if not tensor.shape:
            raise ModelFileError(
                f"{model.path}: {tensor} is a single number without axes, which Triton does not take; reshape it to "
                "[1] in the model (Keras: ops.reshape(x, (1,))) and export it again"
            )
        if any(size == 0 for size in tensor.shape):
            raise ModelFileError(f"{model.path}: {tensor} can hold no numbers, which Triton does not take")
    return {tensor.name: _TYPES[tensor.dtype] for tensor in (*model.runtime.inputs, *model.runtime.outputs)}


def signature(model: ServedFile, types: dict[str, str], *, max_batch: int) -> dict[str, Any]:
    """The fields of a configuration that are the same for all versions of a model."""
    labeled = labeled_output(model, max_batch=max_batch)
    return {
        "max_batch_size": max_batch,
        "input": [_tensor(one, types, batched=max_batch > 0) for one in model.runtime.inputs],
        "output": [
            _tensor(one, types, batched=max_batch > 0) | ({"label_filename": LABELS} if one.name == labeled else {})
            for one in model.runtime.outputs
        ],
    }


def labeled_output(model: ServedFile, *, max_batch: int) -> str | None:
    """Name of the output with one score for each class; ``None`` where there is none, or its labels fit in no file."""
    labels = model.labels
    if not labels or any(not label or set(label) & {"\n", "\r"} for label in labels):
        return None
    for tensor in model.runtime.outputs:
        # without a batch axis Triton counts over all rows, so that there may be but one
        if (tensor.shape[1:] if max_batch or tensor.shape[:1] == (1,) else tensor.shape) == (len(labels),):
            return tensor.name
    return None


def configuration(
    model: ServedFile, types: dict[str, str], warmup: list[dict[str, Any]], *, max_batch: int
) -> dict[str, Any]:
    """All fields.

    Args:
        model: The file.
        types: Triton's names of the tensors' types.
        warmup: What to run before the model is ready.
        max_batch: Rows of a batch; 0 where requests are run one by one.
    """
    batching: dict[str, Any] = {
        "dynamic_batching": {
            "max_queue_delay_microseconds": 0,
            "default_queue_policy": {
                "timeout_action": Word("REJECT"),
                "default_timeout_microseconds": _SECONDS * 1_000_000,
                "allow_timeout_override": True,
                "max_queue_size": _QUEUE,
            },
        }
    }
    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        **signature(model, types, max_batch=max_batch),
        "version_policy": {"latest": {"num_versions": 1}},
        "instance_group": [{"count": 1, "kind": Word("KIND_AUTO")}],
        **(batching if max_batch else {}),
        **({"model_warmup": warmup} if warmup else {}),
    }


def _tensor(tensor: TensorInfo, types: dict[str, str], *, batched: bool) -> dict[str, Any]:
    dims = [size if isinstance(size, int) else -1 for size in tensor.shape[1 if batched else 0 :]]
    made = {"name": tensor.name, "data_type": Word(types[tensor.name]), "dims": dims or [1]}
    return made if dims else made | {"reshape": {"shape": []}}  # a row is one number: clients send [n, 1]
