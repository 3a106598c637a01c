"""Read and measure everything that a report says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.about import read_about
from mnistkit.core.errors import InputError, MnistkitError, ModelFileError, one_line
from mnistkit.core.runtime import Runtime
from mnistkit.digits.contract import NAME
from mnistkit.export.provenance import external_bytes, read_provenance
from mnistkit.publish.report.contents import Report
from mnistkit.publish.report.graph_file import read_graph, read_shapes
from mnistkit.publish.report.graph_folding import fold
from mnistkit.publish.report.graph_layout import lay_out
from mnistkit.publish.report.history import read_training
from mnistkit.publish.report.parity import read_parity
from mnistkit.publish.report.testing import run_on_test_data
from mnistkit.publish.report.words import Missing
from mnistkit.publish.speed import measure_speed

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from mnistkit.publish.report.graph_picture import Picture
    from mnistkit.publish.speed import Speed

_MNIST = "mnist"
_BOXES = (60, 40, 24, 16, 10)
"""How many boxes of a large graph are drawn: as many as do not get wider than `_WIDEST`."""
_WIDEST = 4.2  # boxes


def find_onnx(model: str | os.PathLike[str]) -> Path:
    """The ``.onnx`` file of a model that is named by it, or by the ``.keras`` file beside it.

    Raises:
        ModelFileError: A ``.keras`` file has none beside it.
    """
    path = Path(model)
    if path.suffix != ".keras":
        return path
    beside = path.with_suffix(".onnx")
    if not beside.is_file():
        raise ModelFileError(
            f"{path}: a report is made of the .onnx file, and {beside} is missing; run `mnistkit export {path}`"
        )
    return beside


def collect(
    file: str | os.PathLike[str],
    *,
    data: str | None = None,
    labels: Sequence[str] | None = None,
    device: str = "auto",
    provider_options: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Everything that a report says of an ``.onnx`` file.

    Args:
        file: The file. ``NAME.train.json`` and ``NAME.onnx.json`` beside it are read where they are.
        data: Test data; see `testing.run_on_test_data`.
        labels: Names of the classes, instead of those in the file.
        device: Where onnxruntime runs; see `mnistkit.Classifier`.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.
        progress: Is told, every now and then, what is being done.

    Raises:
        ModelFileError: The file cannot be read.
        DataError: ``data`` cannot be read or does not fit the model.
        DeviceError: The device cannot be had.
    """
    path = Path(file)
    runtime = Runtime(path, device=device, provider_options=provider_options)
    about = read_about(path, runtime)
    training = path.with_suffix(".train.json")
    tell = progress or (lambda _: None)
    quality = run_on_test_data(
        runtime, data=data, labels=labels, is_mnist=_reads_mnist(path, training), progress=progress
    )
    tell("running the golden pairs")
    parity = read_parity(path, about, device=device, provider_options=provider_options)
    speed = _measure(runtime, progress=progress)
    tell("reading the graph")
    return Report(
        name=path.name,
        about=about,
        external=external_bytes(path),
        history=read_training(training, weights_sha256=runtime.metadata.get("weights_sha256")),
        quality=quality,
        parity=parity,
        speed=speed,
        graph=_read_picture(path),
    )


def _measure(runtime: Runtime, *, progress: Callable[[str], None] | None) -> Speed | Missing:
    try:
        return measure_speed(runtime, progress=progress)
    except InputError as error:
        return Missing(f"no latencies: {one_line(error, limit=300)}")


def _read_picture(path: Path) -> Picture | Missing:
    content = path.read_bytes()
    try:
        graph = read_graph(content)
    except MnistkitError as error:
        return Missing(f"no graph: {one_line(error, limit=200)}")
    shapes = read_shapes(content, graph)
    for most in _BOXES:
        picture = fold(graph, shapes, most=most)
        if sum(box.kind == "operation" for box in picture.boxes) < most or _width(picture) <= _WIDEST:
            break  # all of it, or a beginning that fits on a page
    return picture


def _width(picture: Picture) -> float:
    return lay_out(len(picture.boxes), picture.edges).width


def _reads_mnist(path: Path, training: Path) -> bool:
    """Whether the export says that this is a classifier of digits, and the training does not name other data."""
    try:
        is_digits = read_provenance(path).get("profile") == NAME
    except ModelFileError:
        return False
    try:
        found = json.loads(training.read_text(encoding="utf-8"))
        return is_digits and found["data"]["name"] == _MNIST
    except OSError:
        return is_digits
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
