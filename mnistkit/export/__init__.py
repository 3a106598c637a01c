"""Export Keras models to ONNX with proof: ``python -m mnistkit.export`` or `export_onnx`."""

from mnistkit.export.pipeline import ExportReport, export_onnx
from mnistkit.export.plugin import ExportOnnx, register, unregister
from mnistkit.export.writer import register_layer, register_op

__all__ = [
    "ExportOnnx",
    "ExportReport",
    "export_onnx",
    "register",
    "register_layer",
    "register_op",
    "unregister",
]
