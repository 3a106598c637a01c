"""Golden pairs: a few inputs with their verified answers, kept inside the file.

`mnistkit verify FILE` runs them again on any host, with neither Keras nor the training data.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

GOLDEN_DECIMALS = 5
GOLDEN_ATOL = 2e-5
"""Half a unit of the last stored decimal, and room for another machine's order of additions."""

_MAX_GOLDEN_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class GoldenPair:
    """One input with its verified answer.

    Attributes:
        inputs: Arrays by input name, with a batch axis.
        outputs: Arrays by output name, rounded to `GOLDEN_DECIMALS` decimals.
    """

    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


def rounded(answers: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Answers as golden pairs keep them: floats with `GOLDEN_DECIMALS` decimals, everything else as it is."""
    return {
        # in double: float16 would overflow on the way, decimals times answer
        name: np.round(array.astype(np.float64), GOLDEN_DECIMALS).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in answers.items()
    }


def encode_golden(pairs: Sequence[GoldenPair]) -> str:
    """Golden pairs as the text that goes into the file."""
    return json.dumps(
        [{"inputs": _encode_arrays(pair.inputs), "outputs": _encode_arrays(pair.outputs)} for pair in pairs],
        sort_keys=True,
        separators=(",", ":"),
    )


def decode_golden(metadata: Mapping[str, str]) -> list[GoldenPair]:
    """Golden pairs of a file.

    Args:
        metadata: The file's ``mnistkit.`` entries, without the prefix.

    Raises:
        ModelFileError: The file has none, or they are damaged.
    """
    text = metadata.get("golden")
    if not text:
        raise ModelFileError("the file carries no golden pairs, so nothing can be verified; export it with mnistkit")
    try:
        pairs = [
            GoldenPair(_decode_arrays(entry["inputs"]), _decode_arrays(entry["outputs"])) for entry in json.loads(text)
        ]
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise ModelFileError(f"the golden pairs in the file are damaged ({error}); export it again") from error
    if not pairs:
        raise ModelFileError("the file's list of golden pairs is empty; export it again")
    return pairs


def _encode_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    return {
        name: {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "zlib": base64.b64encode(zlib.compress(_little(array).tobytes(), 9)).decode(),
        }
        for name, array in arrays.items()
    }


def _decode_arrays(entries: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    arrays = {}
    for name, entry in entries.items():
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(entry["zlib"]), _MAX_GOLDEN_BYTES)
        dtype = np.dtype(entry["dtype"])
        if dtype.kind not in "biuf":
            raise ValueError(f"dtype {dtype} of {name}")
        arrays[name] = np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(entry["shape"])
    return arrays


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
