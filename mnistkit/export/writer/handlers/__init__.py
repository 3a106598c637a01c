"""One module for each family of operations; importing this package registers all handlers."""

from mnistkit.export.writer.handlers import (
    activation,
    attention,
    audio,
    convolution,
    creation,
    elementwise,
    image,
    indexing,
    linear,
    normalization,
    pooling,
    recurrent,
    reduction,
    shape,
    tabular,
    wrappers,
)

__all__ = [
    "activation",
    "attention",
    "audio",
    "convolution",
    "creation",
    "elementwise",
    "image",
    "indexing",
    "linear",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "shape",
    "tabular",
    "wrappers",
]
