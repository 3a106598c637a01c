"""The reader as one ONNX file: a picture of any size in, digits with boxes out.

pixels uint8 ``[rows, columns, 2]``  ->  boxes float32 ``[n, 4]``, chances float32 ``[n]``, classes float32 ``[n, 10]``,
turns float32 ``[n, 4]``, as `mnistkit.digits.reader.peaks.Found` has them, the surest first.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mnistkit.core.errors import ModelFileError, ParityError
from mnistkit.core.files import check_writable, replacing
from mnistkit.core.runtime import Runtime
from mnistkit.digits.reader.graph import build_graph
from mnistkit.digits.reader.net import MULTIPLE, Maps
from mnistkit.digits.reader.peaks import Found, peaks

if TYPE_CHECKING:
    import os

_TOLERANCE: Final = 2e-3  # of a probability and of a pixel, between the file and Keras: the weights have 16 bits
_SIZES: Final = ((64, 96), (37, 50), (160, 128))


def export_reader(model: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Write the reader's ``.onnx`` file, checked against Keras.

    Args:
        model: The ``.keras`` file that the training wrote.
        path: Where the file goes.

    Raises:
        ModelFileError: The model is no reader.
        ParityError: The file answers otherwise than Keras.
        OutputError: The file cannot be written.
    """
    import onnx

    from mnistkit.core.keras_files import load_model
    from mnistkit.export.pipeline import export_onnx

    target = Path(path)
    check_writable(target)
    keras_model = load_model(model)
    if keras_model.output_shape[-1] != Maps.COUNT:
        raise ModelFileError(f"{model}: is no reader; train one with --model reader")
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / "net.onnx", profile="none")
        net = onnx.load(Path(folder) / "net.onnx")
    whole = build_graph(net)
    onnx.checker.check_model(whole, full_check=True)
    content = whole.SerializeToString(deterministic=True)
    _verify(Runtime(content, device="cpu", exact=True), keras_model)
    with replacing(target) as temporary:
        Path(temporary).write_bytes(content)
    return target


def _verify(whole: Runtime, model: Any) -> None:
    """The file must find what Keras' answer says."""
    from mnistkit.core.keras_backend import load_keras

    generator = np.random.default_rng(0)
    for rows, columns in _SIZES:
        pixels = generator.integers(0, 256, (rows, columns, 2), dtype=np.uint8)
        padded = np.pad(pixels, ((0, -rows % MULTIPLE), (0, -columns % MULTIPLE), (0, 0)), mode="edge")
        maps = np.asarray(load_keras().ops.convert_to_numpy(model(padded[None], training=False)))[0]
        expected = peaks(maps)
        answer = whole.run({"pixels": pixels})
        found = Found(*(answer[name] for name in ("boxes", "chances", "classes", "turns")))
        for chance, classes in zip(found.chances, found.classes, strict=True):
            near = np.abs(expected.chances - chance) + np.abs(expected.classes - classes).max(1)
            if not len(near) or not near.min() <= _TOLERANCE:
                raise ParityError(f"the file finds a digit in {rows}x{columns} noise that Keras does not find")
