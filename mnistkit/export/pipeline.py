"""Model in, proven file out: load, export, normalise, describe, prove, and only then put the file in its place."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit import backend as backends
from mnistkit import contract
from mnistkit.contract import GoldenPair
from mnistkit.data import Dataset, load_data
from mnistkit.errors import InputError
from mnistkit.export.exporters import export_with
from mnistkit.export.normalise import normalise
from mnistkit.export.proof import ATOL, Row, Sample, draw_inputs, keras_answers, prove, worst_of
from mnistkit.export.signature import Signature, signature_of
from mnistkit.files import check_writable, replacing, write_json
from mnistkit.models import load_model
from mnistkit.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

_GOLDEN_PAIRS = 4


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        path: The proven file.
        exporter: The exporter that wrote it.
        reason: Why that exporter was taken.
        sha256: Digest of the file.
        rows: The proof, one row for each sample and batch size.
        accuracy: Test accuracy through Keras and through onnxruntime, for digit classifiers, else ``None``.
        provenance: What was written to the JSON beside the file.
    """

    path: Path
    exporter: str
    reason: str
    sha256: str
    rows: tuple[Row, ...]
    accuracy: tuple[float, float] | None
    provenance: dict[str, Any]

    @property
    def largest(self) -> float:
        """Largest difference between Keras and onnxruntime that was seen."""
        return worst_of(self.rows)


def export_onnx(  # noqa: PLR0913  # each is a flag of the command line and has a default
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    exporter: str = "auto",
    opset: int | None = None,
    atol: float = ATOL,
    data: Dataset | None = None,
    labels: Sequence[str] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> ExportReport:
    """Export a Keras model to one proven ``.onnx`` file, with its provenance as JSON beside it.

    The file is written beside its target, proven there, and only then moved into place; on failure an older file stays
    as it was.

    Args:
        model: A ``keras.Model``, or the path of a ``.keras`` file.
        path: Where the file goes; beside the ``.keras`` file by default.
        exporter: ``"auto"``, or the name of one of Keras' own: ``"tf2onnx"``, ``"jax2onnx"``, ``"torch"``.
        opset: ONNX opset of the file; the exporter's own by default.
        atol: Largest allowed difference from Keras' answers.
        data: Test images for digit classifiers; the embedded MNIST by default.
        labels: Class names for the metadata; those it was trained with by default.
        input_names: Names for the inputs, in the model's order.
        output_names: Names for the outputs, in the model's order.

    Raises:
        ExportError: The model cannot be exported, or (`ParityError`) the file's answers differ.
        ModelFileError: The ``.keras`` file cannot be loaded.
        OutputError: The target cannot be written.
    """
    source = Path(model) if isinstance(model, (str, os.PathLike)) else None
    if source is None and path is None:
        raise InputError("path: name the file to write; only a .keras file has a default beside it")
    target = Path(path) if path is not None else Path(model).with_suffix(".onnx")
    if not atol > 0:
        raise InputError(f"atol must be above 0, got {atol}")
    check_writable(target)
    loaded = load_model(source) if source is not None else model
    name, reason = choose_exporter(exporter)
    signature = signature_of(loaded)
    if input_names is not None or output_names is not None:
        signature = signature.renamed(inputs=input_names, outputs=output_names)
    trained = _training_provenance(source, loaded)
    if signature.reads_digits:
        data = data or load_data(labels=labels or trained.get("data", {}).get("labels"))
    samples = _samples(loaded, signature, data)
    if signature.reads_digits and _are_probabilities(samples):
        plain, signature = signature, signature.for_digits()
        samples = [_renamed(sample, plain, signature) for sample in samples]

    graph = normalise(export_with(name, loaded, opset=opset), signature, ir_version=contract.IR_VERSION)
    accuracy = _describe(graph, loaded, signature, samples, data if signature.reads_digits else None)
    with replacing(target) as temporary:
        temporary.write_bytes(graph.SerializeToString(deterministic=True))
        rows = prove(temporary, samples, atol=atol)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    provenance = {
        "file": target.name,
        "sha256": digest,
        "exporter": {"name": name, "reason": reason},
        "exported_under": asdict(backends.active()),
        "opset": max(entry.version for entry in graph.opset_import if entry.domain in {"", "ai.onnx"}),
        "ir_version": graph.ir_version,
        "inputs": [str(tensor) for tensor in signature.inputs],
        "outputs": [str(tensor) for tensor in signature.outputs],
        "accuracy": None if accuracy is None else {"keras": accuracy[0], "onnxruntime": accuracy[1]},
        "proof": {"atol": atol, "largest": worst_of(rows), "rows": [_row(row) for row in rows]},
        "training": trained or None,
    }
    write_json(target.with_suffix(".json"), provenance)
    return ExportReport(target, name, reason, digest, tuple(rows), accuracy, provenance)


def choose_exporter(name: str) -> tuple[str, str]:
    """The exporter to take and why.

    Raises:
        InputError: The name is unknown.
    """
    if name in backends.EXPORTERS:
        return name, "asked for by name"
    if name != "auto":
        raise InputError(f"unknown exporter {name!r}; use auto or one of {', '.join(sorted(backends.EXPORTERS))}")
    here = backends.active().name
    return next(key for key, value in backends.EXPORTERS.items() if value == here), f"Keras' own under {here}"


def _samples(model: Any, signature: Signature, data: Dataset | None) -> list[Sample]:
    kinds = {kind: draw_inputs(signature, kind=kind) for kind in ("noise", "edges")}
    if signature.reads_digits and data is not None:
        tensor = signature.inputs[0]
        sizes = [size for size in tensor.shape[1:] if isinstance(size, int)]
        images = (data.x_test.astype(np.float32) / 255).reshape(-1, *sizes).astype(tensor.dtype)
        kinds = {"test images": {tensor.name: images}, **kinds}
    return [Sample(kind, arrays, keras_answers(model, signature, arrays)) for kind, arrays in kinds.items()]


def _are_probabilities(samples: Sequence[Sample]) -> bool:
    scores = np.concatenate([next(iter(sample.expected.values())) for sample in samples]).astype(np.float64)
    return bool((scores >= 0).all() and (np.abs(scores.sum(axis=1) - 1) < 1e-3).all())  # noqa: PLR2004  # float32 sums are far closer


def _renamed(sample: Sample, old: Signature, new: Signature) -> Sample:
    def rename(arrays: dict[str, NDArray[Any]], before: Any, after: Any) -> dict[str, NDArray[Any]]:
        return {b.name: arrays[a.name] for a, b in zip(before, after, strict=True)}

    return Sample(
        sample.name,
        rename(sample.inputs, old.inputs, new.inputs),
        rename(sample.expected, old.outputs, new.outputs),
    )


def _describe(
    graph: onnx.ModelProto, model: Any, signature: Signature, samples: Sequence[Sample], data: Dataset | None
) -> tuple[float, float] | None:
    """Write the metadata into the graph and return both test accuracies of a digit classifier."""
    entries = {
        "format_version": contract.FORMAT_VERSION,
        "keras_version": backends.active().keras_version,
        "weights_sha256": contract.weights_sha256(model.get_weights()),
    }
    runtime = Runtime(graph.SerializeToString(), device="cpu", exact=True)
    sample = samples[0]
    answers = runtime.run(sample.inputs)
    accuracy = None
    if data is not None:
        output = signature.outputs[0].name
        accuracy = _accuracy(sample.expected[output], data), _accuracy(answers[output], data)
        entries["labels"] = json.dumps(list(data.labels), ensure_ascii=False)
        entries["preprocessing"] = contract.PREPROCESSING
        entries["preprocessing_parameters"] = json.dumps(contract.PREPROCESSING_PARAMETERS, sort_keys=True)
        entries["test_accuracy"] = f"{accuracy[1]:.4f}"
    entries["golden"] = contract.encode_golden(_golden_pairs(sample, answers))
    for key in sorted(entries):
        graph.metadata_props.add(key=contract.PREFIX + key, value=entries[key])
    return accuracy


def _golden_pairs(sample: Sample, answers: dict[str, NDArray[Any]]) -> list[GoldenPair]:
    """The first inputs whose answers are not close to a rounding edge, so that every machine rounds them alike."""
    unit = 10.0**-contract.GOLDEN_DECIMALS
    edge = np.zeros(sample.rows)
    for answer in answers.values():
        if answer.dtype.kind == "f":
            fraction = np.abs(answer.reshape(len(answer), -1).astype(np.float64)) / unit % 1
            edge = np.maximum(edge, 0.5 - np.abs(fraction - 0.5).min(axis=1))
    order = np.argsort(edge > 0.4, kind="stable")[:_GOLDEN_PAIRS]  # noqa: PLR2004  # a tenth of a unit from the edge
    return [
        GoldenPair(
            {name: array[i : i + 1] for name, array in sample.inputs.items()},
            {name: np.round(array[i : i + 1], contract.GOLDEN_DECIMALS) for name, array in answers.items()},
        )
        for i in order
    ]


def _accuracy(scores: NDArray[Any], data: Dataset) -> float:
    return float(np.mean(scores.argmax(axis=1) == data.y_test))


def _training_provenance(source: Path | None, model: Any) -> dict[str, Any]:
    """The JSON that `mnistkit.train` left beside the ``.keras`` file, if it speaks of these very weights."""
    if source is None:
        return {}
    try:
        found = json.loads(source.with_suffix(".train.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    same = isinstance(found, dict) and found.get("weights_sha256") == contract.weights_sha256(model.get_weights())
    return dict(found) if same else {}


def _row(row: Row) -> dict[str, Any]:
    return {"sample": row.sample, "batch_size": row.batch_size, **asdict(row.comparison)}


