"""The foundation: errors, atomic files, onnxruntime sessions, comparison, golden pairs, choice of the Keras backend.

Nothing here knows digits, training, export or the server. Imports no Keras, no framework and no onnx by itself.
"""
