"""Every private or unstable name of TensorFlow that the trainer uses, each with its purpose."""

from __future__ import annotations

from mnistkit.training.hook import Hook

_FUSED_BATCH_NORM = Hook(("tensorflow:raw_ops.FusedBatchNormV3",), "normalize batches of pictures in one operation")

HOOKS = (_FUSED_BATCH_NORM,)

fused_batch_norm = _FUSED_BATCH_NORM.get_or_none()
