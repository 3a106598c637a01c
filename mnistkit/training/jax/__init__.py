"""The trainer's programs under JAX; imported only when Keras runs on it."""
