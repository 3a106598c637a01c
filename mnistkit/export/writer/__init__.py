"""The writer: from Keras' own operations to ONNX, without tracing a framework. See DESIGN.md, section 6.

This package imports Keras and onnx; nothing outside :mod:`mnistkit.export` imports it.
"""

from mnistkit.export.writer.registry import Unwritable, register_layer, register_op, register_rewrite
from mnistkit.export.writer.trace import Problem
from mnistkit.export.writer.write import Written, find_unsupported, write

__all__ = [
    "Problem",
    "Unwritable",
    "Written",
    "find_unsupported",
    "register_layer",
    "register_op",
    "register_rewrite",
    "write",
]
