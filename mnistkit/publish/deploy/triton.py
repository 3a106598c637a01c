"""A model repository of Triton: ``REPOSITORY/NAME/config.pbtxt``, ``REPOSITORY/NAME/VERSION/model.onnx``.

NAME/config.pbtxt      names, types, shapes, batches, queue, warm-up
NAME/labels.txt        class names, where the file has them
NAME/warmup/           inputs of the golden pairs
NAME/1/model.onnx      the file as it was exported, and its weights where they lie beside it
NAME/mnistkit-folder.json   SHA-256 of each file
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mnistkit.core.errors import InputError, OutputError
from mnistkit.core.folders import check_folder, read_list, replacing_folder
from mnistkit.publish.deploy.model import read_served_file
from mnistkit.publish.deploy.names import check_model_name
from mnistkit.publish.deploy.text_format import text_format
from mnistkit.publish.deploy.triton_batch import example_inputs, why_not_batched
from mnistkit.publish.deploy.triton_config import (
    LABELS,
    MAX_BATCH,
    configuration,
    labeled_output,
    signature,
    triton_types,
)
from mnistkit.publish.deploy.triton_warmup import warmup

if TYPE_CHECKING:
    import os

    from mnistkit.publish.deploy.model import ServedFile

_KIND: Final = "triton model"
_CONFIG = "config.pbtxt"
_HEAD = '# Written by `mnistkit export --triton`; what each field means: Triton\'s page "Model Configuration".\n'


@dataclass(frozen=True, slots=True)
class TritonRepository:
    """What `triton_repository` wrote.

    Attributes:
        path: The repository.
        name: The model's folder in it, and what clients call it.
        version: The version that was written.
        max_batch_size: Rows that are run together; 0 where each request is run by itself.
        files: All files of the model, relative to the repository.
        notes: What to know of it, one sentence each.
    """

    path: Path
    name: str
    version: int
    max_batch_size: int
    files: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return f"wrote {self.path}: {', '.join(self.files)}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "repository": str(self.path),
            "name": self.name,
            "version": self.version,
            "max_batch_size": self.max_batch_size,
            "files": list(self.files),
            "notes": list(self.notes),
        }


def triton_repository(
    model: str | os.PathLike[str],
    repository: str | os.PathLike[str],
    *,
    name: str | None = None,
    version: int = 1,
) -> TritonRepository:
    """Write a model into a model repository of Triton; other models in it are left alone.

    The folder of the model is written as a whole or not at all. Other versions that this function wrote stay; the
    newest is the one that is served. `mnistkit serve --model-repository` takes the same folder.

    Args:
        model: An ``.onnx`` file, of mnistkit or not.
        repository: The folder that holds all models.
        name: What clients call the model; the file's name by default.
        version: Number of this version.

    Raises:
        ModelFileError: The file cannot be read, or Triton does not take it.
        ParityError: A golden pair is answered otherwise than at the export.
        InputError: The name or the version cannot be one, or another version takes or gives other tensors.
        OutputError: The model's folder holds other things, or cannot be written.
    """
    check_triton_repository(repository, name=Path(model).stem if name is None else name, version=version)
    served = read_served_file(model, name=name)
    types = triton_types(served)
    example = example_inputs(served)
    reason = why_not_batched(served, example)
    max_batch = 0 if reason else MAX_BATCH
    samples, files = warmup(served, example, types, max_batch=max_batch)
    target = Path(repository) / served.name
    others = _other_versions(target, version)
    head = text_format(signature(served, types, max_batch=max_batch))
    if others and head not in (target / _CONFIG).read_text(encoding="utf-8"):
        raise InputError(
            f"{target / _CONFIG}: version {others[0]} takes or gives other tensors than {served.path}, and one "
            "configuration is for all versions; give the new model another name with --name"
        )
    with replacing_folder(target, kind=_KIND) as new:
        for other in others:
            shutil.copytree(target / other, new / other)
        _write(new, served, version, files)
        text = _HEAD + text_format(configuration(served, types, samples, max_batch=max_batch))
        (new / _CONFIG).write_text(text, encoding="utf-8", newline="\n")
        if labeled_output(served, max_batch=max_batch):
            labels = "".join(f"{label}\n" for label in served.labels or ())
            (new / LABELS).write_text(labels, encoding="utf-8", newline="\n")
    written = sorted(file.relative_to(repository).as_posix() for file in target.rglob("*") if file.is_file())
    notes = _notes(served, reason, has_warmup=bool(samples), max_batch=max_batch)
    return TritonRepository(Path(repository), served.name, version, max_batch, tuple(written), tuple(notes))


def check_triton_repository(repository: str | os.PathLike[str], *, name: str, version: int = 1) -> None:
    """Raise before a long export what `triton_repository` would raise after it.

    Raises:
        InputError: The name or the version cannot be one.
        OutputError: The model's folder holds other things, or cannot be written.
    """
    if not 1 <= version < 10**9:
        raise InputError(f"--triton-version: expected a number from 1, got {version}")
    path = Path(repository)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"cannot write the folder {path}: there is a file or link of this name; name another")
    check_folder(path / check_model_name(name), kind=_KIND)


def _other_versions(target: Path, version: int) -> list[str]:
    """Folders of the other versions that were written here before."""
    numbers = {file.split("/")[0] for file in read_list(target, kind=_KIND) if file.endswith("/model.onnx")}
    return sorted((number for number in numbers if number != str(version)), key=int)


def _write(new: Path, served: ServedFile, version: int, files: dict[str, bytes]) -> None:
    place = new / str(version)
    place.mkdir()
    shutil.copyfile(served.path, place / "model.onnx")
    for file in served.external:
        shutil.copyfile(file, place / file.name)
    if files:
        (new / "warmup").mkdir()
    for file_name, content in files.items():
        (new / "warmup" / file_name).write_bytes(content)


def _notes(served: ServedFile, reason: str, *, has_warmup: bool, max_batch: int) -> list[str]:
    notes = []
    if reason:
        notes.append(f"max_batch_size is 0, so each request is run by itself: {reason}")
    if not has_warmup:
        notes.append("no warm-up: there are no golden pairs, and no inputs could be drawn")
    if served.labels and labeled_output(served, max_batch=max_batch) is None:
        notes.append(f"no {LABELS}: a label is empty or has several lines, or no output has one score for each class")
    if served.states:
        names = ", ".join(before for before, _ in served.states)
        notes.append(f"the client sends the states ({names}) with each request and takes their outputs for the next")
    return notes
