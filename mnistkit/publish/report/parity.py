"""Keras against onnxruntime: what the export measured, and the golden pairs run again here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import MnistkitError, ModelFileError
from mnistkit.export.provenance import read_provenance
from mnistkit.publish.report.words import Missing, counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mnistkit.core.about import About

_MOST_ROWS = 60


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One comparison of the export: what was compared, in which batches, and how far the answers were apart."""

    sample: str
    batch_size: int
    rows: int
    largest: float
    allowed: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Parity:
    """How Keras and onnxruntime agree.

    Attributes:
        rows: What the export compared; empty where it left no provenance.
        reason: Why there are no rows; empty where there are.
        exporter: What wrote the graph, and under which backend; empty where that is not known.
        golden: What running the golden pairs again here gave, in one sentence.
    """

    rows: tuple[ParityRow, ...]
    reason: str
    exporter: str
    golden: str


def read_parity(
    path: Path, about: About, *, device: str, provider_options: Mapping[str, Any] | None = None
) -> Parity | Missing:
    """Read the comparisons beside an ``.onnx`` file, and run its golden pairs.

    Args:
        path: The file.
        about: What it says of itself.
        device: Where the golden pairs run.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.
    """
    exporter, reason = "", ""
    rows: tuple[ParityRow, ...] = ()
    try:
        found = read_provenance(path)
        if found["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
            raise ModelFileError(f"{path.name}.json is of another file; export it again")
        rows = tuple(_row(one) for one in found["verification"]["rows"][:_MOST_ROWS])
        under = found["exported_under"]
        exporter = (
            f"{found['exporter']['name']} exporter, {under['name']} {under['version']}, Keras {under['keras_version']}"
        )
    except MnistkitError:
        told = "is of another file" if path.with_name(f"{path.name}.json").exists() else "is missing"
        reason = f"no parity table: {path.name}.json {told}; `mnistkit export` writes it"
    except (KeyError, TypeError, ValueError, AttributeError):
        reason = f"no parity table: {path.name}.json is damaged; `mnistkit export` writes it anew"
    golden = (
        "" if about.golden_pairs == 0 else _run_golden_pairs(path, device=device, provider_options=provider_options)
    )
    if not rows and not golden:
        return Missing(reason)
    return Parity(rows, reason, exporter, golden)


def _row(one: Any) -> ParityRow:
    return ParityRow(
        sample=str(one["sample"]),
        batch_size=int(one["batch_size"]),
        rows=int(one["rows"]),
        largest=float(one["largest"]),
        allowed=float(one["allowed"]),
        agreement=float(one["agreement"]),
    )


def _run_golden_pairs(path: Path, *, device: str, provider_options: Mapping[str, Any] | None) -> str:
    try:
        found = verify_file(path, device=device, provider_options=provider_options)
    except MnistkitError as error:
        told = str(error).replace(str(path), path.name)
        return f"The golden pairs do not pass here: {told}"
    return (
        f"{counted(found.pairs, 'golden pair')} of the file, run again here: the largest difference from Keras is "
        f"{found.largest:.1e} (allowed: {found.allowed:.1e})."
    )
