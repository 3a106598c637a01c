"""Images of a data set for a classifier of digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.contract import read_labels
from mnistkit.core.errors import InputError
from mnistkit.digits.contract import DIGITS, SIDE
from mnistkit.digits.scaling import measure, read_scaling
from mnistkit.publish.drawn_inputs import batch_axis
from mnistkit.publish.image_input import read_parameters
from mnistkit.publish.shrink.runs import Samples, count_rows, in_steps, rows_alone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.core.runtime import Runtime
    from mnistkit.digits.data import Dataset
    from mnistkit.publish.drawn_inputs import Arrays

_CALIBRATION = 512  # images


def says_digits(runtime: Runtime) -> bool:
    """Whether the file says that it names digits in bright ink, as the embedded images show them."""
    if read_labels(runtime.metadata) != DIGITS:
        return False
    said = read_parameters(runtime.metadata)
    return said.get("side") == SIDE and said.get("ink") == "bright" and _takes_images(runtime)


def _takes_images(runtime: Runtime) -> bool:
    if len(runtime.inputs) != 1 or not runtime.inputs[0].dtype.startswith("float"):
        return False
    sizes = [size if isinstance(size, int) else SIDE for size in runtime.inputs[0].shape[1:]]
    return math.prod(sizes) == SIDE * SIDE


def digit_samples(runtime: Runtime, data: Dataset | None) -> Samples:
    """Training images to calibrate on, all test images to check on."""
    from mnistkit.digits.data import load_data

    if not _takes_images(runtime):
        raise InputError(f"data: {runtime.name} does not take one image of {SIDE}x{SIDE}; give samples instead")
    data = load_data() if data is None else data
    if not len(data.x_train):
        raise InputError(f"data: {data.name} has no training images to calibrate on; give samples instead")
    tensor = runtime.inputs[0]
    sizes = [size if isinstance(size, int) else SIDE for size in tensor.shape[1:]]

    def laid_out(unit: NDArray[np.float32]) -> Arrays:
        return {tensor.name: unit.reshape(len(unit), *sizes).astype(tensor.dtype)}

    def read(images: NDArray[np.float32]) -> NDArray[Any]:
        runs = in_steps(runtime, laid_out(images))
        return np.concatenate([next(iter(runtime.run(run).values())) for run in runs])

    scaling = read_scaling(runtime.metadata)
    if scaling is None:
        whole = len(data.x_test) - len(data.x_test) % (batch_axis(runtime)[1] or 1)
        scaling, _ = measure(read, data.x_test[:whole], data.y_test[:whole])
    train = data.x_train[:: max(1, len(data.x_train) // _CALIBRATION)][:_CALIBRATION]
    runs = [
        in_steps(runtime, laid_out(scaling.of_unit(images.astype(np.float32) / np.float32(255))))
        for images in (train, data.x_test)
    ]
    return Samples(
        calibration=runs[0],
        checks=runs[1],
        alone=rows_alone(runtime, runs[1]),
        targets=data.y_test[: count_rows(runs[1])],
        calibrated_on=f"{count_rows(runs[0]):,} training images of {data.name}",
        checked_on=f"{count_rows(runs[1]):,} test images of {data.name}",
    )
