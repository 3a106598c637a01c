"""Write what a file says of itself into the file: versions, golden pairs and the entries of the profile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core import contract, golden
from mnistkit.core import keras_backend as backends
from mnistkit.core.errors import InputError
from mnistkit.core.golden import GoldenPair
from mnistkit.core.keras_files import weights_of
from mnistkit.core.runtime import Runtime
from mnistkit.export.profile import RESERVED
from mnistkit.export.verification import run_in_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mnistkit.export.atomic_save import PendingModel
    from mnistkit.export.choose import Chosen
    from mnistkit.export.profile import Profile
    from mnistkit.export.samples import Sample

_GOLDEN_PAIRS = 4
_GOLDEN_BYTES = 2**20  # of inputs, over all pairs; a model of large pictures has fewer pairs


def annotate(
    pending: PendingModel, chosen: Chosen, sample: Sample, *, model: Any, profile: Profile | None
) -> tuple[float, float] | None:
    """Add the metadata to the graph and write it.

    Args:
        pending: Where the graph is written.
        chosen: The graph, under its final names.
        sample: The first sample, under the same names. Golden pairs are taken from it.
        model: The Keras model.
        profile: What the model is for, where that is known.

    Returns:
        Accuracy of Keras and of onnxruntime on the profile's test set, ``None`` without one.

    Raises:
        InputError: The profile writes a reserved entry, or one that is no text.
    """
    pending.write(chosen.proto)
    runtime = Runtime(pending.path, device="cpu", exact=True)
    step = max(sample.batch_sizes)
    answers = run_in_steps(runtime, sample.inputs, step) if sample.is_real else {}
    entries = {
        "format_version": contract.FORMAT_VERSION,
        "keras_version": backends.active_backend().keras_version,
        "weights_sha256": contract.weights_sha256(weights_of(model)),
        "golden": golden.encode_golden(_golden_pairs(runtime, sample, answers)),
    }
    if chosen.signature.states:
        entries["states"] = json.dumps(chosen.signature.state_names)
    accuracy = None
    if profile is not None:
        entries |= _entries(profile, chosen)
        accuracy = _accuracies(profile, sample, answers) if sample.has_targets else None
    if accuracy is not None:
        entries["test_accuracy"] = f"{accuracy[1]:.4f}"
    for key in sorted(entries):
        chosen.proto.metadata_props.add(key=contract.PREFIX + key, value=entries[key])
    pending.write(chosen.proto)
    return accuracy


def _entries(profile: Profile, chosen: Chosen) -> dict[str, str]:
    entries = dict(profile.metadata(chosen.signature))
    reserved = sorted(RESERVED & entries.keys())
    if reserved:
        raise InputError(f"profile {profile.name}: the export itself writes {', '.join(reserved)}; use other keys")
    wrong = [key for key, value in entries.items() if not key or not isinstance(value, str)]
    if wrong:
        raise InputError(f"profile {profile.name}: metadata is text, but {', '.join(map(repr, wrong))} is not")
    return entries


def _accuracies(profile: Profile, sample: Sample, answers: Mapping[str, NDArray[Any]]) -> tuple[float, float] | None:
    keras = profile.accuracy(list(sample.expected.values()))
    file = profile.accuracy([answers[name] for name in sample.expected])
    return None if keras is None or file is None else (keras, file)


def _golden_pairs(runtime: Runtime, sample: Sample, answers: dict[str, NDArray[Any]]) -> list[GoldenPair]:
    """Single rows where rows are real and independent, else the sample's first batch as it was verified."""
    rows = {len(array) if array.ndim else 0 for array in answers.values()}
    if sample.is_real and len(sample.batch_sizes) > 1 and len(rows) == 1 and rows != {0}:
        return _telling_rows(sample, answers)
    size = sample.batch_sizes[0]
    inputs = {name: array[:size] for name, array in sample.inputs.items()}
    return [_pair(inputs, run_in_steps(runtime, inputs, size))]


def _telling_rows(sample: Sample, answers: dict[str, NDArray[Any]]) -> list[GoldenPair]:
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
    size = sum(array[:1].nbytes for array in sample.inputs.values())
    order = np.argsort(last, kind="stable")[: max(1, min(_GOLDEN_PAIRS, _GOLDEN_BYTES // max(1, size)))]
    return [
        _pair(
            {name: array[i : i + 1] for name, array in sample.inputs.items()},
            {name: array[i : i + 1] for name, array in answers.items()},
        )
        for i in order
    ]


def _pair(inputs: dict[str, NDArray[Any]], answers: dict[str, NDArray[Any]]) -> GoldenPair:
    return GoldenPair(inputs, golden.rounded(answers))
