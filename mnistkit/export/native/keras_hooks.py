"""Every private name of Keras that the exporter uses, in one file, each with what it is for.

A name that this version of Keras does not have is an error that says so: never an odd failure later.
"""

from __future__ import annotations

import importlib
from typing import Any

import keras

from mnistkit.core.errors import ExportError


def private(path: str, purpose: str) -> Any:
    """Look a private name of Keras up.

    Args:
        path: Module and attributes, as ``keras.src.ops.operation:Operation.symbolic_call``.
        purpose: What the exporter needs it for; part of the error message.

    Raises:
        ExportError: This version of Keras has no such name.
    """
    module, _, names = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in filter(None, names.split(".")):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise ExportError(
            f"Keras {keras.__version__} has no {path}, which the native exporter needs ({purpose}); "
            "choose another exporter, or another version of Keras"
        ) from error
    return found
