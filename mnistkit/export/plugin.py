"""Keras' own ways to export, through mnistkit: ``model.export`` and a callback."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from mnistkit.core.errors import InputError
from mnistkit.export.native.signature import CallArguments
from mnistkit.export.pipeline import ExportReport, export_onnx

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

_kept: list[Callable[..., Any]] = []


def register() -> None:
    """Let ``model.export(path, format="onnx")`` of this process go through mnistkit; other formats stay Keras'.

    Keras' arguments keep their meaning:

    - ``input_signature`` gives names, shapes and types to the inputs, one entry for each argument of ``call``. An
      ``InputSpec`` counts as it is, a tensor as an example: its batch axis stays free.
    - ``opset_version`` is the opset.
    - ``verbose``, true by default, prints one line to stderr: the file, and how it was verified.

    Any other option is an error: Keras hands it to one backend's exporter, which is not at work here. No provenance
    describes a model from memory, so nothing is added to it or renamed; `export_onnx` with a profile does that. Calling
    it twice changes nothing.
    """
    if _kept:
        return
    original = keras.Model.export
    _kept.append(original)

    @functools.wraps(original)
    def export(
        self: Any,
        filepath: Any,
        format: str = "tf_saved_model",  # noqa: A002  # Keras' name
        verbose: bool | None = None,  # noqa: FBT001  # Keras' order
        input_signature: Any = None,
        **options: Any,
    ) -> Any:
        if format != "onnx":
            return original(self, filepath, format, verbose, input_signature, **options)
        return _export(self, filepath, verbose=verbose, input_signature=input_signature, **options)

    keras.Model.export = export


def unregister() -> None:
    """Give ``model.export`` back to Keras; does nothing when it was never taken."""
    if _kept:
        keras.Model.export = _kept.pop()


def _export(
    model: Any,
    filepath: str | os.PathLike[str],
    *,
    verbose: bool | None,
    input_signature: Any,
    opset_version: int | None = None,
    **others: Any,
) -> None:
    if others:
        raise InputError(
            f"model.export(format='onnx') has no option {', '.join(sorted(others))} with mnistkit; leave it out, use "
            "mnistkit.export.export_onnx, or give model.export back to Keras with unregister()"
        )
    inputs = None
    if input_signature is not None:
        arguments = _as_arguments(model, input_signature)
        if not model.built:
            model(*[keras.tree.map_structure(_zeros, part) for part in arguments.values()])
        specs = {name: keras.tree.map_structure(_spec, part) for name, part in arguments.items()}
        inputs = CallArguments(specs) if len(specs) > 1 else next(iter(specs.values()))
    report = export_onnx(model, filepath, opset=opset_version, inputs=inputs)
    if verbose or verbose is None:
        told = f"exporter {report.exporter}, verified, largest difference {report.largest:.1e}"
        print(f"{report.path}: {told}", file=sys.stderr)  # noqa: T201  # Keras prints one line too


def _as_arguments(model: Any, signature: Any) -> dict[str, Any]:
    """Keras takes a list with one entry for each argument of ``call``; a functional model has one argument."""
    parts = list(signature) if isinstance(signature, (list, tuple)) else [signature]
    variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    parameters = inspect.signature(model.call).parameters.values()
    names = [p.name for p in parameters if p.kind not in variable and p.name not in {"training", "mask"}]
    if len(parts) > 1 and (hasattr(model, "operations") or len(names) < len(parts)):
        parts = [parts]  # the inputs of a functional model, without the list around them
    if not parts:
        raise InputError("input_signature is empty; give one keras.InputSpec for each argument of call")
    return dict(zip(names, parts, strict=False))


def _spec(given: Any) -> Any:
    """A spec counts as it is; a tensor, symbolic or not, is an example of one row count."""
    if isinstance(given, keras.KerasTensor) or keras.ops.is_tensor(given):
        name = given.name if isinstance(given, keras.KerasTensor) else None
        dtype = keras.backend.standardize_dtype(given.dtype)
        return keras.InputSpec(shape=(None, *tuple(given.shape)[1:]), dtype=dtype, name=name)
    return given


def _zeros(spec: Any) -> Any:
    return keras.ops.zeros([2 if size is None else size for size in spec.shape], dtype=spec.dtype or "float32")


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
