"""Export any Keras model to verified ONNX: ``python -m mnistkit.export`` or `export_onnx`.

The names below are looked up when they are first used: importing this package must not import Keras, because
``python -m mnistkit.export`` imports it before the backend is chosen, and answers ``--help`` without Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mnistkit.core.keras_backend import load_keras

if TYPE_CHECKING:
    from mnistkit.export.native import UnsupportedOp, register_layer, register_op
    from mnistkit.export.pipeline import ExportReport, export_onnx
    from mnistkit.export.plugin import ExportOnnx, register, unregister
    from mnistkit.export.profile import LabeledClassifier, Profile, ProfileSample, register_profile

__all__ = [
    "ExportOnnx",
    "ExportReport",
    "LabeledClassifier",
    "Profile",
    "ProfileSample",
    "UnsupportedOp",
    "export_onnx",
    "register",
    "register_layer",
    "register_op",
    "register_profile",
    "unregister",
]

_MODULES = {
    "ExportOnnx": "plugin",
    "ExportReport": "pipeline",
    "LabeledClassifier": "profile",
    "Profile": "profile",
    "ProfileSample": "profile",
    "UnsupportedOp": "native",
    "export_onnx": "pipeline",
    "register": "plugin",
    "register_layer": "native",
    "register_op": "native",
    "register_profile": "profile",
    "unregister": "plugin",
}
_LIGHT = {"profile"}  # modules that need no Keras


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    if module not in _LIGHT:
        load_keras()  # chooses the backend; a bare `import keras` would take Keras' own default, installed or not
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
