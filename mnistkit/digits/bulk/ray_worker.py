"""What a Ray worker does: it loads the model once, and then reads the chunks that it is given."""

from __future__ import annotations

import json
import os
import socket
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import ClusterError, InputError, MnistkitError
from mnistkit.core.ray_process import failure
from mnistkit.digits.bulk import places
from mnistkit.digits.bulk.reader import ChunkReader, Job, steps_digest
from mnistkit.digits.bulk.sources import ImageRows, PictureFiles
from mnistkit.digits.classifier import Classifier

if TYPE_CHECKING:
    from mnistkit.digits.bulk.table import Row

_FETCHED_AT_ONCE = 8  # pictures at URLs, for which a processor mostly waits


class ChunkWorker:
    """Takes a table with one chunk, and answers with one message: its rows, or why there are none.

    Args:
        order: As `mnistkit.digits.bulk.ray_driver` makes it.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._reader: ChunkReader | None = None

    def __call__(self, batch: Any) -> dict[str, list[str]]:
        """Read one chunk."""
        (chunk,) = batch.to_pylist()
        paths = [os.fsdecode(path) for path in chunk["paths"]]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                message: dict[str, Any] = {"rows": self._rows(chunk, paths)}
            except MnistkitError as error:
                message = failure(error)
                message["failed"][1] = message["failed"][1].replace("<bytes>", self._order["job"]["model"])
        message |= {"start": chunk["start"], "host": socket.gethostname()}
        message["absent"] = [path for path in paths if not places.is_url(path) and not os.path.exists(path)]  # noqa: PTH110 - a hundred thousand Paths take seconds
        told = {(one.category.__name__, str(one.message)): None for one in caught}
        message["warnings"] = [one for one in told if one[0] in {"UserWarning", "RuntimeWarning"}]
        return {"message": [json.dumps(message)]}

    def _rows(self, chunk: dict[str, Any], paths: list[str]) -> list[Row]:
        if self._reader is None:
            self._reader = self._open()
        return self._reader.picture_rows(paths) if paths else self._reader.array_rows(chunk["start"], chunk["count"])

    def _open(self) -> ChunkReader:
        if steps_digest() != self._order["steps"]:
            raise ClusterError(
                f"{socket.gethostname()} has another version of mnistkit than this machine; install one on every "
                "machine of the cluster"
            )
        with suppress(OSError):  # a machine without this folder still reads absolute paths and URLs
            os.chdir(self._order["folder"])
        settings = dict(self._order["job"])
        source = settings.pop("source")
        content = settings.pop("content")
        if self._order["kind"] == "ImageRows":
            settings["source"] = ImageRows(**source)
            _check_is_here(source["file"])
        else:
            settings["source"] = PictureFiles((), tuple(source["urls"]))
        job = Job(**{**settings, "model": Path(settings["model"])})
        device = "cuda" if job.device.startswith("cuda") else job.device  # Ray shows each worker its own GPU alone
        classifier = Classifier(content, device=device, threads=1, provider_options=job.provider_options)
        return ChunkReader(job, classifier, threads=_FETCHED_AT_ONCE if source.get("urls") else 1)


def _check_is_here(file: str) -> None:
    if not places.is_url(file) and not Path(file).exists():
        raise InputError(
            f"{file}: is not on {socket.gethostname()}, where a worker reads; put it on a file system that all "
            "machines of the cluster share, or name it by URL"
        )
