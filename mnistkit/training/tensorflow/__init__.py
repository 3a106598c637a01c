"""The trainer's programs under TensorFlow; imported only when Keras runs on it."""
