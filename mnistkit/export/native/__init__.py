"""The writer: from Keras' own operations to ONNX, without tracing a framework. See DESIGN.md, section 6.

This package imports Keras and onnx; nothing outside :mod:`mnistkit.export` imports it.
"""

from mnistkit.export.native.lower import Conversion, convert, find_unsupported
from mnistkit.export.native.records import UnsupportedItem
from mnistkit.export.native.registry import Unwritable, register_layer, register_op, register_rewrite

__all__ = [
    "Conversion",
    "UnsupportedItem",
    "Unwritable",
    "convert",
    "find_unsupported",
    "register_layer",
    "register_op",
    "register_rewrite",
]
