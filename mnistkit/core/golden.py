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

from mnistkit.core.errors import ModelFileError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

GOLDEN_DECIMALS = 5
GOLDEN_ATOL = 2e-5
"""Half a unit of the last stored decimal, and room for another machine's order of additions."""

MAX_GOLDEN_ATOL = 0.1
"""The most that a file may ask for; with more a pair would say nothing."""

_MAX_GOLDEN_BYTES = 16 * 1024**2  # of all pairs of a file, unpacked
_DTYPES = frozenset({"bool", "float16", "float32", "float64", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in
                     (8, 16, 32, 64))})  # fmt: skip
_TEXT = "str"
_MAX_TEXT_BYTES = 1024**2  # a word of one letter takes twenty times as much in Python
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error)
"""What text that another program wrote, or damaged, may raise on the way to arrays."""


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
    room = _Room(_MAX_GOLDEN_BYTES)
    try:
        pairs = [
            GoldenPair(_decode_arrays(entry["inputs"], room), _decode_arrays(entry["outputs"], room))
            for entry in json.loads(text)
        ]
    except _DAMAGE as error:
        reason = one_line(error, limit=120)
        raise ModelFileError(f"the golden pairs in the file are damaged ({reason}); export it again") from error
    if not pairs:
        raise ModelFileError("the file's list of golden pairs is empty; export it again")
    return pairs


def read_golden_atol(metadata: Mapping[str, str]) -> float:
    """Tolerance of a file's golden pairs; wider in a file with 8-bit weights, which processors round differently.

    Raises:
        ModelFileError: The entry is no number from `GOLDEN_ATOL` to `MAX_GOLDEN_ATOL`.
    """
    text = metadata.get("golden_atol")
    if text is None:
        return GOLDEN_ATOL
    try:
        atol = float(text)
    except ValueError:
        atol = -1.0
    if not GOLDEN_ATOL <= atol <= MAX_GOLDEN_ATOL:
        raise ModelFileError(
            f"the tolerance of the golden pairs is {text!r:.40}, expected {GOLDEN_ATOL:.0e} to {MAX_GOLDEN_ATOL:.0e}; "
            "export it again"
        )
    return atol


def is_text(array: NDArray[Any]) -> bool:
    """Whether an array holds words."""
    return array.dtype.kind in "OSU"


def words_of(array: NDArray[Any]) -> list[str]:
    """The words of an array in flat order; some frameworks hold them as bytes."""
    return [word.decode() if isinstance(word, bytes) else str(word) for word in array.ravel().tolist()]


def _encode_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    return {name: _encode_array(array) for name, array in arrays.items()}


def _encode_array(array: NDArray[Any]) -> dict[str, Any]:
    content = json.dumps(words_of(array)).encode() if is_text(array) else _little(array).tobytes()
    return {
        "dtype": _TEXT if is_text(array) else array.dtype.name,
        "shape": list(array.shape),
        "zlib": base64.b64encode(zlib.compress(content, 9)).decode(),
    }


class _Room:
    """How many bytes a file's golden pairs may still unpack to, all of them together."""

    def __init__(self, size: int) -> None:
        self.left = size

    def unpack(self, packed: bytes) -> bytes:
        """Unpack within the room that is left.

        Raises:
            ValueError: They do not fit.
        """
        content = zlib.decompressobj().decompress(packed, self.left + 1)
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(f"they unpack to more than {_MAX_GOLDEN_BYTES} bytes")
        return content


def _decode_arrays(entries: Mapping[str, Any], room: _Room) -> dict[str, NDArray[Any]]:
    arrays = {}
    for name, entry in entries.items():
        content = room.unpack(base64.b64decode(entry["zlib"]))
        if entry["dtype"] == _TEXT:
            words = json.loads(content) if len(content) <= _MAX_TEXT_BYTES else None
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError(f"{name} is no list of words, or a very long one")
            arrays[name] = np.array(words, dtype=object).reshape(entry["shape"])
            continue
        if entry["dtype"] not in _DTYPES:  # np.dtype would evaluate what stands there
            raise ValueError(f"dtype {entry['dtype']!r:.40} of {name}")
        dtype = np.dtype(entry["dtype"])
        arrays[name] = np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(entry["shape"])
    return arrays


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
