"""One model that is served: its file, verified when it is loaded, and what clients' tensors must be for it."""

from __future__ import annotations

import math
import stat
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.comparison import verify_file
from mnistkit.core.devices import parse_options
from mnistkit.core.errors import InputError, MnistkitError, ModelFileError
from mnistkit.core.runtime import Runtime
from mnistkit.digits.classifier import Classifier, as_images
from mnistkit.serve.batcher import Batcher
from mnistkit.serve.http import bad_request
from mnistkit.serve.protocol.datatypes import NUMPY, datatype_name, exact
from mnistkit.serve.protocol.inference import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.serve.protocol.inference import Layout
    from mnistkit.serve.settings import Settings

_FLOAT32, _UINT32 = np.dtype(np.float32), np.dtype(np.uint32)
_BITS_OF_ONE = 0x3F800000  # of float32
_MOST_ROWS = 256  # of images in one run; 5,000 at once took 600 MB, and no less time


class ServedModel:
    """A model ready to answer.

    Args:
        name: What clients call it.
        path: The file.
        version: A number, as text.
        settings: Of the server.
        observe: Called with the rows of each run.

    Raises:
        ModelFileError: The file cannot be read or used.
        ParityError: It does not answer as it did when it was exported.
    """

    def __init__(
        self, name: str, path: str, *, version: str = VERSION, settings: Settings, observe: Callable[[int], None]
    ) -> None:
        self.name, self.path, self.version = name, path, version
        self.stamp = file_stamp(path)
        if self.stamp is None and Path(path).exists():
            raise ModelFileError(f"{path}: expected a regular file, got something else")  # a FIFO would wait for ever
        device: Any = {"device": settings.device, "provider_options": parse_options(settings.provider_option)}
        self.runtime = Runtime(path, threads=settings.threads, **device)
        if self.runtime.metadata:
            verify_file(self.runtime.source, **device)
        _check_numeric(path, (*self.runtime.inputs, *self.runtime.outputs))
        self.inputs = {info.name: info for info in self.runtime.inputs}
        self.outputs = {info.name: info for info in self.runtime.outputs}
        self.classifier = self._classifier()
        # Values are held to [0, 1] where the file itself says so; a foreign model may want any range.
        self._scaled = (
            self.classifier is not None
            and "preprocessing" in self.runtime.metadata
            and self.classifier.takes_unit_range
        )
        first = self.runtime.inputs[0]
        # Images that come as the model declares them need a look at their range and no more.
        self._row = first.shape[1:] if first.dtype == "float32" and not isinstance(first.shape[0], int) else None
        self.batched = all(
            info.shape and not isinstance(info.shape[0], int) for info in (*self.runtime.inputs, *self.runtime.outputs)
        )
        self.layouts: dict[bytes, Layout] = {}
        """Headers of binary requests that were found good; see `mnistkit.serve.protocol.inference`.

        They hold what JSON and its checks gave the last time that these very bytes came: a request of one image takes
        97 µs of the processor with them and 116 without, 16 % less.
        """
        self._cost = self._seconds_per_element()
        self._inline = settings.inline_ms / 1000
        # Not a method of this object: in a circle nothing would free the model when it is replaced.
        self.batcher = Batcher(
            partial(_run, self.runtime, name),
            batched=self.batched,
            concurrency=settings.concurrency,
            max_batch=settings.max_batch,
            max_rows=_MOST_ROWS if self._scaled else None,
            max_queue=settings.max_queue,
            timeout=settings.timeout,
            observe=observe,
        )

    @property
    def provider(self) -> str:
        """The execution provider that really runs it."""
        return self.runtime.providers[0]

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs and outputs as text, to tell whether another file has the same."""
        return tuple(str((info.name, info.dtype, *map(_free, info.shape))) for info in (*self.runtime.inputs,
                     *self.runtime.outputs))  # fmt: skip

    def is_quick(self, feeds: Mapping[str, NDArray[Any]]) -> bool:
        """Whether a run is estimated to cost less than handing it to a thread.

        Never for a model of another origin: its cost may depend on the values.
        """
        size = 0
        for array in feeds.values():
            size += array.size
        return self._cost * size <= self._inline

    def prepare(self, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Check a client's tensor against the declared input and cast it to the declared type.

        Args:
            name: Of a declared input.
            array: Flat values.
            shape: What the client calls their shape; its product is the number of values.

        Raises:
            HTTPError: 400, shape, range or type does not fit.
        """
        info = self.inputs[name]
        if self._scaled:
            if array.dtype == _FLOAT32 and shape[1:] == self._row and len(array):
                if not array.flags.aligned:
                    array = array.copy()
                # Floats from 0 to 1 are the smallest of all when their bits are read as whole numbers; negative ones,
                # NaN and infinity are larger. One look instead of two.
                if np.maximum.reduce(array.view(_UINT32)) <= _BITS_OF_ONE:
                    return array.reshape(shape)
            try:
                images = as_images(array.reshape(shape))
            except InputError as error:
                raise bad_request(f"input {name}: {str(error).removeprefix('images: ')}") from None
            if isinstance(info.shape[0], int) and info.shape[0] != len(images):
                raise bad_request(f"input {name}: expected a batch of {info.shape[0]}, got {len(images)}")
            fixed = [size for size in info.shape[1:] if isinstance(size, int)]
            layout = fixed if math.prod(fixed) == images.shape[1] else shape[1:]
            return images.astype(info.dtype, copy=False).reshape(len(images), *layout)
        if len(shape) != len(info.shape) or any(
            isinstance(want, int) and want != got for want, got in zip(info.shape, shape, strict=True)
        ):
            raise bad_request(f"input {name}: expected shape {[_free(size) for size in info.shape]}, got {list(shape)}")
        made = exact(array, np.dtype(info.dtype), f"input {name}").reshape(shape)
        return made if made.flags.aligned else made.copy()

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "onnxruntime_onnx",
            "inputs": [_described(info) for info in self.runtime.inputs],
            "outputs": [_described(info) for info in self.runtime.outputs],
        }

    def _classifier(self) -> Classifier | None:
        try:
            return Classifier(self.runtime)
        except ModelFileError:
            return None

    def _seconds_per_element(self) -> float:
        """Measured cost of the smallest request; infinite where there is no telling."""
        if not self.runtime.metadata:
            return math.inf
        feeds = {}
        for info in self.runtime.inputs:
            feeds[info.name] = np.zeros([size if isinstance(size, int) else 1 for size in info.shape], info.dtype)
        try:
            times = []
            for _ in range(20):
                start = time.perf_counter()
                self.runtime.run(feeds)
                times.append(time.perf_counter() - start)
        except MnistkitError:
            return math.inf
        return min(times) / max(1, sum(array.size for array in feeds.values()))


_NUMERIC = frozenset(dtype.name for dtype in NUMPY.values())


def _check_numeric(path: str, tensors: tuple[TensorInfo, ...]) -> None:
    for tensor in tensors:
        if tensor.dtype not in _NUMERIC:
            raise ModelFileError(
                f"{path}: {tensor.name} is {tensor.dtype}, and the server takes and gives numbers alone; Triton serves "
                "words: mnistkit export FILE --triton DIR"
            )


def file_stamp(path: str) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written to; ``None`` while there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _described(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": datatype_name(info.dtype), "shape": [_free(size) for size in info.shape]}


def _free(size: int | str | None) -> int:
    return size if isinstance(size, int) else -1


def _run(runtime: Runtime, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Run a model; what onnxruntime refuses is told without the path of the file.

    Raises:
        InputError: onnxruntime refuses the arrays.
    """
    try:
        return runtime.run(feeds)
    except InputError as error:
        raise InputError(str(error).replace(runtime.name, f"model {name}")) from error
