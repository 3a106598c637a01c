"""The Keras digit classifier made real; see the README."""

__version__ = "0.1.0"
