"""One module for each family of operations; importing this package registers all handlers."""

from mnistkit.export.writer.handlers import (
    activation,
    convolution,
    creation,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    reduction,
    shape,
)

__all__ = [
    "activation",
    "convolution",
    "creation",
    "elementwise",
    "indexing",
    "linear",
    "normalization",
    "pooling",
    "reduction",
    "shape",
]
