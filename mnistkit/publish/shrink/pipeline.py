"""Make a model's file smaller: try, measure, choose, write."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import ExportError, InputError, ParityError, did_you_mean
from mnistkit.core.files import check_writable, replacing
from mnistkit.export.provenance import check_replaceable, provenance_path
from mnistkit.publish.shrink.candidates import try_method
from mnistkit.publish.shrink.loss import answer
from mnistkit.publish.shrink.methods import METHODS
from mnistkit.publish.shrink.result import Shrunk
from mnistkit.publish.shrink.samples import choose_samples
from mnistkit.publish.shrink.source import Source, read_source
from mnistkit.publish.shrink.write import write_model

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from mnistkit.digits.data import Dataset
    from mnistkit.publish.shrink.candidates import Candidate

KINDS = ("fp16", "int8", "int4", "auto")
"""What `shrink` can be asked for."""
MAX_LOSS = 0.2
"""Points of accuracy that a smaller file may lose, where there are labels."""
MAX_CHANGE = 5.0
"""Percent of the range of the answers by which one of them may change, where there are no labels."""
_SLOWER = 1.1  # times float32, beyond which `auto` does not take a file


def shrink(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    kind: str = "auto",
    max_loss: float | None = None,
    samples: Mapping[str, NDArray[Any]] | None = None,
    targets: ArrayLike | None = None,
    data: Dataset | None = None,
    progress: Callable[[str], None] | None = None,
) -> Shrunk:
    """Make a smaller file of a float32 ``.onnx`` file, of mnistkit or not, by onnxruntime's own tools.

    Each candidate is held against the float32 file and timed beside it, on this machine. It is kept if it is smaller or
    faster and does not lose too much. ``"auto"`` takes the one with the smallest product of size and time among those
    that are kept and at most 10 % slower than float32; where there is none, it takes float32.

    Args:
        file: The float32 file.
        out: Where the smaller one goes; ``NAME-fp16.onnx``, ``NAME-int8.onnx`` or ``NAME-int4.onnx`` beside it by
            default. Where ``"auto"`` takes float32 this is a copy of the file; without ``out`` nothing is written.
        kind: ``"fp16"``, ``"int8"``, ``"int4"`` or ``"auto"``.
        max_loss: The largest allowed loss, in percent: of accuracy where there are labels (0.2 by default), else of the
            range of the answers by which one of them may change (5 by default).
        samples: Inputs to calibrate and to check on, arrays by input name ``[n, ...]``: every second row is for the one
            and the others for the other. By default the images of a digit classifier, else drawn inputs.
        targets: Class numbers of the samples ``[n]``: the first output's largest score is held against them.
        data: A data set for a digit classifier: its training images calibrate, its test images check. MNIST by
            default, where the file says that it names digits.
        progress: Is told what is being done.

    Raises:
        ParityError: The kind that was asked for loses too much.
        ExportError: It is neither smaller nor faster, or cannot be made.
        InputError: An argument does not fit the model, or the model has no float32 weights.
        ModelFileError: The file cannot be read, or is over 2 GB.
        OutputError: The smaller file cannot be written.
        MissingExtraError: A package of the extra ``shrink`` is not installed.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}, use one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    if max_loss is not None and not (0 <= max_loss < math.inf):
        raise InputError(f"max_loss must be a percentage from 0 on, got {max_loss}")
    _check_target(Path(file), out)
    tell = progress or (lambda _: None)
    source = read_source(file)
    chosen = choose_samples(source.runtime, samples=samples, targets=_as_array(targets), data=data)
    tell(f"float32 answers {chosen.checked_on}")
    expected = answer(source.runtime, chosen)
    allowed = max_loss if max_loss is not None else (MAX_CHANGE if expected.accuracy is None else MAX_LOSS)
    tried = []
    for method in METHODS:
        if kind in {"auto", method.kind}:
            tell(f"{method.name}: {method.words}")
            tried.append(try_method(method, source, chosen, expected=expected, max_loss=allowed))
    found = tuple(one for one, _ in tried)
    picked = pick(found) if kind == "auto" else _best(found, kind=kind, file=source.path)
    if picked is None:
        path = source.path if out is None else _copy(source, Path(out))
    else:
        path = source.path.with_name(f"{source.path.stem}-{picked.kind}.onnx") if out is None else Path(out)
        proto = next(proto for one, proto in tried if one is picked)
        write_model(proto, path, source=source, picked=picked, samples=chosen, expected=expected)
    return Shrunk(
        path=path,
        kind=picked.kind if picked else "float32",
        picked=picked,
        candidates=found,
        source=source.path,
        size=source.size,
        accuracy=expected.accuracy,
        max_loss=allowed,
        calibrated_on=chosen.calibrated_on,
        checked_on=chosen.checked_on,
        note=chosen.note,
    )


def pick(candidates: Sequence[Candidate]) -> Candidate | None:
    """What ``"auto"`` takes; ``None`` for float32."""
    good = [one for one in candidates if not one.refused and one.time_ratio <= _SLOWER and one.cost < 1]
    return min(good, key=lambda one: one.cost, default=None)


def _best(candidates: Sequence[Candidate], *, kind: str, file: Path) -> Candidate:
    good = [one for one in candidates if not one.refused]
    if good:
        return min(good, key=lambda one: one.cost)
    reasons = "; ".join(f"{one.name} {one.refused}" for one in candidates)
    raised = ParityError if any(one.by_loss for one in candidates) else ExportError
    raise raised(f"{file}: no {kind} file: {reasons}; keep float32, or try --shrink auto")


def _check_target(source: Path, out: str | os.PathLike[str] | None) -> None:
    """Refuse what could not be written when all is done."""
    if out is None:
        check_writable(source.with_name(f"{source.stem}-int8.onnx"))
        targets = [source.with_name(f"{source.stem}-{kind}.onnx") for kind in KINDS]
    else:
        targets = [Path(out)]
        if targets[0].resolve() == source.resolve():
            raise InputError(f"{out}: this is the model itself; name another file with --out")
        if targets[0].suffix == ".json":
            raise InputError(f"{out}: the provenance beside the file ends in .json; name the file .onnx")
        check_writable(targets[0])
    for target in targets:
        check_replaceable(provenance_path(target))


def _as_array(targets: ArrayLike | None) -> NDArray[Any] | None:
    import numpy as np

    if targets is None:
        return None
    array = np.asarray(targets)
    if array.dtype.kind not in "iu":
        raise InputError(f"targets: expected class numbers, got {array.dtype}")
    return array


def _copy(source: Source, target: Path) -> Path:
    """The float32 file under another name, byte by byte; with its weights inside where they lay beside it."""
    with replacing(target) as path:
        if source.is_apart:
            path.write_bytes(source.proto.SerializeToString(deterministic=True))
        else:
            shutil.copyfile(source.path, path)
    return target
