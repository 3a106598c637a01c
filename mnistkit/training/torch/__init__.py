"""The trainer's programs under PyTorch; imported only when Keras runs on it."""
