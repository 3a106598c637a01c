"""Run a file on test data: digits as `mnistkit evaluate` does, or the arrays of an ``.npz`` for other classifiers."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.contract import read_labels
from mnistkit.core.errors import DataError, MnistkitError, ModelFileError, one_line
from mnistkit.core.runtime import cast
from mnistkit.digits.classifier import Classifier
from mnistkit.digits.contract import DIGITS
from mnistkit.digits.data import load_data
from mnistkit.digits.scaling import read_scaling
from mnistkit.publish.drawn_inputs import batch_axis
from mnistkit.publish.report.pictures import as_pixels
from mnistkit.publish.report.scores import Quality, quality_of
from mnistkit.publish.report.words import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mnistkit.core.runtime import Runtime

    Progress = Callable[[str], None]

_STEP = 500  # samples at a time
_GIVE = "give --data PATH"
_FORM = "an .npz with x_test, as the model takes it, and y_test, class numbers"


def run_on_test_data(
    runtime: Runtime,
    *,
    data: str | None = None,
    labels: Sequence[str] | None = None,
    is_mnist: bool = False,
    progress: Progress | None = None,
) -> Quality | Missing:
    """Run a file on test data.

    Args:
        runtime: The file.
        data: Where the data are: for a classifier of digits whatever `mnistkit.load_data` takes, for any other an
            ``.npz`` with ``x_test`` and ``y_test``. Without it a classifier of digits is tested on MNIST.
        labels: Names of the classes, instead of those in the file.
        is_mnist: Whether the training or the export said that the model reads MNIST's digits.
        progress: Is told what is being done.

    Raises:
        DataError: ``data`` cannot be read or does not fit the model.
        ModelFileError: The model cannot be tested on ``data``.
    """
    if data is None:
        return _on_mnist(runtime, labels=labels, is_mnist=is_mnist, progress=progress)
    try:
        classifier = Classifier(runtime)
    except ModelFileError:
        return _on_arrays(runtime, Path(data), labels=labels, progress=progress)
    return _on_digits(classifier, data, labels=labels, progress=progress)


def _on_mnist(
    runtime: Runtime, *, labels: Sequence[str] | None, is_mnist: bool, progress: Progress | None
) -> Quality | Missing:
    try:
        told = read_labels(runtime.metadata)
        if not is_mnist and (told != DIGITS or read_scaling(runtime.metadata) is None):
            return Missing(f"no test results: nothing says which test data this model is for; {_GIVE} ({_FORM})")
        classifier = Classifier(runtime)
        if classifier.takes_pictures:
            return Missing(f"no test results: the file takes pictures, one at a time, which takes minutes; {_GIVE}")
        return _on_digits(classifier, None, labels=labels, progress=progress)
    except ModelFileError as error:
        return Missing(f"no test results: {one_line(error, limit=300)}")


def _on_digits(
    classifier: Classifier, data: str | None, *, labels: Sequence[str] | None, progress: Progress | None
) -> Quality | Missing:
    found = load_data(data, labels=labels)
    names = found.labels if labels else classifier.labels
    images = found.x_test
    parts = []
    for start in range(0, len(images), _STEP):
        _tell(progress, start, len(images))
        parts.append(classifier.probabilities(images[start : start + _STEP]))
    quality = quality_of(np.concatenate(parts), found.y_test, labels=names, data=found.name)
    return _with_pixels(quality, images)


def _on_arrays(
    runtime: Runtime, path: Path, *, labels: Sequence[str] | None, progress: Progress | None
) -> Quality | Missing:
    x, y = _read_arrays(path)
    if len(runtime.inputs) != 1:
        raise DataError(f"{path}: the model has {len(runtime.inputs)} inputs, test data can be given for one alone")
    scores = _answers(runtime, x, path=path, progress=progress)
    if scores.ndim != 2 or len(scores) != len(x):  # noqa: PLR2004  # rows of scores
        raise DataError(f"{path}: the model's first output {runtime.outputs[0]} has no scores of classes")
    names = list(labels or read_labels(runtime.metadata) or map(str, range(scores.shape[1])))
    if len(names) != scores.shape[1]:
        raise DataError(f"{len(names)} labels for {scores.shape[1]} classes; give one for each with --labels")
    if y.min() < 0 or y.max() >= len(names):
        raise DataError(f"{path}: y_test has {y.min()} to {y.max()}, the model has classes 0 to {len(names) - 1}")
    return _with_pixels(quality_of(scores, y, labels=names, data=path.name), x)


def _read_arrays(path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, y = archive["x_test"], archive["y_test"]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_GIVE}, {_FORM}") from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise DataError(f"{path}: {one_line(error, limit=120)}; {_GIVE}, {_FORM}") from error
    if y.dtype.kind not in "iu" or y.ndim != 1 or len(y) == 0 or x.ndim == 0 or len(x) != len(y):
        raise DataError(f"{path}: x_test {list(x.shape)} and y_test {y.dtype} {list(y.shape)}; {_GIVE}, {_FORM}")
    return x, y.astype(np.int64)


def _answers(runtime: Runtime, x: NDArray[Any], *, path: Path, progress: Progress | None) -> NDArray[Any]:
    """The first output for all rows; a fixed batch is filled up with the first row."""
    free, fixed = batch_axis(runtime)
    step = _STEP if free else (fixed or 1)
    source, name = runtime.inputs[0], runtime.outputs[0].name
    if not source.dtype.startswith(("float", "int", "uint", "bool")):
        raise DataError(f"{path}: the model's input {source} takes no numbers")
    parts = []
    for start in range(0, len(x), step):
        _tell(progress, start, len(x))
        part = x[start : start + step]
        missing = 0 if free else step - len(part)
        filled = np.concatenate([part, np.repeat(x[:1], missing, axis=0)]) if missing else part
        try:
            answers = runtime.run({source.name: cast(filled, source)})[name]
        except (MnistkitError, ValueError, TypeError) as error:
            told = one_line(error, limit=200)
            raise DataError(
                f"{path}: x_test {list(x.shape)} does not fit the model's input {source} ({told})"
            ) from error
        parts.append(answers[: len(part)])
    return np.concatenate(parts)


def _with_pixels(quality: Quality | Missing, samples: NDArray[Any]) -> Quality | Missing:
    if isinstance(quality, Missing):
        return quality
    mistakes = tuple(dataclasses.replace(one, pixels=as_pixels(samples[one.index])) for one in quality.mistakes)
    return dataclasses.replace(quality, mistakes=mistakes)


def _tell(progress: Progress | None, done: int, count: int) -> None:
    if progress is not None:
        progress(f"reading test data, {done:,} of {count:,}")
