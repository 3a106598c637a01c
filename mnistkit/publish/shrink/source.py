"""The float32 file that is to be made smaller."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, ModelFileError, one_line
from mnistkit.core.onnx_header import read_header
from mnistkit.core.runtime import Runtime
from mnistkit.publish.shrink.tools import load_tool

if TYPE_CHECKING:
    import os

_LIMIT = 2 * 1024**3 - 64 * 1024**2  # of one protobuf message, less room for what is added


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A float32 model.

    Attributes:
        path: The file.
        proto: The same as `onnx.ModelProto`, its weights inside.
        size: Bytes on disk, with weights beside the file.
        is_apart: Whether weights lie in another file.
        runtime: The file, loaded.
    """

    path: Path
    proto: Any
    size: int
    is_apart: bool
    runtime: Runtime


def read_source(file: str | os.PathLike[str]) -> Source:
    """Load a file.

    Raises:
        ModelFileError: It cannot be read, is over 2 GB, or its weights beside it are missing.
        InputError: Its weights are not float32, or it has none.
        MissingExtraError: onnx is not installed.
    """
    path = Path(file)
    onnx = load_tool("onnx")
    runtime = Runtime(path, device="cpu", exact=True)
    bare = onnx.load(path, load_external_data=False)
    apart = [tensor for tensor in bare.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    size = path.stat().st_size + _bytes_of(path, apart)
    if size > _LIMIT:
        raise ModelFileError(f"{path}: {size / 1e9:.1f} GB of weights; onnxruntime's tools take models up to 2 GB here")
    try:
        proto = onnx.load(path) if apart else bare
    except Exception as error:  # onnx raises whatever the file system or protobuf does
        raise ModelFileError(f"{path}: its weights cannot be read ({one_line(error, limit=200)})") from error
    _name_constants(onnx, proto.graph)
    _check_weights(path, read_header(proto.SerializeToString()).weights)
    return Source(path, proto, size, bool(apart), runtime)


def _bytes_of(path: Path, apart: list[Any]) -> int:
    names = {entry.value for tensor in apart for entry in tensor.external_data if entry.key == "location"}
    files = [path.parent / name for name in names]
    return sum(file.stat().st_size for file in files if file.is_file())


def _name_constants(onnx: Any, graph: Any) -> None:
    """Make weights of nodes: the tools look for them among the initializers."""
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if value is None or value.data_type != onnx.TensorProto.FLOAT:
            kept.append(node)
            continue
        tensor = graph.initializer.add()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)


def _check_weights(path: Path, counts: dict[str, int]) -> None:
    total = sum(counts.values())
    if not total:
        raise InputError(f"{path}: it has no weights that could be smaller")
    most = max(counts, key=lambda kind: counts[kind])
    if most != "float32":
        raise InputError(f"{path}: its weights are {most} already; give the float32 file that it was made from")
