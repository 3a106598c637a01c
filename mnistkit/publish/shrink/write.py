"""The chosen model into its place: metadata, golden pairs of its own, provenance, and one more check of the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core import contract, golden
from mnistkit.core.comparison import verify_file
from mnistkit.core.errors import ModelFileError
from mnistkit.core.files import replacing, write_json
from mnistkit.core.folders import digest
from mnistkit.core.golden import GoldenPair
from mnistkit.core.runtime import Runtime, load_onnxruntime
from mnistkit.export.provenance import provenance_path, read_provenance

if TYPE_CHECKING:
    from pathlib import Path

    from mnistkit.publish.drawn_inputs import Arrays
    from mnistkit.publish.shrink.candidates import Candidate
    from mnistkit.publish.shrink.loss import Answers
    from mnistkit.publish.shrink.runs import Samples
    from mnistkit.publish.shrink.source import Source

_GOLDEN_PAIRS = 4
_GOLDEN_BYTES = 2**20  # of inputs, over all pairs
_ROOM = 2.0  # of the change that shrinking made, for another machine's way to compute the same file


def write_model(
    proto: Any, target: Path, *, source: Source, picked: Candidate, samples: Samples, expected: Answers
) -> None:
    """Write the model, verify what was written, and only then put it in its place.

    Args:
        proto: The model, under the contract's names.
        target: Where it goes; an older file stays as it was when anything fails.
        source: The float32 file.
        picked: What is known of the model.
        samples: What it was calibrated and checked on.
        expected: The float32 file's answers to them.

    Raises:
        OutputError: The file cannot be written.
        ParityError: The written file answers its golden pairs otherwise than a moment ago.
    """
    runtime = Runtime(proto.SerializeToString(), device="cpu", exact=True)
    pairs, moved = _golden_pairs(runtime, source, samples)
    shrunk = shrunk_facts(picked, samples, expected)
    entries = {
        "golden": golden.encode_golden(pairs),
        "golden_atol": f"{min(golden.MAX_GOLDEN_ATOL, max(golden.GOLDEN_ATOL, _ROOM * moved)):.1e}",
        "shrunk": json.dumps(shrunk, sort_keys=True, ensure_ascii=False),
    }
    if picked.accuracy is not None:
        entries["test_accuracy"] = f"{picked.accuracy:.4f}"
    kept = {entry.key: entry.value for entry in proto.metadata_props}
    kept |= {contract.PREFIX + key: value for key, value in entries.items()}
    del proto.metadata_props[:]
    for key in sorted(kept):
        proto.metadata_props.add(key=key, value=kept[key])
    with replacing(target) as path:
        path.write_bytes(proto.SerializeToString(deterministic=True))
        verify_file(path, device="cpu")
        sha256 = digest(path)
    _write_provenance(target, source=source, shrunk=shrunk, picked=picked, sha256=sha256, expected=expected)


def shrunk_facts(picked: Candidate, samples: Samples, expected: Answers) -> dict[str, Any]:
    """What a file says of how it was made and what that lost."""
    facts: dict[str, Any] = {
        "kind": picked.kind,
        "method": picked.name,
        "onnxruntime": str(load_onnxruntime().__version__),
        "checked_on": samples.checked_on,
        "largest_change": _short(picked.change or 0.0),
    }
    if picked.name == "int8-static":
        facts["calibrated_on"] = samples.calibrated_on
    if picked.accuracy is not None and expected.accuracy is not None:
        facts |= {"accuracy": _short(picked.accuracy), "float32_accuracy": _short(expected.accuracy)}
    return facts


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _golden_pairs(runtime: Runtime, source: Source, samples: Samples) -> tuple[list[GoldenPair], float]:
    """Runs with the file's own answers, and by how much the largest of these differs from float32's.

    The difference is relative to the largest answer above 1, as `compare` takes it.
    """
    pairs, largest = [], 0.0
    for inputs in _golden_inputs(runtime, source, samples):
        after = golden.rounded(runtime.run(inputs))
        pairs.append(GoldenPair(inputs, after))
        largest = max(largest, _moved(source.runtime.run(inputs), after))
    return pairs, largest


def _golden_inputs(runtime: Runtime, source: Source, samples: Samples) -> list[Arrays]:
    """Single rows where the model takes them, else the first run.

    Rows are taken that shrinking moved as much as all rows on the average: the tolerance that follows is then neither
    tight by luck nor wide by the worst row, and answers of 0.99999, which stay so whatever a weight is, are left out.
    """
    run = samples.checks[0]
    before, after = source.runtime.run(run), runtime.run(run)
    rows = len(next(iter(run.values())))
    if not samples.alone or any(not array.ndim or len(array) != rows for array in before.values()):
        return [*samples.alone[:1]] or [run]
    moved = np.array([_moved(_row(before, i), _row(after, i)) for i in range(rows)])
    size = sum(array[:1].nbytes for array in run.values())
    count = max(1, min(_GOLDEN_PAIRS, _GOLDEN_BYTES // max(1, size)))
    return [_row(run, int(i)) for i in np.argsort(np.abs(moved - moved.mean()), kind="stable")[:count]]


def _row(arrays: Arrays, place: int) -> Arrays:
    return {name: array[place : place + 1] for name, array in arrays.items()}


def _moved(before: Arrays, after: Arrays) -> float:
    largest = 0.0
    for name, array in before.items():
        if array.dtype.kind == "f":
            left, right = (np.nan_to_num(one.astype(np.float64), posinf=0, neginf=0) for one in (array, after[name]))
            difference = float(np.abs(left - right).max(initial=0))
            largest = max(largest, difference / max(1.0, float(np.abs(left).max(initial=0))))
    return largest


def _write_provenance(
    target: Path, *, source: Source, shrunk: dict[str, Any], picked: Candidate, sha256: str, expected: Answers
) -> None:
    """The float32 file's provenance with what changed; of a file without one, what an older file left is removed."""
    place = provenance_path(target)
    try:
        before = read_provenance(source.path)
    except ModelFileError:
        if place.exists() and _is_of(place, target):
            place.unlink()
        return
    accuracy = before.get("accuracy")
    if picked.accuracy is not None:
        accuracy = {"keras": (accuracy or {}).get("keras", expected.accuracy), "onnxruntime": picked.accuracy}
    after = before | {
        "file": target.name,
        "sha256": sha256,
        "external_data": None,
        "accuracy": accuracy,
        "shrunk": shrunk | {"from": source.path.name, "from_sha256": digest(source.path)},
    }
    write_json(place, after)


def _is_of(place: Path, target: Path) -> bool:
    try:
        return bool(read_provenance(target)["file"] == target.name and place.is_file())
    except ModelFileError:
        return False
