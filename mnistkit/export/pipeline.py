"""Model in, proven file out: load, write, describe, prove, and only then put the file in its place."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core import contract, golden
from mnistkit.core import keras_backend as backends
from mnistkit.core.errors import InputError, ParityError, one_line
from mnistkit.core.files import check_writable, write_json
from mnistkit.core.golden import GoldenPair
from mnistkit.core.keras_files import load_model, weights_of
from mnistkit.core.runtime import Runtime
from mnistkit.digits import profile
from mnistkit.digits.data import Dataset, load_data
from mnistkit.export.atomic_save import staged
from mnistkit.export.choose import choose
from mnistkit.export.diagnose import first_difference
from mnistkit.export.fallback.normalize import rename
from mnistkit.export.index_inputs import table_sizes
from mnistkit.export.samples import Sample, check_finite, draw, sample_any
from mnistkit.export.verification import BATCH_SIZES, FEW_BATCH_SIZES, Row, derived_atol, prove, run_in_steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from mnistkit.core.runtime import TensorInfo
    from mnistkit.export.atomic_save import Stage
    from mnistkit.export.choose import Chosen
    from mnistkit.export.signature import Signature

_GOLDEN_PAIRS = 4
_CHUNK = 512  # rows given to Keras at once


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        path: The proven file.
        exporter: The exporter that wrote it.
        reason: Why that exporter was taken.
        sha256: Digest of the file.
        atol: The tolerance of the proof.
        rows: The proof, one row for each sample and batch size.
        accuracy: Test accuracy through Keras and through onnxruntime, for digit classifiers, else ``None``.
        provenance: What was written to the JSON beside the file.
    """

    path: Path
    exporter: str
    reason: str
    sha256: str
    atol: float
    rows: tuple[Row, ...]
    accuracy: tuple[float, float] | None
    provenance: dict[str, Any]

    @property
    def largest(self) -> float:
        """Largest difference between Keras and onnxruntime that was seen."""
        return max(row.comparison.largest for row in self.rows)


def export_onnx(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    exporter: str = "auto",
    opset: int | None = None,
    optimize: bool = True,
    batch: int | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    atol: float | None = None,
    samples: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None = None,
    data: Dataset | None = None,
    labels: Sequence[str] | None = None,
) -> ExportReport:
    """Export a Keras model to one proven ``.onnx`` file, with its provenance as JSON beside it.

    The file is written beside its target, proven there, and only then moved into place; on failure an older file stays
    as it was.

    Args:
        model: A ``keras.Model``, or the path of a ``.keras`` file.
        path: Where the file goes; beside the ``.keras`` file by default.
        exporter: ``"auto"`` (the writer, and where it cannot, one of Keras' own), ``"writer"``, ``"tf2onnx"``,
            ``"jax2onnx"`` or ``"torch"``.
        opset: ONNX opset of the file; 17 from the writer, the exporter's own choice otherwise.
        optimize: Let the writer fold and fuse.
        batch: Fix the batch axis to this size; free by default.
        input_names: Names for the inputs, in the model's order.
        output_names: Names for the outputs, in the model's order.
        atol: Largest allowed difference from Keras' answers; derived from the model by default.
        samples: Real inputs for the proof, arrays by input name with equal numbers of rows, or an ``.npz`` of them.
        data: Test images for digit classifiers; the embedded MNIST by default.
        labels: Class names for the metadata; those it was trained with by default.

    Raises:
        ExportError: The model cannot be exported (`UnsupportedError` lists every part that cannot), or the file's
            answers differ (`ParityError` names the first layer that does).
        ModelFileError: The ``.keras`` file cannot be loaded.
        InputError: An option does not fit the model.
        OutputError: The target cannot be written.
    """
    source = Path(model) if isinstance(model, (str, os.PathLike)) else None
    if source is None and path is None:
        raise InputError("path: name the file to write; only a .keras file has a default beside it")
    target = Path(path) if path is not None else Path(model).with_suffix(".onnx")
    if atol is not None and not atol > 0:
        raise InputError(f"atol must be above 0, got {atol}")
    if batch is not None and batch < 1:
        raise InputError(f"batch must be at least 1, got {batch}")
    _check_target(target, source)
    loaded = load_model(source) if source is not None else model
    chosen = choose(loaded, exporter, opset=opset, optimize=optimize, batch=batch)
    signature = chosen.signature
    batch = signature.batch
    trained = _training_provenance(source, loaded)
    given = _given_samples(samples, signature)
    digits = signature.reads_digits and given is None
    if digits:
        data = data or load_data(labels=labels or trained.get("data", {}).get("labels"))
    proof_samples = _samples(loaded, chosen, data=data if digits else None, given=given, batch=batch)
    names = signature
    if digits and _are_probabilities(proof_samples):
        names = signature.for_digits()
    if input_names is not None or output_names is not None:
        names = names.renamed(inputs=input_names, outputs=output_names)
    if names != signature:
        rename(chosen.proto, names)
        proof_samples = [_renamed(sample, signature, names) for sample in proof_samples]

    allowed = atol if atol is not None else derived_atol(loaded)
    with staged(target, chosen.proto) as stage:
        stage.write(chosen.proto)
        accuracy = _describe(
            chosen.proto,
            stage,
            loaded,
            names,
            proof_samples,
            data=data if digits else None,
            temperature=trained.get("temperature"),
        )
        stage.write(chosen.proto)
        try:
            rows = prove(stage.path, proof_samples, atol=allowed)
        except ParityError as error:
            raise ParityError(f"{error}{first_difference(loaded, chosen, proof_samples[0], allowed)}") from error
        digest = hashlib.sha256(stage.path.read_bytes()).hexdigest()
    provenance = {
        "file": target.name,
        "sha256": digest,
        "external_data": asdict(stage.weights) if stage.weights else None,
        "exporter": {"name": chosen.exporter, "reason": chosen.reason},
        "exported_under": asdict(backends.active_backend()),
        "opset": max(entry.version for entry in chosen.proto.opset_import if entry.domain in {"", "ai.onnx"}),
        "ir_version": chosen.proto.ir_version,
        "inputs": [str(tensor) for tensor in names.inputs],
        "outputs": [str(tensor) for tensor in names.outputs],
        "batch": batch,
        "accuracy": None if accuracy is None else {"keras": accuracy[0], "onnxruntime": accuracy[1]},
        "proof": {
            "atol": allowed,
            "largest": max(row.comparison.largest for row in rows),
            "rows": [{"sample": row.sample, "batch_size": row.batch_size, **asdict(row.comparison)} for row in rows],
        },
        "training": trained or None,
    }
    write_json(target.with_suffix(".json"), provenance)
    return ExportReport(target, chosen.exporter, chosen.reason, digest, allowed, tuple(rows), accuracy, provenance)


def _check_target(target: Path, source: Path | None) -> None:
    """Refuse what could not be written, or would overwrite the model or its own JSON.

    Raises:
        InputError: The target is the model itself or has the ending of the JSON beside it.
        OutputError: It cannot be written.
    """
    if source is not None and target.resolve() == source.resolve():
        raise InputError(f"{target}: this is the model itself; name another file with --out")
    if target.suffix == ".json":
        raise InputError(f"{target}: the provenance beside the file ends in .json; name the file .onnx")
    check_writable(target)


def _samples(
    model: Any, chosen: Chosen, *, data: Dataset | None, given: dict[str, NDArray[Any]] | None, batch: int | None
) -> list[Sample]:
    signature = chosen.signature
    if given is not None:
        sizes = tuple(sorted({size for size in FEW_BATCH_SIZES if size <= len(next(iter(given.values())))}))
        answers = _answers(model, signature, given, batch=batch)
        return [Sample("given samples", given, answers, (batch,) if batch else sizes)]
    if data is None:
        sizes = (batch,) if batch else FEW_BATCH_SIZES
        return sample_any(model, signature, batch_sizes=sizes, tables=table_sizes(chosen.proto.graph))
    tensor = signature.inputs[0]
    shape = [size for size in tensor.shape[1:] if isinstance(size, int)]
    rows = max(BATCH_SIZES)
    images = (data.x_test.astype(np.float32) / 255).reshape(-1, *shape).astype(tensor.dtype)
    noise = np.random.default_rng(0).random((rows, *shape)).astype(tensor.dtype)
    edges = draw(signature, rows=rows, lengths=(1,), high=2, edges=True)[tensor.name]
    parts = {"test images": images, "noise": noise, "edges": edges}
    answers = _answers(model, signature, {tensor.name: np.concatenate(list(parts.values()))}, batch=batch)
    samples = []
    start = 0
    for name, part in parts.items():
        expected = {key: answer[start : start + len(part)] for key, answer in answers.items()}
        sizes = (batch,) if batch else tuple(sorted({*BATCH_SIZES, len(part)}))
        samples.append(Sample(name, {tensor.name: part}, expected, sizes))
        start += len(part)
    return samples


def _answers(
    model: Any, signature: Signature, arrays: dict[str, NDArray[Any]], *, batch: int | None
) -> dict[str, NDArray[Any]]:
    """Keras' answers, a few hundred rows at a time and always as many: a backend may compile for each size anew."""
    rows = len(next(iter(arrays.values())))
    step = batch or min(_CHUNK, rows)
    missing = -rows % step
    filled = {key: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for key, array in arrays.items()}
    parts = [
        signature.call(model, {key: array[start : start + step] for key, array in filled.items()})
        for start in range(0, rows, step)
    ]
    expected = {
        key: np.concatenate([part[key] for part in parts])[:rows] if first.ndim else first
        for key, first in parts[0].items()
    }
    check_finite(expected)
    return expected


def _given_samples(
    samples: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None, signature: Signature
) -> dict[str, NDArray[Any]] | None:
    if samples is None:
        return None
    if isinstance(samples, (str, os.PathLike)):
        try:
            with np.load(samples, allow_pickle=False) as archive:
                samples = {key: archive[key] for key in archive.files}
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{samples}: not an .npz of arrays ({one_line(error, limit=120)})") from error
    names = [tensor.name for tensor in signature.inputs]
    if set(samples) != set(names):
        raise InputError(f"samples: expected arrays {', '.join(names)}, got {', '.join(samples) or 'none'}")
    lengths = {len(array) if np.ndim(array) else 0 for array in samples.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError("samples: every array needs the same number of rows, at least one")
    return {tensor.name: _fitting(np.asarray(samples[tensor.name]), tensor) for tensor in signature.inputs}


def _fitting(array: NDArray[Any], tensor: TensorInfo) -> NDArray[Any]:
    """A given sample in the type of its input.

    Raises:
        InputError: It has another shape, or is no array of finite numbers.
    """
    fits = len(array.shape) == len(tensor.shape) and all(
        got == want or not isinstance(want, int) for got, want in zip(array.shape[1:], tensor.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(f"samples: expected {tensor}, got {list(array.shape)}")
    try:
        numbers = array.astype(tensor.dtype)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"samples: {tensor.name}: no array of {tensor.dtype} ({one_line(error, limit=120)})"
        ) from error
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise InputError(f"samples: {tensor.name} has NaN or an infinity; give inputs that the model has answers to")
    return numbers


def _are_probabilities(samples: Sequence[Sample]) -> bool:
    scores = np.concatenate([next(iter(sample.expected.values())) for sample in samples]).astype(np.float64)
    return bool((scores >= 0).all() and (np.abs(scores.sum(axis=1) - 1) < 1e-2).all())  # noqa: PLR2004  # float16 sums


def _renamed(sample: Sample, old: Signature, new: Signature) -> Sample:
    inputs = {b.name: sample.inputs[a.name] for a, b in zip(old.inputs, new.inputs, strict=True)}
    expected = {b.name: sample.expected[a.name] for a, b in zip(old.outputs, new.outputs, strict=True)}
    return replace(sample, inputs=inputs, expected=expected)


def _describe(
    graph: onnx.ModelProto,
    stage: Stage,
    model: Any,
    signature: Signature,
    samples: Sequence[Sample],
    *,
    data: Dataset | None,
    temperature: float | None,
) -> tuple[float, float] | None:
    """Write the metadata into the graph and return both test accuracies of a digit classifier."""
    entries = {
        "format_version": contract.FORMAT_VERSION,
        "keras_version": backends.active_backend().keras_version,
        "weights_sha256": contract.weights_sha256(weights_of(model)),
    }
    accuracy = None
    runtime = Runtime(stage.path, device="cpu", exact=True)
    sample = samples[0]
    if data is None:
        entries["golden"] = golden.encode_golden([_golden_pair(runtime, sample)])
    else:
        answers = run_in_steps(runtime, sample.inputs, max(sample.batch_sizes))
        scores = answers[signature.outputs[0].name]
        expected = sample.expected[signature.outputs[0].name]
        accuracy = _accuracy(expected, data), _accuracy(scores, data)
        pairs = _golden_rows(sample, answers) if len(sample.batch_sizes) > 1 else [_golden_pair(runtime, sample)]
        entries["golden"] = golden.encode_golden(pairs)
        entries["labels"] = json.dumps(list(data.labels), ensure_ascii=False)
        entries["preprocessing"] = profile.PREPROCESSING
        entries["preprocessing_parameters"] = json.dumps(profile.PREPROCESSING_PARAMETERS, sort_keys=True)
        entries["test_accuracy"] = f"{accuracy[1]:.4f}"
    if temperature is not None:
        entries["temperature"] = f"{temperature:.4f}"  # how the confidence was calibrated; it is in the weights already
    for key in sorted(entries):
        graph.metadata_props.add(key=contract.PREFIX + key, value=entries[key])
    return accuracy


def _golden_pair(runtime: Runtime, sample: Sample) -> GoldenPair:
    """The sample's first batch."""
    inputs = {name: array[: sample.batch_sizes[0]] for name, array in sample.inputs.items()}
    return _pair(inputs, run_in_steps(runtime, inputs, sample.batch_sizes[0]))


def _golden_rows(sample: Sample, answers: dict[str, NDArray[Any]]) -> list[GoldenPair]:
    """The first inputs whose answers tell most: unsure ones, which a changed weight moves, not near a rounding edge."""
    unit = 10.0**-golden.GOLDEN_DECIMALS
    rows = len(next(iter(answers.values())))
    edge, surest = np.zeros(rows), np.zeros(rows)
    for answer in answers.values():
        flat = answer.reshape(rows, -1).astype(np.float64)
        fraction = np.abs(flat) / unit % 1
        edge = np.maximum(edge, 0.5 - np.abs(fraction - 0.5).min(axis=1))
        surest = np.maximum(surest, flat.max(axis=1))
    # An answer rounds alike on every machine a tenth of a unit from the edge; 0.99999 stays so whatever a weight is.
    last = 2 * (edge > 0.4) + ((surest < 0.5) | (surest > 0.9))  # noqa: PLR2004  # explained above
    order = np.argsort(last, kind="stable")[:_GOLDEN_PAIRS]
    return [
        _pair(
            {name: array[i : i + 1] for name, array in sample.inputs.items()},
            {name: array[i : i + 1] for name, array in answers.items()},
        )
        for i in order
    ]


def _pair(inputs: dict[str, NDArray[Any]], answers: dict[str, NDArray[Any]]) -> GoldenPair:
    return GoldenPair(inputs, golden.rounded(answers))


def _accuracy(scores: NDArray[Any], data: Dataset) -> float:
    rows = len(scores)  # a fixed batch size may leave a few images over
    return float(np.mean(scores.argmax(axis=1) == data.y_test[:rows]))


def _training_provenance(source: Path | None, model: Any) -> dict[str, Any]:
    """The JSON that `mnistkit.train` left beside the ``.keras`` file, if it speaks of these very weights."""
    if source is None:
        return {}
    try:
        found = json.loads(source.with_suffix(".train.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    same = isinstance(found, dict) and found.get("weights_sha256") == contract.weights_sha256(weights_of(model))
    return dict(found) if same else {}
