"""Keras models to verified ONNX, a faster ``fit``, and digits read from pictures.

Read a digit, with the model inside the package (needs onnxruntime, not Keras):

    from mnistkit import Classifier, read_picture
    print(Classifier().predict(read_picture("digit.png"))[0])    # 7 (99.0 %)

Export any Keras model; the file is written only if onnxruntime answers as Keras does:

    from mnistkit import export_onnx
    export_onnx(model, "model.onnx")

Train any compiled Keras model faster than ``model.fit``, with the same result:

    from mnistkit import fit
    fit(model, x, y, epochs=2, batch_size=32)

Other names: ``verify`` runs the golden pairs inside an exported file again, ``evaluate`` tests a file on a data set,
``shrink`` makes a smaller file of an ``.onnx`` file, ``load_data`` gives MNIST as arrays, ``Runtime`` runs any
``.onnx`` file, ``StatefulSession`` runs one whose recurrent layers keep their state, ``errors`` holds every error that
mnistkit raises on purpose. The tutorial's training is `mnistkit.digits.train.train`. The same on the command line:
``mnistkit --help``.

Importing this package loads nothing else. What is used first is loaded then; Keras only by what needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnistkit import errors
    from mnistkit.core.comparison import verify_file as verify
    from mnistkit.core.errors import MnistkitError
    from mnistkit.core.runtime import Runtime
    from mnistkit.core.stateful import StatefulSession
    from mnistkit.digits.classifier import Classifier, Prediction
    from mnistkit.digits.data import Dataset, load_data
    from mnistkit.digits.evaluate import evaluate
    from mnistkit.digits.pictures import read_picture
    from mnistkit.export.pipeline import export_onnx
    from mnistkit.publish.shrink.pipeline import shrink
    from mnistkit.training import fit
else:

    def export_onnx(model: Any, path: Any = None, **options: Any) -> Any:
        """Export a Keras model to one verified ``.onnx`` file; the options are those of `mnistkit.export.export_onnx`.

        Args:
            model: A ``keras.Model``, or the path of a ``.keras`` file.
            path: Where the file goes; beside the ``.keras`` file by default.
            options: For example ``opset=20``, ``batch=1``, ``input_names=[...]``, ``atol=1e-5``.

        Returns:
            An `mnistkit.export.ExportReport`.
        """
        from mnistkit.export import export_onnx as export  # loads Keras, which this module must not do by itself

        return export(model, path, **options)


__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Dataset",
    "MnistkitError",
    "Prediction",
    "Runtime",
    "StatefulSession",
    "errors",
    "evaluate",
    "export_onnx",
    "fit",
    "load_data",
    "read_picture",
    "shrink",
    "verify",
]

_HOMES = {
    "Classifier": "digits.classifier",
    "Dataset": "digits.data",
    "MnistkitError": "core.errors",
    "Prediction": "digits.classifier",
    "Runtime": "core.runtime",
    "StatefulSession": "core.stateful",
    "fit": "training",
    "load_data": "digits.data",
    "read_picture": "digits.pictures",
    "shrink": "publish.shrink",
}
_PACKAGES = (
    "bench", "cli", "core", "digits", "doctor", "errors", "evaluate", "export", "info", "predict", "publish", "report",
    "serve", "train", "training", "verify",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "verify_file":
        from mnistkit.core.modules import moved

        return moved(__name__, name, {name: __name__}, new="verify")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
