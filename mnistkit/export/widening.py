"""Models in bfloat16, exported in float32.

onnxruntime has next to no bfloat16 kernels for a CPU. A bfloat16 is the upper half of a float32, so the weights lose
nothing in the wider type. The layers are set to float32 while the model is exported: the file and Keras' answers, which
it is checked against, are both computed in float32, so the check is as strict as for any float32 model.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import keras

from mnistkit.export.native.keras_hooks import flatten_layers

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTE = "bfloat16 is computed with as float32; the weights are the same, in the wider type"


@contextlib.contextmanager
def in_single_precision(model: Any) -> Iterator[str]:
    """Let the layers of a model that compute in bfloat16 compute in float32 within the block.

    Args:
        model: A Keras model; its variables are not touched, and its policies are as before after the block.

    Yields:
        What a reader of the report should know; empty where no layer computes in bfloat16.
    """
    changed: list[tuple[Any, Any]] = []
    try:
        for layer in flatten_layers(model):
            policy = layer.dtype_policy
            if layer.compute_dtype == "bfloat16" and not isinstance(policy, keras.dtype_policies.DTypePolicyMap):
                changed.append((layer, policy))
                layer.dtype_policy = policy.name.replace("mixed_bfloat16", "float32").replace("bfloat16", "float32")
        yield NOTE if changed else ""
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy
