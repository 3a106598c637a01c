"""Export Keras models to ONNX."""
