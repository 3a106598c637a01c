"""What an ``.onnx`` file is, in numbers and names: for ``mnistkit info`` and for reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import ModelFileError
from mnistkit.core.golden import decode_golden
from mnistkit.core.onnx_header import read_header

if TYPE_CHECKING:
    import os

    from mnistkit.core.runtime import Runtime
    from mnistkit.core.tensors import TensorInfo


@dataclass(frozen=True, slots=True)
class About:
    """What a file is.

    Attributes:
        file: As it was named.
        size: Bytes of the file itself.
        opsets: Version of each set of operators by its domain; ``"ai.onnx"`` is ONNX' own.
        ir_version: Version of the file format.
        producer: The program that wrote it; empty where it does not say.
        parameters: Number of floating-point weights.
        weights: Numbers in the weights by element type, floats and bytes.
        nodes: Number of operations.
        inputs: Declared inputs.
        outputs: Declared outputs.
        providers: Execution providers that run it here.
        metadata: Its ``mnistkit.`` entries without the prefix and without the golden pairs, sorted by key.
        golden_pairs: How many golden pairs it carries; ``None`` where they are damaged.
    """

    file: str
    size: int
    opsets: dict[str, int]
    ir_version: int
    producer: str
    parameters: int
    weights: dict[str, int]
    nodes: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    providers: tuple[str, ...]
    metadata: dict[str, str]
    golden_pairs: int | None

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, for ``--json``."""
        return {
            "file": self.file,
            "bytes": self.size,
            "opsets": self.opsets,
            "ir_version": self.ir_version,
            "producer": self.producer,
            "parameters": self.parameters,
            "weights": self.weights,
            "nodes": self.nodes,
            "inputs": [str(tensor) for tensor in self.inputs],
            "outputs": [str(tensor) for tensor in self.outputs],
            "providers": list(self.providers),
            "metadata": self.metadata,
            "golden pairs": "damaged" if self.golden_pairs is None else self.golden_pairs,
        }


def read_about(file: str | os.PathLike[str], runtime: Runtime) -> About:
    """Read what is known of a file.

    Args:
        file: Its path.
        runtime: The same file, loaded.

    Raises:
        ModelFileError: The bytes are not those of an ONNX model.
    """
    content = Path(file).read_bytes()
    header = read_header(content)
    return About(
        file=str(file),
        size=len(content),
        opsets=header.opsets,
        ir_version=header.ir_version,
        producer=header.producer,
        parameters=header.parameters,
        weights=header.weights,
        nodes=header.nodes,
        inputs=runtime.inputs,
        outputs=runtime.outputs,
        providers=runtime.providers,
        metadata={key: value for key, value in sorted(runtime.metadata.items()) if key != "golden"},
        golden_pairs=_count_golden(runtime.metadata),
    )


def _count_golden(metadata: dict[str, str]) -> int | None:
    """How many golden pairs a file carries; a damaged list is a fact about the file and no reason to say nothing."""
    try:
        return len(decode_golden(metadata)) if "golden" in metadata else 0
    except ModelFileError:
        return None
