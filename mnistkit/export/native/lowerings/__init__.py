"""One module for each family of operations; importing this package registers all handlers."""

from mnistkit.export.native.lowerings import (
    activation,
    attention,
    convolution,
    creation,
    elementwise,
    image,
    indexing,
    linear,
    normalization,
    pooling,
    quantized,
    recurrent,
    reduction,
    shape,
    tabular,
)

__all__ = [
    "activation",
    "attention",
    "convolution",
    "creation",
    "elementwise",
    "image",
    "indexing",
    "linear",
    "normalization",
    "pooling",
    "quantized",
    "recurrent",
    "reduction",
    "shape",
    "tabular",
]
