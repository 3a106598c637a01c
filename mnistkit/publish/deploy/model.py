"""The file that is to be served, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.core.comparison import verify_file
from mnistkit.core.contract import read_labels, read_states
from mnistkit.core.errors import ModelFileError
from mnistkit.core.folders import digest
from mnistkit.core.golden import decode_golden
from mnistkit.core.onnx_header import varint
from mnistkit.core.runtime import Runtime
from mnistkit.publish.deploy.names import check_model_name

if TYPE_CHECKING:
    import os

    from mnistkit.core.golden import GoldenPair

_NUMERIC = frozenset({"bool", "float16", "float32", "float64",
                      *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))})  # fmt: skip
_EXTERNAL = b"\x0a\x08location\x12"  # the protobuf entry that names a file of weights beside this one


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file to serve.

    Attributes:
        path: The file.
        name: What clients call the model.
        runtime: The file, loaded.
        external: Files of weights beside it.
        golden: Its golden pairs; none in a file of another origin.
        labels: Class names; ``None`` where it has none.
        states: Names of input and output of each state that is kept between calls.
    """

    path: Path
    name: str
    runtime: Runtime
    external: tuple[Path, ...]
    golden: tuple[GoldenPair, ...]
    labels: tuple[str, ...] | None
    states: tuple[tuple[str, str], ...]

    @property
    def size(self) -> int:
        """Bytes on disk, with the weights beside the file."""
        return sum(file.stat().st_size for file in (self.path, *self.external))

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return digest(self.path)


def read_served_file(model: str | os.PathLike[str], *, name: str | None = None) -> ServedFile:
    """Read a file, and verify it by its golden pairs where mnistkit exported it.

    Args:
        model: An ``.onnx`` file, of mnistkit or not.
        name: What clients call it; the file's name by default.

    Raises:
        ModelFileError: The file, or one with its weights, cannot be used.
        ParityError: A golden pair is answered otherwise than at the export.
        InputError: The name cannot be one.
        MissingExtraError: onnxruntime is not installed.
    """
    path = Path(model)
    runtime = Runtime(path, device="cpu", threads=1)
    known = check_model_name(path.stem if name is None else name)
    metadata = runtime.metadata
    if "golden" in metadata:
        verify_file(runtime.source, device="cpu")
    return ServedFile(
        path=path,
        name=known,
        runtime=runtime,
        external=_external(path) if isinstance(runtime.source, str) else (),
        golden=tuple(decode_golden(metadata)) if "golden" in metadata else (),
        labels=read_labels(metadata),
        states=read_states(metadata),
    )


def check_numeric(model: ServedFile) -> None:
    """Refuse what mnistkit's own server cannot take or give.

    Raises:
        ModelFileError: A tensor holds no numbers.
    """
    for tensor in (*model.runtime.inputs, *model.runtime.outputs):
        if tensor.dtype not in _NUMERIC:
            raise ModelFileError(
                f"{model.path}: {tensor.name} is {tensor.dtype}, and mnistkit serve takes and gives numbers alone; "
                "words can be served by Triton: --triton, or --kserve with --kserve-runtime triton"
            )


def _external(path: Path) -> tuple[Path, ...]:
    """The files of weights that a file names.

    Raises:
        ModelFileError: One is missing, or lies elsewhere.
    """
    content = path.read_bytes()
    names: set[str] = set()
    place = content.find(_EXTERNAL)
    while place >= 0:
        length, start = varint(memoryview(content), place + len(_EXTERNAL))
        names.add(content[start : start + length].decode("utf-8", "replace"))
        place = content.find(_EXTERNAL, start)
    for name in names:
        if Path(name).name != name or not path.with_name(name).is_file():
            raise ModelFileError(f"{path}: its weights are in {name!r}, which is not a file beside it; put it there")
    return tuple(path.with_name(name) for name in sorted(names))
