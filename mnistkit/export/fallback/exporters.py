"""Keras' own ONNX exporters, each in a child process under its own backend.

A ``.keras`` file is backend-neutral, so any of them exports any model whatever trained it. The child keeps a second
framework, its log lines and its monkey patches out of this process. A model with parts of the user's own cannot be
loaded there, where nobody has defined them: the active backend's exporter takes it here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import BackendError, ExportError, MissingExtraError
from mnistkit.core.install import install_hint
from mnistkit.core.keras_backend import (
    EXPORTERS,
    active_backend,
    is_installed,
    load_keras,
    quiet_startup_logs,
    version_of,
)

if TYPE_CHECKING:
    import onnx

PACKAGES: dict[str, tuple[str, str]] = {
    "tf2onnx": ("tf2onnx", "tensorflow"),
    "jax2onnx": ("jax2onnx", "jax2onnx"),
    "torch": ("onnxscript", "torch-onnx"),
}
"""For each exporter the package it needs beside the framework, and the extra that brings both."""

_OF_KERAS = {"keras", "keras_hub"}


def check_exporter(name: str) -> None:
    """Raise unless the exporter's packages can be found.

    Raises:
        MissingExtraError: A package is missing; the message has the command that installs it.
    """
    package, extra = PACKAGES[name]
    for needed in (EXPORTERS[name], package):
        if not is_installed(needed):
            raise MissingExtraError(
                f"the exporter {name} needs {needed}, which is not installed; run {install_hint(extra)}"
            )


def export_with(name: str, model: Any, *, opset: int | None) -> onnx.ModelProto:
    """Export a Keras model with one of Keras' own exporters.

    Args:
        name: Key of `mnistkit.core.keras_backend.EXPORTERS`.
        model: Any ``keras.Model`` that can be saved.
        opset: Opset to ask for; ``None`` for the exporter's own.

    Returns:
        What the exporter wrote, untouched.

    Raises:
        ExportError: The exporter fails; the message ends with its own last line.
        MissingExtraError: Its packages are not installed.
    """
    import onnx

    check_exporter(name)
    parts = _own_parts(model)
    here = active_backend().name == EXPORTERS[name]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "model.keras", Path(folder) / "model.onnx"
        if parts and here:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore"
                    )  # the exporter's own, about itself; the verification judges what it wrote
                    _export(model, str(target), opset or 0)
            except Exception as error:
                raise ExportError(
                    f"the exporter {name} ({_versions(name)}) fails: {_last_line(str(error) or type(error).__name__)}"
                ) from error
            return onnx.load(target)
        if parts:
            raise ExportError(
                f"the exporter {name} runs in a process of its own, which does not know {', '.join(parts)}; "
                f"export under KERAS_BACKEND={EXPORTERS[name]}"
            )
        model.save(source)
        command = [
            sys.executable,
            "-m",
            "mnistkit.export.fallback.exporters",
            str(source),
            str(target),
            str(opset or 0),
        ]
        environment = {**os.environ, "KERAS_BACKEND": EXPORTERS[name]}
        child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  # our own module
        if child.returncode != 0 or not target.is_file():
            raise ExportError(f"the exporter {name} ({_versions(name)}) fails: {_last_line(child.stderr)}")
        return onnx.load(target)  # reads weights beside the file, as torch writes them, into the message


def _own_parts(model: Any) -> list[str]:
    """Names of the classes in a model that no package of Keras brings, and Lambda, which is what its user wrote."""
    from mnistkit.export.native.keras_hooks import flatten_layers  # it imports Keras

    parts = [model, *flatten_layers(model, include_self=False)]
    parts += [operation for part in parts for operation in getattr(part, "operations", ())]
    classes = {type(part) for part in parts}
    return sorted(
        kind.__name__
        for kind in classes
        if kind.__module__.partition(".")[0] not in _OF_KERAS or kind.__name__ == "Lambda"
    )


def _versions(name: str) -> str:
    packages = dict.fromkeys((PACKAGES[name][0], EXPORTERS[name]))
    return ", ".join(f"{package} {version_of(package)}" for package in packages)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def _child(source: str, target: str, opset: int) -> None:
    quiet_startup_logs()
    load_keras()
    from mnistkit.core.keras_files import load_model

    _export(load_model(source), target, opset)


def _export(model: Any, target: str, opset: int) -> None:
    """Call once (stock Keras refuses a model that was never called), export."""
    from mnistkit.export.signature import signature_of_model

    signature = signature_of_model(model)
    # A batch of two and not one: tracing with one freezes the axis.
    sizes = {
        tensor.name: [size if isinstance(size, int) else 8 if axis else 2 for axis, size in enumerate(tensor.shape)]
        for tensor in signature.inputs
    }
    signature.call(model, {tensor.name: np.zeros(sizes[tensor.name], tensor.dtype) for tensor in signature.inputs})
    options = {"opset_version": opset} if opset else {}
    model.export(target, format="onnx", verbose=False, **options)


if __name__ == "__main__":
    try:
        _child(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    except BackendError as error:
        sys.exit(str(error))
