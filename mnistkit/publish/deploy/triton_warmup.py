"""Inputs that Triton runs before it calls a model ready: of the golden pairs, else drawn."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.golden import is_text, words_of
from mnistkit.publish.deploy.text_format import Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mnistkit.publish.deploy.model import ServedFile
    from mnistkit.publish.drawn_inputs import Arrays

_SAMPLES = 4
_MOST_BYTES = 16 * 1024**2


def warmup(
    model: ServedFile, example: Arrays | None, types: Mapping[str, str], *, max_batch: int
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Fields ``model_warmup`` of the configuration, and the files that they name.

    Triton runs a sample as so many requests of one row as its ``batch_size`` says. So each golden pair gives its first
    row, and the first pair a second sample of a full batch.

    Args:
        model: The file.
        example: Inputs to take where there are no golden pairs.
        types: Triton's name of each input's type.
        max_batch: Rows of a batch; 0 where the model has no batch axis.
    """
    pairs = [pair.inputs for pair in model.golden[:_SAMPLES]] or ([example] if example else [])
    word = "golden" if model.golden else "drawn"
    samples: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for number, inputs in enumerate(pairs):
        entries: list[dict[str, Any]] = []
        contents: dict[str, bytes] = {}
        for place, tensor in enumerate(model.runtime.inputs):
            array = inputs[tensor.name][:1] if max_batch else inputs[tensor.name]
            file = f"{word}_{number}.input_{place}"
            contents[file] = _raw(array)
            dims = list(array.shape[1:] if max_batch else array.shape) or [1]
            value = {"data_type": Word(types[tensor.name]), "dims": dims, "input_data_file": file}
            entries.append({"key": tensor.name, "value": value})
        if any(size < 1 for entry in entries for size in entry["value"]["dims"]):
            continue  # no data at all
        if sum(map(len, (*files.values(), *contents.values()))) > _MOST_BYTES:
            break
        files |= contents
        samples.append({"name": f"{word}_{number}", "batch_size": 1, "inputs": entries})
    if samples and max_batch > 1:
        samples.append({"name": f"{word}_0_full_batch", "batch_size": max_batch, "inputs": samples[0]["inputs"]})
    return samples, files


def _raw(array: NDArray[Any]) -> bytes:
    """As Triton's binary data: little-endian, and before each word its length."""
    if is_text(array):
        words = [word.encode() for word in words_of(array)]
        return b"".join(struct.pack("<I", len(word)) + word for word in words)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
