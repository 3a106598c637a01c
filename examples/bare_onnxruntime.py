"""Use an exported file in an app that knows nothing of mnistkit: numpy and onnxruntime are enough.

python examples/bare_onnxruntime.py exports/mnist-jax.onnx
"""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
metadata = session.get_modelmeta().custom_metadata_map
labels = json.loads(metadata["mnistkit.labels"])
print("preprocessing:", metadata["mnistkit.preprocessing"])

# Any number of images, 784 numbers each, 0 is background and 1 is ink: here a vertical stroke.
images = np.zeros((1, 28, 28), np.float32)
images[0, 4:24, 13:15] = 1
probabilities = session.run(["probabilities"], {"image": images.reshape(-1, 784)})[0]
print("read as", labels[probabilities[0].argmax()], "with", f"{probabilities[0].max():.1%}")
