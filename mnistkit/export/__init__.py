"""Export Keras models to ONNX with proof: ``python -m mnistkit.export`` or `export_onnx`.

The names below are looked up when they are first used: importing this package must not import Keras, because
``python -m mnistkit.export`` imports it before the backend is chosen, and answers ``--help`` without Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

from mnistkit.core.keras_backend import load_keras

_HOMES = {
    "ExportOnnx": "plugin",
    "ExportReport": "pipeline",
    "export_onnx": "pipeline",
    "register": "plugin",
    "register_layer": "native",
    "register_op": "native",
    "unregister": "plugin",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    load_keras()  # chooses the backend; a bare `import keras` would take Keras' own default, installed or not
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
