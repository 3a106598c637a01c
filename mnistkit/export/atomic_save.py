"""Write a model beside its target, and move it into place only when all checks have passed.

One protobuf message holds 2 GB. A larger model's weights go into a second file, which the graph names. That name has a
digest of the weights in it, so the new weights never overwrite those of an older export: they are put down first, then
the graph is replaced in one step, and only then is the older export's second file removed. Whatever happens in between,
the graph under the final name has the weights that it was verified with.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from mnistkit.core.files import check_writable, replacing, writing

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 2 * 1024**3 - 64 * 1024**2
"""Bytes of weights that stay inside the graph's file: one message, less room for the graph and its golden pairs."""
_SMALLEST = 1024  # bytes; shapes and the like stay in the graph, where the runtime needs them while it loads
_ALIGNED = 4096  # a memory page, so that a runtime can map the weights instead of reading them
_DIGITS = 12  # of the digest, in the name


@dataclass(frozen=True, slots=True)
class ExternalData:
    """The second file of a model that is too large for one.

    Attributes:
        name: Its name, beside the graph.
        size: Bytes.
        sha256: Digest of the file.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PendingModel:
    """A model on disk that is not in its final place yet.

    Attributes:
        path: The graph's file for the time being.
        external_data: The file of weights beside it, ``None`` when everything is in one file.
    """

    path: Path
    external_data: ExternalData | None

    def write(self, proto: onnx.ModelProto) -> None:
        """Write the graph; again, when it has changed."""
        self.path.write_bytes(proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def pending_model(target: Path, proto: onnx.ModelProto) -> Iterator[PendingModel]:
    """Yield a temporary place for a graph; without an exception what was written there replaces ``target``.

    Args:
        target: The final place of the graph. What stands there stays as it is when the body raises.
        proto: The graph. When its weights are over `LIMIT` they are moved out of it, into the second file.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    before = _weights_named_by(target)
    if sum(_size(tensor) for tensor in proto.graph.initializer) <= LIMIT:
        with replacing(target) as path:
            yield PendingModel(path, None)
        _remove(target, before)
        return
    check_writable(target)
    with (
        writing(target),
        tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder,
    ):
        pending = PendingModel(Path(folder) / target.name, _move_weights(proto, Path(folder), target))
        yield pending
        _put(pending, target)
    assert pending.external_data is not None
    _remove(target, before - {pending.external_data.name})


def is_apart(proto: onnx.ModelProto) -> bool:
    """Whether weights of a graph lie in another file."""
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer)


def _size(tensor: onnx.TensorProto) -> int:
    if tensor.data_type == onnx.TensorProto.STRING:
        return 0
    return int(math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _move_weights(proto: onnx.ModelProto, folder: Path, target: Path) -> ExternalData:
    """Write the large initializers into one file and leave their places in it in the graph."""
    digest = hashlib.sha256()
    moved: list[tuple[onnx.TensorProto, int, int]] = []
    written = 0
    with (folder / "weights").open("wb") as stream:
        for tensor in proto.graph.initializer:
            if _size(tensor) < _SMALLEST:
                continue
            content = tensor.raw_data if tensor.HasField("raw_data") else onnx.numpy_helper.to_array(tensor).tobytes()
            for part in (bytes(-written % _ALIGNED), content):
                stream.write(part)
                digest.update(part)
                written += len(part)
            moved.append((tensor, written - len(content), len(content)))
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
    sha256 = digest.hexdigest()
    name = f"{target.name}.{sha256[:_DIGITS]}.data"
    (folder / "weights").rename(folder / name)
    for tensor, offset, length in moved:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", name), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
    return ExternalData(name, written, sha256)


def _put(pending: PendingModel, target: Path) -> None:
    assert pending.external_data is not None
    source = pending.path.with_name(pending.external_data.name)
    final = target.with_name(pending.external_data.name)
    for path in (source, pending.path):
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    known = final.exists()  # an older export of the same weights
    source.replace(final)
    try:
        pending.path.replace(target)
    except OSError:
        if not known:
            final.unlink()
        raise


def _weights_named_by(target: Path) -> set[str]:
    """Second files of the export that stands at the target; files that are not named after it are not ours."""
    try:
        found = {path.name for path in target.parent.iterdir() if _is_ours(path.name, target)}
        if not found or not target.is_file():
            return set()
        proto = onnx.load(target, load_external_data=False)
    except Exception:  # noqa: BLE001  # whatever stands there is no export of ours, and is about to be replaced
        return set()
    names = {e.value for tensor in proto.graph.initializer for e in tensor.external_data if e.key == "location"}
    return found & names


def _is_ours(name: str, target: Path) -> bool:
    return name.startswith(f"{target.name}.") and name.endswith(".data")


def _remove(target: Path, names: set[str]) -> None:
    for name in names:
        target.with_name(name).unlink(missing_ok=True)
