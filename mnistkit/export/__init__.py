"""Export Keras models to ONNX with proof: ``python -m mnistkit.export`` or `export_onnx`."""

from mnistkit.export.pipeline import ExportReport, export_onnx

__all__ = ["ExportReport", "export_onnx"]
