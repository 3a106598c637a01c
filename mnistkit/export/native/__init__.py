"""The native exporter: from Keras' own operations to ONNX, without tracing a framework.

This package imports Keras and onnx; nothing outside :mod:`mnistkit.export` imports it.
"""

from __future__ import annotations

import warnings
from typing import Any

from mnistkit.export.native.lower import Conversion, convert, find_unsupported
from mnistkit.export.native.records import UnsupportedItem
from mnistkit.export.native.registry import UnsupportedOp, register_decomposition, register_layer, register_op

__all__ = [
    "Conversion",
    "UnsupportedItem",
    "UnsupportedOp",
    "convert",
    "find_unsupported",
    "register_decomposition",
    "register_layer",
    "register_op",
]

_RENAMED = {"Problem": "UnsupportedItem", "Unwritable": "UnsupportedOp", "register_rewrite": "register_decomposition"}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _RENAMED[name]
    warnings.warn(f"mnistkit.export.native.{name} is called {new} now", DeprecationWarning, stacklevel=2)
    return globals()[new]
