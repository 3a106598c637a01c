"""Which exporter converts a model: the native one where it covers it, else one of Keras' own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import onnx

from mnistkit.core import keras_backend as backends
from mnistkit.core.contract import IR_VERSION, OPSET
from mnistkit.core.errors import ExportError, InputError, MissingExtraError, UnsupportedError
from mnistkit.export.fallback.exporters import check_exporter, export_with
from mnistkit.export.fallback.normalize import ir_version_for, normalize, unknown_operations
from mnistkit.export.native import convert
from mnistkit.export.native.keras_hooks import flatten_layers
from mnistkit.export.native.lower import NewerOpsetError, NoExporterError
from mnistkit.export.native.signature import state_variables
from mnistkit.export.signature import Signature, signature_of_conversion, signature_of_model

NATIVE = "native"
EXPORTERS = ("auto", NATIVE, *backends.EXPORTERS)

FELL_BACK = "the native exporter cannot"
"""How the reason begins for which another exporter was taken."""

_OLD_NAME = "writer"  # of the native exporter up to 0.1


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model as an ONNX graph, not verified yet.

    Attributes:
        proto: The graph, normalized to the contract.
        signature: Its inputs and outputs and how the Keras model is called.
        exporter: The exporter that wrote it.
        reason: Why that one.
    """

    proto: onnx.ModelProto
    signature: Signature
    exporter: str
    reason: str


def choose(
    model: Any,
    exporter: str,
    *,
    opset: int | None,
    optimize: bool,
    batch: int | None,
    inputs: Any = None,
    stateful: bool | None = None,
) -> Chosen:
    """Convert a model with the exporter asked for; ``auto`` falls back from the native one to Keras' own.

    Args:
        model: The Keras model.
        exporter: One of `EXPORTERS`; ``"writer"`` is an old name of ``"native"``.
        opset: ONNX opset; 17 from the native exporter, the exporter's own choice otherwise.
        optimize: Let the native exporter fold and fuse.
        batch: Fix the batch axis to this size.
        inputs: What the model is called with, as for `mnistkit.export.native.convert`; its own inputs by default.
        stateful: Make inputs and outputs of what layers keep between calls; by default where a layer does.

    Raises:
        InputError: The exporter or the opset is unknown, or ``stateful`` or ``batch`` does not fit the layers.
        UnsupportedError: The native exporter was asked for, or is all there is, and cannot convert parts of the model;
            or the model computes in bfloat16.
        ExportError: The exporter fails.
        MissingExtraError: The exporter's packages are not installed.
    """
    if exporter == _OLD_NAME:
        warnings.warn('the exporter "writer" is called "native" now', DeprecationWarning, stacklevel=2)
        exporter = NATIVE
    if exporter not in EXPORTERS:
        raise InputError(f"unknown exporter {exporter!r}; use one of {', '.join(EXPORTERS)}")
    if opset is not None and opset < 1:
        raise InputError(f"opset must be at least 1, got {opset}; leave it out for the default")
    newest = onnx.defs.onnx_opset_version()
    if opset is not None and opset > newest:
        raise InputError(
            f"opset {opset} is newer than onnx {onnx.__version__} knows (up to {newest}); use an older one"
        )
    _refuse_bfloat16(model)
    _check_states(model, stateful=stateful, batch=batch)
    keeps = stateful is not False
    if exporter in backends.EXPORTERS:
        return _stock(model, exporter, "asked for by name", opset=opset, batch=batch, inputs=inputs)
    reason = "asked for by name" if exporter == NATIVE else "it covers the whole model"
    given: dict[str, Any] = {
        "ir_version": IR_VERSION, "batch": batch, "optimize": optimize, "inputs": inputs, "stateful": keeps
    }  # fmt: skip
    try:
        try:
            written = convert(model, opset=OPSET if opset is None else opset, **given)
        except NewerOpsetError as error:
            if opset is not None:
                raise
            written = convert(model, opset=error.opset, **given)
            reason += f", with opset {error.opset}, which it needs"
    except UnsupportedError as error:
        if exporter == NATIVE or isinstance(error, NoExporterError):
            raise
        return _fall_back(model, error, opset=opset, batch=batch, inputs=inputs)
    written.proto.ir_version = ir_version_for(written.proto)
    signature = signature_of_conversion(model, written, inputs=inputs, stateful=keeps)
    return Chosen(written.proto, signature, NATIVE, "; ".join((reason, *written.notes)))


def _check_states(model: Any, *, stateful: bool | None, batch: int | None) -> None:
    """Refuse what layers that keep states between calls cannot do.

    Raises:
        InputError: No layer keeps states, or they are kept for another batch size.
    """
    variables = state_variables(model)
    if stateful and not variables:
        raise InputError(f"no layer of {model.name} has stateful=True; export it without --stateful")
    sizes = sorted({int(variable.shape[0]) for variable in variables})
    if batch is not None and sizes and sizes != [batch]:
        raise InputError(
            f"the layers with stateful=True keep states for batches of {sizes[0]}, not {batch}; build the model with "
            f"Input(batch_size={batch}) and copy the weights"
        )


def _refuse_bfloat16(model: Any) -> None:
    """No exporter helps here: onnxruntime has next to no bfloat16 kernels for the CPU, so nothing could be verified."""
    layers = [layer for layer in flatten_layers(model, include_self=False) if layer.compute_dtype == "bfloat16"]
    if layers:
        names = ", ".join(layer.name for layer in layers[:3]) + (" ..." if len(layers) > 3 else "")  # noqa: PLR2004  # enough to find them
        raise UnsupportedError(
            f"{len(layers)} layers compute in bfloat16 ({names}), which onnxruntime does not run on a CPU; "
            'set `layer.dtype_policy = "float32"` or "mixed_float16" on them, then export'
        )


def _fall_back(
    model: Any, error: UnsupportedError, *, opset: int | None, batch: int | None, inputs: Any = None
) -> Chosen:
    """One of Keras' own exporters, for the reason that the native one cannot.

    Raises:
        ExportError: It fails as well; the message has both reasons.
    """
    reason = f"{FELL_BACK}: {error}"
    name = _fallback(error)
    try:
        return _stock(model, name, reason, opset=opset, batch=batch, inputs=inputs)
    except ExportError as other:
        raise UnsupportedError(f"{error}; {other}") from other


def _fallback(error: UnsupportedError) -> str:
    """The active backend's own exporter, else any that is installed."""
    here = backends.active_backend().name
    for name in sorted(backends.EXPORTERS, key=lambda name: backends.EXPORTERS[name] != here):
        try:
            check_exporter(name)
        except MissingExtraError:
            continue
        return name
    raise UnsupportedError(
        f"{error}; none of Keras' own exporters is installed either (extras tensorflow, jax2onnx, torch-onnx)"
    ) from error


def _stock(model: Any, name: str, reason: str, *, opset: int | None, batch: int | None, inputs: Any = None) -> Chosen:
    if state_variables(model):
        raise UnsupportedError(
            f"{name} cannot write layers with stateful=True, whose states would stay as they are now; use the native "
            "exporter, or set stateful=False"
        )
    signature = signature_of_model(model, inputs=inputs)
    if batch is not None:
        signature = signature.with_batch(batch)
    written = export_with(name, model, opset=opset)
    unknown = unknown_operations(written)
    if unknown:
        raise ExportError(f"the exporter {name} leaves operations that ONNX does not have: {', '.join(unknown)}")
    return Chosen(normalize(written, signature), signature, name, reason)
