"""Read many pictures, or a large array of images, into one table.

What has been read is kept beside the table, in ``TABLE.part``, until the table is whole. The same call after a crash or
a Ctrl-C goes on from there, and ends with the same table; on a Ray cluster or on one machine, in any order.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core import ray_cluster
from mnistkit.core.errors import InputError
from mnistkit.core.runtime import usable_cpus
from mnistkit.digits.bulk import places
from mnistkit.digits.bulk.arrays import pyarrow
from mnistkit.digits.bulk.on_ray import read_on_ray
from mnistkit.digits.bulk.reader import ChunkReader, Job, digest, steps_digest
from mnistkit.digits.bulk.sources import ImageRows, find_source
from mnistkit.digits.bulk.table import ENDINGS, Part, check_target, ending
from mnistkit.digits.classifier import Classifier, default_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mnistkit.digits.bulk.on_ray import RayCluster
    from mnistkit.digits.bulk.table import Row

_FORMAT = 1  # of the part; another one is not gone on with


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: Pictures read or found unreadable, those of earlier runs included.
        before: Those of earlier runs.
        count: All pictures.
        failed: Those that could not be read.
    """

    done: int
    before: int
    count: int
    failed: int


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What `read_in_bulk` did.

    Attributes:
        path: The table; its name where it is at a URL.
        count: Its rows.
        failed: Rows of pictures that could not be read.
        before: Rows that an earlier, interrupted run had read.
        errors: The first few of the reasons.
    """

    path: Path | str
    count: int
    failed: int
    before: int
    errors: tuple[str, ...]


def read_in_bulk(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    provider_options: Mapping[str, Any] | None = None,
    array: str | None = None,
    number: bool = False,
    min_confidence: float = 0.0,
    progress: Callable[[Progress], None] | None = None,
    ray: RayCluster | None = None,
) -> BulkReport:
    """Read pictures into a table with the columns ``source``, ``label``, ``confidence`` and ``error``.

    Memory does not grow with their number. A picture that cannot be read has its reason in ``error`` and does not stop
    the others. Rows are in the order of the pictures; those of an array have their place as ``source``.

    Args:
        sources: Picture files, folders, patterns (``scans/**/*.png``), or one ``.npz``, ``.npy`` or ``.parquet`` file
            of images as `Classifier.probabilities` takes them. Each may be a URL that pyarrow or fsspec opens.
        out: The table, ``.csv``, ``.jsonl`` or ``.parquet``, or its URL; it appears when it is whole.
        model: An exported ``.onnx`` file; by default `default_model`.
        device: As for `Classifier`.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.
        array: Which array of an ``.npz``, or column of a ``.parquet``, has the images.
        number: Read all digits of each picture; the label is then their text, and the confidence is
            that of the whole number.
        min_confidence: A reading less sure than this is an error.
        progress: Called now and then.
        ray: Read on this Ray cluster, with Ray Data; by default in this process.

    Raises:
        InputError: Nothing to read, an unknown ending, or an array that has no such images.
        DataError: An array file is damaged.
        OutputError: The table cannot be written, or another process writes it.
        ModelFileError: The model cannot be read.
        MissingExtraError: ``.parquet`` and URLs need pyarrow, ``ray`` needs Ray.
        ClusterError: The Ray cluster cannot be reached, or goes away.
    """
    target = os.fspath(out)
    if ending(target) not in ENDINGS:
        raise InputError(f"{_shown(target)}: the table is {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}; name it so")
    if ending(target) == ".parquet":
        pyarrow()
    if ray is not None:
        ray_cluster.check_installed()
    check_target(target)
    source = find_source(sources, array=array)
    if number and isinstance(source, ImageRows):
        raise InputError(f"{source.path}: --number reads pictures of any size, and these are images of one digit")
    job = Job(
        source,
        model=Path(model if model is not None else default_model()),
        device=device,
        provider_options=dict(provider_options or {}),
        number=number,
        min_confidence=min_confidence,
    )
    # a cluster has devices that this machine may lack
    classifier = Classifier(
        job.model, device="cpu" if ray else device, provider_options=None if ray else job.provider_options
    )
    with Part(target, _identity(job)) as part:
        chunks = _read_here(job, classifier, part.done) if ray is None else read_on_ray(job, ray, part.done)
        for rows in chunks:
            part.add(rows)
            if progress is not None:
                progress(Progress(part.done, part.before, source.count, part.failed))
        part.finish()
        where = _shown(target) if places.is_url(target) else Path(target)
        return BulkReport(where, part.done, part.failed, part.before, tuple(part.errors))


def _read_here(job: Job, classifier: Classifier, start: int) -> Iterator[list[Row]]:
    with ChunkReader(job, classifier, threads=usable_cpus()) as reader:
        yield from reader.read(start)


def _identity(job: Job) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "model": digest(job.model),
        "steps": steps_digest(),
        "source": job.source.identity(),
        "number": job.number,
        "min_confidence": job.min_confidence,
    }


def _shown(name: str) -> str:
    return places.show(name) if places.is_url(name) else name
