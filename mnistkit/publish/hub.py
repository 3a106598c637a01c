"""A folder as model hubs lay it out: card, configuration and the ONNX files.

README.md                  the model card
config.json                class names; read by transformers.js
preprocessor_config.json   where the file says how a picture becomes its input
onnx/model.onnx            the file as it was exported
onnx/model_fp16.onnx       NAME-fp16.onnx, where it lies beside the file
onnx/model_quantized.onnx  NAME-int8.onnx, likewise
onnx/model_picture.onnx    takes pictures of any size; of classifiers of digits
mnistkit-folder.json       SHA-256 of each file
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.comparison import verify_file
from mnistkit.core.contract import read_labels
from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.core.folders import check_folder, digest, read_list, replacing_folder
from mnistkit.core.runtime import Runtime
from mnistkit.publish.front_matter import read_accuracy
from mnistkit.publish.hub_card import card
from mnistkit.publish.hub_config import config, preprocessor_config
from mnistkit.publish.image_input import read_image_input
from mnistkit.publish.model_facts import read_facts, telling_damage
from mnistkit.publish.speed import time_runs
from mnistkit.publish.variants import add_picture, add_variants, check_type

if TYPE_CHECKING:
    import os

_KIND = "hub"
_CARD, _CONFIG, _PREPROCESSOR, _MODEL = "README.md", "config.json", "preprocessor_config.json", "onnx/model.onnx"
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True, slots=True)
class HubFolder:
    """What `hub_folder` wrote.

    Attributes:
        path: The folder.
        files: Its files, relative to it.
        notes: What was left out and why, one sentence each.
    """

    path: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return f"wrote {self.path}: {', '.join(self.files)}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {"folder": str(self.path), "files": list(self.files), "notes": list(self.notes)}


def hub_folder(
    model: str | os.PathLike[str], folder: str | os.PathLike[str], *, license_id: str | None = None
) -> HubFolder:
    """Write the folder of an exported file; an older one of the same command is replaced as a whole.

    The file is verified by its golden pairs first, and the folder against the file last. Needs no Keras.

    Args:
        model: A file that mnistkit exported.
        folder: Where the folder goes.
        license_id: The hub's identifier of the model's license, such as ``"mit"``; the card asks for it by default.

    Raises:
        ModelFileError: The file cannot be used, or a file beside it is not what its name says.
        ParityError: A golden pair is answered otherwise than at the export.
        InputError: The license is no identifier.
        OutputError: The folder holds other things, or cannot be written.
    """
    check_hub_folder(folder, license_id=license_id)
    facts = read_facts(model)
    notes = (
        [] if facts.provenance else [f"no {facts.path.name}.json beside the file: the card has no table of the check"]
    )
    if license_id is None:
        notes.append("the license is not stated: give it with --license, or fill it in at the top of README.md")
    if facts.labels and facts.image is None:
        notes.append(
            f"no {_PREPROCESSOR} and no pipeline_tag: the file's preprocessing_parameters do not say scale and side"
        )
    with replacing_folder(folder, kind=_KIND) as new:
        onnx = new / "onnx"
        onnx.mkdir()
        shutil.copyfile(facts.path, new / _MODEL)
        if facts.external is not None:
            shutil.copyfile(facts.external, onnx / facts.external.name)
        variants = add_variants(facts, onnx)
        picture, note = add_picture(facts, onnx)
        notes += [note] if note else []
        _write_json(new / _CONFIG, config(facts))
        if facts.image is not None:
            _write_json(new / _PREPROCESSOR, preprocessor_config(facts.image))
        runtime = Runtime(new / _MODEL, device="cpu", threads=1)
        latency = time_runs(lambda: runtime.run(facts.golden[0].inputs))
        with telling_damage(facts.path):
            text = card(facts, variants=variants, picture=picture, latency=latency, license_id=license_id)
        (new / _CARD).write_text(text, encoding="utf-8", newline="\n")
        _check_contents(new)
    target = Path(folder)
    files = sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())
    return HubFolder(target, tuple(files), tuple(notes))


def check_hub_folder(folder: str | os.PathLike[str], *, license_id: str | None = None) -> None:
    """Raise before a long export what `hub_folder` would raise after it.

    Raises:
        InputError: The license is no identifier.
        OutputError: The folder holds other things, or cannot be written.
    """
    if license_id is not None and not _LICENSE.fullmatch(license_id):
        raise InputError(
            f"license {license_id!r}: expected an identifier such as mit, apache-2.0 or cc-by-sa-4.0; "
            "https://huggingface.co/docs/hub/repositories-licenses lists them"
        )
    check_folder(folder, kind=_KIND)


def verify_hub_folder(folder: str | os.PathLike[str]) -> None:
    """Require that a hub folder is whole and says what its files say; the card may have been edited.

    Raises:
        ModelFileError: A file is missing, was changed, is of another type, or contradicts ``onnx/model.onnx``.
        ParityError: A golden pair is answered otherwise than at the export.
    """
    path = Path(folder)
    written = read_list(path, kind=_KIND)
    if not written:
        raise ModelFileError(f"{path}: no folder that `mnistkit export --hub` wrote")
    for name in sorted(written):
        file = path / name
        if not file.is_file():
            raise ModelFileError(f"{file}: it is missing; write the folder again")
        if name != _CARD and digest(file) != written[name]:
            raise ModelFileError(f"{file}: it was changed since the folder was written; write the folder again")
    _check_contents(path)
    for name in ("fp16", "quantized"):
        if (path / f"onnx/model_{name}.onnx").is_file():
            check_type(path / f"onnx/model_{name}.onnx", "int8" if name == "quantized" else name)
    verify_file(path / _MODEL)


def _check_contents(folder: Path) -> None:
    """Hold the card and the configuration against the metadata of the model.

    Raises:
        ModelFileError: One says something else.
    """
    runtime = Runtime(folder / _MODEL, device="cpu")
    text, known = _read(folder / _CARD), runtime.metadata.get("test_accuracy")
    for told in (read_accuracy(text), *re.findall(r"^\| Accuracy \| ([\d.]+)", text, re.MULTILINE)):
        if told != known:
            raise ModelFileError(
                f"{folder / _CARD}: it says accuracy {told}, and {_MODEL} says {known}; correct the card"
            )
    names: dict[str, str] = json.loads(_read(folder / _CONFIG)).get("id2label", {})
    if tuple(names.values()) != (read_labels(runtime.metadata) or ()):
        raise ModelFileError(f"{folder / _CONFIG}: its classes are not those of {_MODEL}; write the folder again")
    image = read_image_input(runtime.metadata, runtime.inputs)
    expected = None if image is None else preprocessor_config(image)
    file = folder / _PREPROCESSOR
    if (json.loads(_read(file)) if file.is_file() else None) != expected:
        raise ModelFileError(f"{file}: it is not the preprocessing of {_MODEL}; write the folder again")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{file}: cannot be read ({error}); write the folder again") from error


def _write_json(file: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8", newline="\n")
