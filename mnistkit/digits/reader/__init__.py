"""Reads all digits of a picture at once: a fully convolutional net finds them where they are.

``strokes``, ``ink``, ``paper`` and ``pages`` make the pages it learns from, ``net`` and ``loss`` are the net,
``train`` trains it, ``export`` writes the ONNX graph with the decoding inside, ``detect`` reads pictures with it,
``confidence`` says how sure it is, ``signs`` tells what stands between the digits.
"""
