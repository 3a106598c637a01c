"""Export Keras models to ONNX with proof: ``python -m mnistkit.export`` or `export_onnx`."""

from mnistkit.backend import load_keras

load_keras()  # the modules below import Keras, and its backend must be chosen before

from mnistkit.export.pipeline import ExportReport, export_onnx  # noqa: E402  # after the backend is chosen
from mnistkit.export.plugin import ExportOnnx, register, unregister  # noqa: E402  # as above
from mnistkit.export.writer import register_layer, register_op  # noqa: E402  # as above

__all__ = [
    "ExportOnnx",
    "ExportReport",
    "export_onnx",
    "register",
    "register_layer",
    "register_op",
    "unregister",
]
