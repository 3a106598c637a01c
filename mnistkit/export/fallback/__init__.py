"""Keras' own ONNX exporters, normalized to the contract of the native exporter."""
