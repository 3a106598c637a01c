"""Which samples a file is verified on: those given, else those of the profile, else drawn ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import ExportError, one_line
from mnistkit.export.extreme_samples import comparable_sample, divides, extreme_samples, fit_sample, missing_samples
from mnistkit.export.independent_rows import have_independent_rows
from mnistkit.export.index_inputs import known_values, table_sizes
from mnistkit.export.profile import ProfileSample
from mnistkit.export.samples import (
    BATCH_SIZES,
    DOMAINS,
    MORE_ROWS,
    NO_ANSWER,
    WANTED,
    Domain,
    Sample,
    draw,
    free_lengths,
    integer_limit,
    long_lengths,
    read_samples,
    real_samples,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from mnistkit.export.answers import KerasAnswers
    from mnistkit.export.profile import Profile

_CHEAP = 2_000_000  # weights; one more batch of a model with more of them takes a noticeable time
_LONG_ROWS = 2


def collect_samples(
    answers: KerasAnswers,
    graph: onnx.GraphProto,
    *,
    profile: Profile | None,
    given: Mapping[str, NDArray[Any]] | str | os.PathLike[str] | None,
    atol: float,
    written: onnx.ModelProto | None = None,
) -> list[Sample]:
    """Samples with Keras' answers, the most ordinary first.

    Args:
        answers: Keras' answers, under Keras' names.
        graph: The graph to be verified.
        profile: What the model is for, where that is known.
        given: Arrays by input name, or an ``.npz`` of them.
        atol: The tolerance of the verification.
        written: As for `drawn_samples`.

    Raises:
        InputError: Given samples, or those of the profile, do not fit the model.
        ExportError: Keras gives no answers that could be compared.
    """
    signature = answers.signature
    arrays = read_samples(given, signature)
    if arrays is not None:
        return real_samples(answers, [ProfileSample("given samples", arrays)])
    real = list(profile.samples(signature)) if profile is not None else []
    if real:
        first, *others = real_samples(answers, real)
        return [replace(first, has_targets=True), *others]
    return drawn_samples(answers, graph, atol=atol, written=written)


def drawn_samples(
    answers: KerasAnswers, graph: onnx.GraphProto, *, atol: float, written: onnx.ModelProto | None = None
) -> list[Sample]:
    """Samples for a model that nothing is known about.

    Keras is called with few shapes, because a backend may compile for each: one batch of rows at one length has all
    kinds of values, and further lengths have a few rows. The file is run on the same rows in batches of other sizes
    where the model answers each row by itself.

    Args:
        answers: Keras' answers.
        graph: The graph to be verified.
        atol: The tolerance of the verification.
        written: The model of the graph, where the native exporter wrote it; see `mnistkit.export.independent_rows`.

    Raises:
        ExportError: Keras takes no size tried for the free axes, or answers with NaN.
    """
    signature = answers.signature
    tables, known = table_sizes(graph), known_values(graph)
    is_cheap = answers.model.count_params() <= _CHEAP
    rows = signature.batch or (MORE_ROWS if is_cheap else max(BATCH_SIZES))
    noise = _Noise(answers, tables=tables, known=known, atol=atol, divides=divides(graph), asks_alone=written is None)
    wanted = WANTED if any(not isinstance(size, int) for t in signature.inputs for size in t.shape[1:]) else 1
    first, *others = noise.draw(free_lengths(signature), rows=rows, others=max(BATCH_SIZES), wanted=wanted)
    if is_cheap and wanted > 1:
        others += noise.draw(long_lengths(signature), rows=_LONG_ROWS, others=_LONG_ROWS, wanted=1)
    independent = not signature.batch and have_independent_rows(answers, first, atol=atol, written=written)
    ends = extreme_samples(answers, first, graph=graph, atol=atol, indices=tables, known=known)
    if is_cheap:
        ends += missing_samples(answers, first, indices=tables)
    if independent:
        return [*(_by_rows(sample) for sample in (first, *others)), *ends]
    return [*(part for sample in (first, *others) for part in _whole(answers, sample, atol)), *ends]


class _Noise:
    """Draws ordinary numbers."""

    def __init__(
        self,
        answers: KerasAnswers,
        *,
        tables: Mapping[str, int],
        known: Mapping[str, NDArray[Any]],
        atol: float,
        divides: bool,
        asks_alone: bool,
    ) -> None:
        self._answers, self._tables, self._known, self._atol = answers, tables, known, atol
        self._high = integer_limit(answers.model)
        self._divides, self._asks_alone = divides, asks_alone
        self._domains: Sequence[Domain] = DOMAINS
        self._refused: BaseException | None = None

    def draw(self, lengths: Iterable[tuple[int, ...]], *, rows: int, others: int, wanted: int) -> list[Sample]:
        """The first lengths that Keras takes: one with some rows, others with fewer.

        The first call decides what the numbers are drawn from.

        Raises:
            ExportError: Keras takes none at the first call, or answers with NaN.
        """
        is_first = self._domains is DOMAINS
        lengths = list(lengths)
        found = self._try_all(lengths, rows=rows, others=others, wanted=wanted)
        if not found and is_first and self._answers.stop_compiling():
            found = self._try_all(lengths, rows=rows, others=others, wanted=wanted)
        if not found and is_first:
            raise self._no_answer()
        return found

    def _try_all(self, lengths: Sequence[tuple[int, ...]], *, rows: int, others: int, wanted: int) -> list[Sample]:
        found: list[Sample] = []
        self._refused = None
        self._prepare(lengths, rows=rows, others=others, wanted=wanted)
        for sizes in lengths:
            if self._has_refused() and _may_broadcast(sizes):
                continue
            sample = self._draw_one(sizes, self._answers.signature.batch or (others if found else rows))
            if sample is not None:
                found.append(sample)
            if len(found) == wanted:
                break
        return found

    def _has_refused(self) -> bool:
        return self._refused is not None

    def _prepare(self, lengths: Sequence[tuple[int, ...]], *, rows: int, others: int, wanted: int) -> None:
        """Let a backend that compiles begin with all shapes that will be asked for."""
        taken = refused = 0
        for sizes in lengths:
            if not self._answers.is_compiled or taken == wanted:
                break
            if refused and _may_broadcast(sizes):
                continue
            arrays = self._arrays(sizes, self._answers.signature.batch or (others if taken else rows), self._domains[0])
            try:
                self._answers.prepare(arrays)
                if not taken and rows > 1 and not self._answers.signature.batch:
                    row = {key: array[-1:] for key, array in arrays.items()}
                    if self._asks_alone:
                        self._answers.prepare(row)
                    else:
                        self._answers.shapes_if_alike(row, arrays)  # traced while another thread compiles
            except Exception:  # noqa: BLE001  # Keras refuses a size with whatever its backend raises
                refused += 1
            else:
                taken += 1

    def _arrays(self, sizes: tuple[int, ...], rows: int, domain: Domain) -> dict[str, NDArray[Any]]:
        return draw(
            self._answers.signature,
            rows=rows,
            lengths=sizes,
            high=self._high,
            tables=self._tables,
            words={key: list(values) for key, values in self._known.items()},
            domain=domain,
            divides=self._divides,
        )

    def _no_answer(self) -> ExportError:
        if self._refused is None:
            return ExportError(NO_ANSWER)
        refused = one_line(self._refused, limit=200)
        return ExportError(
            f"Keras itself refuses every input that was tried ({refused}); give real ones with --samples"
        )

    def _draw_one(self, sizes: tuple[int, ...], rows: int) -> Sample | None:
        """A sample from the first domain in which Keras answers most rows, else from that in which it answers most."""
        best: Sample | None = None
        for domain in self._domains:
            if domain.is_known and not self._known:
                continue
            name = domain.name if not sizes else f"{domain.name}, length {'x'.join(map(str, sizes))}"
            arrays = self._arrays(sizes, rows, domain)
            try:
                sample = fit_sample(self._answers, name, arrays, atol=self._atol, changed={})
            except Exception as error:  # noqa: BLE001  # Keras refuses a size with whatever its backend raises
                self._refused = error
                if self._answers.is_compiled:
                    break  # for its sizes; other numbers change nothing
                continue
            if sample is not None and sizes and _is_empty(sample, self._answers):
                self._refused = ValueError(f"at length {'x'.join(map(str, sizes))} its answer is empty")
                return best
            if sample is not None and (best is None or sample.left_out < best.left_out):
                best, chosen = sample, domain
            if best is not None and best.left_out <= rows / 2:
                break
        if best is not None:
            self._domains = (chosen,)
        return best


def _may_broadcast(sizes: tuple[int, ...]) -> bool:
    """Whether axes that Keras wants alike could pass by broadcasting length 1, and on one backend alone."""
    return 1 in sizes and len(set(sizes)) > 1


def _is_empty(sample: Sample, answers: KerasAnswers) -> bool:
    """Whether a free size is too small for the model: windows fit nowhere, and some backends answer with nothing."""
    outputs = answers.signature.outputs
    return any(sample.expected[tensor.name].size == 0 and 0 not in tensor.shape for tensor in outputs)


def _by_rows(sample: Sample) -> Sample:
    """The same, for the file to be run on in batches of several sizes."""
    sizes = tuple(sorted({*(size for size in BATCH_SIZES if size <= sample.rows), sample.rows}))
    return replace(sample, batch_sizes=sizes, is_whole=False)


def _whole(answers: KerasAnswers, sample: Sample, atol: float) -> list[Sample]:
    """A batch of each size that Keras takes, with its answers."""
    if answers.signature.batch:
        return [sample]
    found = [
        comparable_sample(
            answers, sample.name, {key: array[:size] for key, array in sample.inputs.items()}, atol=atol, changed={}
        )
        for size in BATCH_SIZES
        if size < sample.rows
    ]
    return [part for part in found if part is not None] + [sample]
