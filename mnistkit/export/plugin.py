"""Keras' own ways to export, through mnistkit: ``model.export`` and a callback."""

from __future__ import annotations

import functools
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from mnistkit.core.errors import InputError
from mnistkit.export.pipeline import ExportReport, export_onnx

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

_kept: list[Callable[..., Any]] = []


def register() -> None:
    """Let ``model.export(path, format="onnx")`` of this process go through mnistkit; other formats stay Keras'.

    Keras' arguments keep their meaning: ``opset_version`` is the opset, ``input_signature`` gives shapes and types to a
    model that was never called, ``verbose`` prints what was verified to stderr. No provenance describes a model from
    memory, so nothing is added to it or renamed; `export_onnx` with a profile does that. Calling it twice changes
    nothing.
    """
    if _kept:
        return
    original = keras.Model.export
    _kept.append(original)

    @functools.wraps(original)
    def export(self: Any, filepath: Any, format: str = "tf_saved_model", **options: Any) -> Any:  # noqa: A002  # Keras' name
        if format != "onnx":
            return original(self, filepath, format, **options)
        return _export(self, filepath, **options)

    keras.Model.export = export


def unregister() -> None:
    """Give ``model.export`` back to Keras; does nothing when it was never taken."""
    if _kept:
        keras.Model.export = _kept.pop()


def _export(
    model: Any,
    filepath: str | os.PathLike[str],
    *,
    verbose: bool | None = None,
    input_signature: Any = None,
    opset_version: int | None = None,
) -> None:
    if input_signature is not None and not model.built:
        model(*[_zeros(part) for part in _as_arguments(input_signature)])
    report = export_onnx(model, filepath, opset=opset_version)
    if verbose:
        told = f"exporter {report.exporter}, verified, largest difference {report.largest:.1e}"
        print(f"{report.path}: {told}", file=sys.stderr)  # noqa: T201  # asked for


def _as_arguments(signature: Any) -> list[Any]:
    """Keras takes a list with one entry for each argument of ``call``."""
    return list(signature) if isinstance(signature, (list, tuple)) else [signature]


def _zeros(part: Any) -> Any:
    def zeros(spec: Any) -> Any:
        return keras.ops.zeros([2 if size is None else size for size in spec.shape], dtype=spec.dtype or "float32")

    return keras.tree.map_structure(zeros, part)


class ExportOnnx(keras.callbacks.Callback):
    """Export the model whenever an epoch is the best so far; the file is always a verified one.

    Args:
        path: Where the ``.onnx`` goes.
        monitor: Name in the epoch's logs, such as ``"val_loss"``.
        mode: ``"min"`` or ``"max"``; ``"auto"`` takes max for accuracies and areas under curves, else min.
        options: Keyword arguments of `mnistkit.export.export_onnx`.

    Raises:
        InputError: ``mode`` is unknown.

    Without the monitored value, as ``val_loss`` without validation data, it warns once, exports nothing, and the
    training goes on.

    Example:
        >>> model.fit(x, y, validation_split=0.1, callbacks=[ExportOnnx("best.onnx", monitor="val_loss")])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        monitor: str = "val_loss",
        mode: str = "auto",
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if mode not in {"auto", "min", "max"}:
            raise InputError(f"unknown mode {mode!r}; use auto, min or max")
        self.path, self.monitor, self.options = Path(path), monitor, dict(options or {})
        rising = ("acc", "auc", "precision", "recall", "f1", "iou")
        self._sign = 1 if mode == "max" or (mode == "auto" and any(word in monitor.lower() for word in rising)) else -1
        self._warned = False
        self.best: float | None = None
        """The best value so far."""
        self.report: ExportReport | None = None
        """What the last export did."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Export if the monitored value is the best so far."""
        if not logs or self.monitor not in logs:
            if not self._warned:
                known = ", ".join(sorted(logs or {})) or "nothing"
                warnings.warn(
                    f"ExportOnnx exports nothing: epoch {epoch + 1} has no {self.monitor!r} to monitor; it logs "
                    f"{known}. Give validation data, or monitor one of these",
                    stacklevel=2,
                )
            self._warned = True
            return
        value = float(logs[self.monitor])
        if self.best is None or self._sign * value > self._sign * self.best:
            self.best = value
            self.report = export_onnx(self.model, self.path, **self.options)
