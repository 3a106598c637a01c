"""Export a Keras model: convert, sample, annotate, verify, and only then put the file in its place."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mnistkit.core import keras_backend as backends
from mnistkit.core.errors import InputError, ParityError
from mnistkit.core.files import check_writable, write_json
from mnistkit.core.keras_files import load_model
from mnistkit.export.annotate import annotate
from mnistkit.export.answers import KerasAnswers
from mnistkit.export.atomic_save import pending_model
from mnistkit.export.choose import FELL_BACK, NATIVE, choose
from mnistkit.export.collect_samples import collect_samples
from mnistkit.export.diagnose import first_difference
from mnistkit.export.fallback.normalize import rename
from mnistkit.export.profile import choose_profile
from mnistkit.export.provenance import check_replaceable, provenance_path, read_training
from mnistkit.export.verification import derived_atol, verify_samples
from mnistkit.export.widening import in_single_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.export.atomic_save import ExternalData
    from mnistkit.export.choose import Chosen
    from mnistkit.export.profile import Profile
    from mnistkit.export.samples import Sample
    from mnistkit.export.signature import Signature
    from mnistkit.export.verification import VerificationRow


@dataclass(frozen=True, slots=True, repr=False)
class ExportReport:
    """What an export did. ``print(report)`` shows it as a table.

    Attributes:
        path: The verified file.
        exporter: The exporter that wrote it.
        reason: Why that exporter was taken.
        profile: Name of the profile that described the model, ``None`` without one.
        inputs: Inputs of the file.
        outputs: Outputs of the file.
        sha256: Digest of the file.
        atol: The tolerance of the verification.
        rows: The verification, one row for each sample and batch size.
        left_out: For each sample with rows that were not compared how many: rows for which Keras has no finite answer,
            or whose answer a rounding of the input decides.
        notes: What the file answers otherwise than Keras: for inputs that are no numbers or infinite, or of which
            PyTorch takes any of several equal elements.
        accuracy: Test accuracy through Keras and through onnxruntime, where the profile measures one.
        provenance: What was written to the JSON beside the file.
        renamed: The new name of each input and output that Keras calls otherwise, where the caller asked for names.
        states: For each tensor that a layer keeps between calls the input that takes it and the output that gives it.
    """

    path: Path
    exporter: str
    reason: str
    profile: str | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    sha256: str
    atol: float
    rows: tuple[VerificationRow, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...]
    accuracy: tuple[float, float] | None
    provenance: dict[str, Any]
    renamed: dict[str, str] = field(default_factory=dict)
    states: tuple[tuple[str, str], ...] = ()

    @property
    def largest(self) -> float:
        """Largest difference between Keras and onnxruntime, relative to the sample's largest answer above 1."""
        return max(
            row.comparison.largest / max(1.0, row.comparison.allowed / (self.atol * row.widened)) for row in self.rows
        )

    @property
    def provenance_path(self) -> Path:
        """The JSON beside the file."""
        return provenance_path(self.path)

    def __repr__(self) -> str:
        return f"ExportReport({str(self.path)!r}, exporter={self.exporter!r}, largest={self.largest:.1e})"

    def __str__(self) -> str:
        width = max(len(row.sample) for row in self.rows) + 2
        lines = [
            f"exporter {self.exporter} ({self.reason})",
            f"{'sample':<{width}}{'batch':>6}{'rows':>7}{'largest |Keras - onnxruntime|':>31}{'same label':>12}",
        ]
        for row in self.rows:
            found = row.comparison
            lines.append(
                f"{row.sample:<{width}}{row.batch_size:>6}{found.rows:>7}{found.largest:>31.1e}{found.agreement:>12.2%}"
            )
        lines.append(f"tolerance: {self.atol:.1e} (relative to the largest output if that is above 1)")
        lines += [
            f"{row.sample}, batch size {row.batch_size}: tolerance widened {row.widened:.1f} times; a change of the "
            "last bit of weights and inputs moves Keras' own answers that far"
            for row in self.rows
            if row.widened > 1
        ]
        for sample, count in self.left_out.items():
            lines.append(
                f"{sample}: {count} rows left out; Keras' answer is not finite, or rounding of the input decides it"
            )
        lines += [f"differs from Keras: {note}" for note in self.notes]
        if self.accuracy is not None:
            lines.append(f"test accuracy: Keras {self.accuracy[0]:.4f}, onnxruntime {self.accuracy[1]:.4f}")
        if self.renamed:
            lines.append("renamed: " + ", ".join(f"{old} -> {new}" for old, new in self.renamed.items()))
        if self.states:
            pairs = ", ".join(f"{before} -> {after}" for before, after in self.states)
            lines.append(f"states: {pairs}; mnistkit.StatefulSession carries them from call to call")
        return "\n".join([*lines, f"wrote {self.path}, {self.provenance_path}"])


@backends.full_precision()  # what Keras answers is compared digit by digit
def export_onnx(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    profile: Profile | str | None = None,
    exporter: str = "auto",
    opset: int | None = None,
    optimize: bool = True,
    batch: int | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    inputs: Any = None,
    atol: float | None = None,
    samples: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None = None,
    data: Any = None,
    labels: Sequence[str] | None = None,
    unsafe: bool = False,
    stateful: bool | None = None,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a Keras model to one verified ``.onnx`` file, with its provenance as JSON beside it.

    The file is written beside its target, verified there, and only then moved into place; on failure an older file
    stays as it was.

    Args:
        model: A ``keras.Model``, or the path of a ``.keras`` file.
        path: Where the file goes; beside the ``.keras`` file by default. The JSON is ``path`` with ``.json`` added.
        profile: What the model is for: a `mnistkit.export.profile.Profile`, the name of one, or ``"none"``. By default
            the training provenance beside the ``.keras`` file names it; without one nothing is added or renamed.
        exporter: ``"auto"`` (the native exporter, and where it cannot, one of Keras' own), ``"native"``,
            ``"tf2onnx"``, ``"jax2onnx"`` or ``"torch"``.
        opset: ONNX opset of the file; 17 from the native exporter, the exporter's own choice otherwise.
        optimize: Let the native exporter fold and fuse.
        batch: Fix the batch axis to this size; free by default.
        input_names: Names for the inputs, in the model's order; refused where the model takes several by name.
        output_names: Names for the outputs, likewise.
        rename: New names for some inputs and outputs, by the names that the file would have without it.
        inputs: What the model is called with: a structure of ``keras.InputSpec`` or ``KerasTensor``, with names, shapes
            and types. By default the model's own inputs.
        atol: Largest allowed difference from Keras' answers; derived from the model by default.
        samples: Real inputs for the verification, arrays by Keras input name with equal numbers of rows, or an
            ``.npz`` of them. They take the place of the profile's, so that no accuracy is measured.
        data: Test data for a profile that is chosen by name or by the provenance.
        labels: Class names for such a profile. Without a profile they go into the file's metadata alone.
        unsafe: Run the Python code that Lambda layers carry inside the ``.keras`` file; for files that you trust.
        stateful: Whether the tensors that layers with ``stateful=True`` keep between calls become inputs and outputs of
            the file, for `mnistkit.StatefulSession` to carry; they do by default. With ``False`` each call of the file
            begins with zeros, as after ``reset_state()``.
        progress: Called with what is being done, in a few words, at the beginning of each step.

    Raises:
        ExportError: The model cannot be exported (`UnsupportedError` lists every part that cannot), or the file's
            answers differ (`ParityError` names the first layer that does).
        ModelFileError: The ``.keras`` file cannot be loaded.
        InputError: An option or the profile does not fit the model.
        OutputError: The target cannot be written.
    """
    source = Path(model) if isinstance(model, (str, os.PathLike)) else None
    target = _check_target(source, path)
    _check_numbers(atol=atol, batch=batch)
    tell = progress or _tell_nobody
    tell("loading the model")
    loaded = load_model(source, unsafe=unsafe) if source is not None else model
    with in_single_precision(loaded) as widened:
        training = read_training(source, loaded)
        described = choose_profile(profile, training=training, data=data, labels=labels)

        tell("writing the graph")
        chosen = choose(loaded, exporter, opset=opset, optimize=optimize, batch=batch, inputs=inputs, stateful=stateful)
        chosen = replace(chosen, reason="; ".join(filter(None, (chosen.reason, widened))))
        if described is not None:
            described.check(chosen.signature)
        allowed = atol if atol is not None else derived_atol(loaded)
        answers = KerasAnswers(loaded, chosen.signature)
        if described is not None and hasattr(described, "fitted"):
            described = described.fitted(chosen.signature, answers)
        tell(f"asking Keras for its answers, under {keras.backend.backend()}")
        found = collect_samples(
            answers,
            chosen.proto.graph,
            profile=described,
            given=samples,
            atol=allowed,
            written=chosen.proto if chosen.exporter == NATIVE else None,
        )
        by_keras = chosen.signature
        chosen, found = _renamed(
            chosen, found, described, input_names=input_names, output_names=output_names, renames=rename
        )

        tell("checking the file's answers")
        with pending_model(target, chosen.proto) as pending:
            accuracy = annotate(pending, chosen, found[0], model=loaded, profile=described)
            if described is not None and found[0].has_targets and hasattr(described, "check_file"):
                described.check_file(pending.path, list(found[0].expected.values()))
            rows, notes = _verify(pending.path, answers, chosen, found, allowed, may_widen=atol is None)
            digest = hashlib.sha256(pending.path.read_bytes()).hexdigest()
        report = ExportReport(
            path=target,
            exporter=chosen.exporter,
            reason=chosen.reason,
            profile=None if described is None else described.name,
            inputs=chosen.signature.inputs,
            outputs=chosen.signature.outputs,
            sha256=digest,
            atol=allowed,
            rows=rows,
            left_out={sample.name: sample.left_out for sample in found if sample.left_out},
            notes=notes,
            accuracy=accuracy,
            provenance={},
            renamed=_changed_names(by_keras, chosen.signature) if rename or input_names or output_names else {},
            states=chosen.signature.state_names,
        )
        report = replace(report, provenance=_provenance(report, chosen, pending.external_data, training))
        write_json(report.provenance_path, report.provenance)
        return report


def _tell_nobody(step: str) -> None:
    """Take a step, where nobody asked for progress."""


def _check_target(source: Path | None, path: str | os.PathLike[str] | None) -> Path:
    """Where the file goes; refuse what could not be written, or would overwrite the model or somebody's JSON.

    Raises:
        InputError: There is no target, it is the model itself, or it ends in .json.
        OutputError: It cannot be written.
    """
    if path is not None:
        target = Path(path)
    elif source is not None:
        target = source.with_suffix(".onnx")
    else:
        raise InputError("path: name the file to write; only a .keras file has a default beside it")
    if source is not None and target.resolve() == source.resolve():
        ready = "; an ONNX model needs no export: --web DIR and --hub DIR take it as it is"
        raise InputError(
            f"{target}: this is the model itself; name another file with --out{ready * (source.suffix == '.onnx')}"
        )
    if target.suffix == ".json":
        raise InputError(f"{target}: the provenance beside the file ends in .json; name the file .onnx")
    check_writable(target)
    check_replaceable(provenance_path(target))
    return target


def _check_numbers(*, atol: float | None, batch: int | None) -> None:
    if atol is not None and not atol > 0:
        raise InputError(f"atol must be above 0, got {atol}")
    if batch is not None and batch < 1:
        raise InputError(f"batch must be at least 1, got {batch}")


def _renamed(
    chosen: Chosen,
    samples: list[Sample],
    profile: Profile | None,
    *,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
    renames: Mapping[str, str] | None,
) -> tuple[Chosen, list[Sample]]:
    """Graph and samples under the final names: the caller's before the profile's before Keras'.

    Raises:
        InputError: The names do not fit the model.
    """
    old = chosen.signature
    old.check_order(inputs=input_names, outputs=output_names)
    if profile is not None:
        inputs, outputs = profile.names(old, _all_outputs(samples))
        input_names, output_names = input_names or inputs, output_names or outputs
    new = old.renamed(inputs=input_names, outputs=output_names)
    if renames:
        new = new.renamed_by(renames)
    if new == old:
        return chosen, samples
    rename(chosen.proto, new)
    return replace(chosen, signature=new), [sample.renamed(old, new) for sample in samples]


def _changed_names(old: Signature, new: Signature) -> dict[str, str]:
    pairs = zip((*old.inputs, *old.outputs), (*new.inputs, *new.outputs), strict=True)
    return {a.name: b.name for a, b in pairs if a.name != b.name}


def _all_outputs(samples: Sequence[Sample]) -> list[NDArray[Any]]:
    """Keras' answers to all samples, one array for each output; to the first alone where their shapes differ."""
    outputs = []
    for name, first in samples[0].expected.items():
        parts = [sample.expected[name] for sample in samples if sample.expected[name].shape[1:] == first.shape[1:]]
        outputs.append(np.concatenate(parts) if first.ndim else first)
    return outputs


def _verify(
    file: Path, answers: KerasAnswers, chosen: Chosen, samples: Sequence[Sample], atol: float, *, may_widen: bool
) -> tuple[tuple[VerificationRow, ...], tuple[str, ...]]:
    try:
        rows, notes = verify_samples(file, samples, atol=atol, answers=answers if may_widen else None)
    except ParityError as error:
        why = f" (exporter {chosen.exporter}, because {chosen.reason})" if chosen.reason.startswith(FELL_BACK) else ""
        raise ParityError(f"{error}{first_difference(answers.model, chosen, samples[0], atol)}{why}") from error
    return tuple(rows), (*notes, *sorted(answers.notes))


def _provenance(
    report: ExportReport, chosen: Chosen, external_data: ExternalData | None, training: dict[str, Any]
) -> dict[str, Any]:
    proto = chosen.proto
    return {
        "file": report.path.name,
        "sha256": report.sha256,
        "external_data": asdict(external_data) if external_data else None,
        "exporter": {"name": report.exporter, "reason": report.reason},
        "exported_under": asdict(backends.active_backend()),
        "profile": report.profile,
        "opset": max(entry.version for entry in proto.opset_import if entry.domain in {"", "ai.onnx"}),
        "ir_version": proto.ir_version,
        "inputs": [str(tensor) for tensor in report.inputs],
        "outputs": [str(tensor) for tensor in report.outputs],
        "batch": chosen.signature.batch,
        **({"states": [list(pair) for pair in report.states]} if report.states else {}),
        "accuracy": None
        if report.accuracy is None
        else {"keras": report.accuracy[0], "onnxruntime": report.accuracy[1]},
        "verification": {
            "atol": report.atol,
            "largest": report.largest,
            "left_out": report.left_out,
            "differs": list(report.notes),
            "rows": [
                {
                    "sample": row.sample,
                    "batch_size": row.batch_size,
                    **asdict(row.comparison),
                    **({"widened": row.widened} if row.widened > 1 else {}),
                }
                for row in report.rows
            ],
        },
        "training": training or None,
    }
