"""Which samples a file is verified on: those given, else those of the profile, else drawn ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnistkit.export.extreme_samples import comparable_sample, extreme_samples
from mnistkit.export.index_inputs import table_sizes
from mnistkit.export.profile import ProfileSample
from mnistkit.export.samples import (
    BATCH_SIZES,
    MORE_ROWS,
    Sample,
    draw,
    integer_limit,
    read_samples,
    real_samples,
    sample_any,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mnistkit.export.choose import Chosen
    from mnistkit.export.profile import Profile
    from mnistkit.export.signature import Signature

_CHEAP = 2_000_000  # weights; one more batch of a model with more of them takes a noticeable time


def collect_samples(
    model: Any,
    chosen: Chosen,
    *,
    profile: Profile | None,
    given: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None,
    atol: float,
) -> list[Sample]:
    """Samples with Keras' answers, the most ordinary first.

    Args:
        model: The Keras model.
        chosen: Its graph, under Keras' names.
        profile: What the model is for, where that is known.
        given: Arrays by input name, or an ``.npz`` of them.
        atol: The tolerance of the verification.

    Raises:
        InputError: Given samples, or those of the profile, do not fit the model.
        ExportError: Keras gives no answers that could be compared.
    """
    signature = chosen.signature
    arrays = read_samples(given, signature)
    if arrays is not None:
        return real_samples(model, signature, [ProfileSample("given samples", arrays)])
    real = list(profile.samples(signature)) if profile is not None else []
    if real:
        first, *others = real_samples(model, signature, real)
        return [replace(first, has_targets=True), *others]
    tables = table_sizes(chosen.proto.graph)
    sizes = (signature.batch,) if signature.batch else BATCH_SIZES
    drawn = sample_any(model, signature, batch_sizes=sizes, tables=tables)
    ordinary = [sample for sample in drawn if sample.name == drawn[0].name][-1]
    if not signature.batch and model.count_params() <= _CHEAP:
        more = _more_rows(model, signature, ordinary, tables=tables, atol=atol)
        if more is not None:
            drawn.append(more)
            ordinary = more
    return drawn + extreme_samples(model, signature, ordinary, graph=chosen.proto.graph, atol=atol, indices=tables)


def _more_rows(
    model: Any, signature: Signature, sample: Sample, *, tables: Mapping[str, int], atol: float
) -> Sample | None:
    """A larger batch of what a sample has, ``None`` when Keras has no finite answer to any row."""
    shapes = {key: array.shape[1:] for key, array in sample.inputs.items()}
    free = {
        str(size): shapes[tensor.name][axis]
        for tensor in signature.inputs
        for axis, size in enumerate(tensor.shape[1:])
        if not isinstance(size, int)
    }
    lengths = tuple(free.values()) or (1,)
    arrays = draw(signature, rows=MORE_ROWS, lengths=lengths, high=integer_limit(model), tables=tables)
    return comparable_sample(model, signature, sample.name, arrays, atol=atol, changed={})
