"""Every private or unstable name of TensorFlow that the trainer uses, each with its purpose."""

from __future__ import annotations

from mnistkit.training.hook import Hook

_FUSED_BATCH_NORM = Hook(("tensorflow:raw_ops.FusedBatchNormV3",), "normalize batches of pictures in one operation")
_MATH = "tensorflow.python.ops.gen_math_ops:"
_AT_ZERO = "give square roots and reciprocals the gradient that they have outside XLA"

GRADIENTS = (
    Hook((f"{_MATH}sqrt_grad",), _AT_ZERO),
    Hook((f"{_MATH}rsqrt_grad",), _AT_ZERO),
    Hook((f"{_MATH}reciprocal_grad",), _AT_ZERO),
)
SELU_GRADIENT = Hook(("tensorflow.python.ops.gen_nn_ops:selu_grad",), "give selu the gradient that it has outside XLA")

_INITIALIZED = Hook(
    ("tensorflow.python.eager.context:context_safe",),
    "tell whether it is too late to meet other processes",
    required=False,
)

HOOKS = (_FUSED_BATCH_NORM, *GRADIENTS, SELU_GRADIENT, _INITIALIZED)

fused_batch_norm = _FUSED_BATCH_NORM.get_or_none()


def context_is_initialized() -> bool:
    """Tell whether TensorFlow has computed something."""
    context = (_INITIALIZED.get_or_none() or (lambda: None))()
    return context is not None and bool(getattr(context, "_context_handle", None))
