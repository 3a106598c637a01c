"""One onnxruntime session with honest devices: what is reported is what runs.

The one place that makes sessions: the classifier, the picture graphs, the verification of every export and the server
all run the same options.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mnistkit.core import fork_safety
from mnistkit.core.contract import PREFIX
from mnistkit.core.devices import CPU
from mnistkit.core.errors import DeviceError, InputError, MissingExtraError, ModelFileError, one_line
from mnistkit.core.execution import Request, count_operations, request, what_is_wrong
from mnistkit.core.files import sniff_kind
from mnistkit.core.fork_safety import keep_alive_across_fork
from mnistkit.core.install import install_hint
from mnistkit.core.session_call import direct_call
from mnistkit.core.tensors import TensorInfo, find_mismatch, tensor_info

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from numpy.typing import ArrayLike, NDArray

_MAX_FILE_BYTES = 2 * 1024**3 - 1  # protobuf's own limit for one message
_OF_THE_FILE = {"InvalidProtobuf", "InvalidGraph", "NoSuchFile", "NoModel"}  # onnxruntime's errors of any device
_EXTERNAL = b"\x0a\x08location\x12"  # the protobuf entry that names a file of external weights


class Runtime:
    """A loaded ``.onnx`` file, ready to run; safe in threads, picklable, and usable after a fork.

    Runs any ONNX model, from mnistkit or not, with little more work than onnxruntime's own call. `inputs` and `outputs`
    say what it takes and returns, `metadata` what an exported file says of itself.

        >>> model = Runtime("lstm.onnx")
        >>> model.run(signal)  # one input and one output: arrays alone
        >>> model.run({"age": ages, "words": words})["risk"]  # several: by name

    Args:
        model: Path of the file, or its bytes.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or another of `mnistkit.core.devices.DEVICES`, or ``"auto"`` (CUDA
            where it works, else CPU).
        threads: Threads inside one operator; by default one for each processor this process may use.
        exact: Turn reduced-precision kernels (TF32) off, as verification does.
        provider_options: Options of the device's execution provider, by onnxruntime's names, for example
            ``{"gpu_mem_limit": 2**30}``; they need a device by name.
        optimize: Let onnxruntime rewrite the graph before the first run. For a graph of many small nodes the rewriting
            takes longer than the runs.

    Raises:
        ModelFileError: The file is missing or is not an ONNX model that this onnxruntime reads.
        DeviceError: The device is unknown, was asked for by name and cannot be had, or refuses the options.
        InputError: Provider options without a device that takes some.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        device: str = "auto",
        threads: int | None = None,
        exact: bool = False,
        optimize: bool = True,
        provider_options: Mapping[str, Any] | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads must be at least 1, got {threads}")
        self.name, self._content = _read_model(model)
        self._path = None if isinstance(model, bytes) else str(Path(model).absolute())
        self._device, self._threads, self._exact, self._optimize = device, threads, exact, optimize
        self._provider_options = dict(provider_options or {})
        self._open()

    def __repr__(self) -> str:
        takes, gives = (", ".join(map(str, tensors)) for tensors in (self.inputs, self.outputs))
        return f"Runtime({self.name!r}, {self.providers[0]}: {takes} -> {gives})"

    @property
    def source(self) -> bytes | str:
        """What the session is made from: the bytes, or the path where the weights lie in a file beside it."""
        if self._path is not None and _EXTERNAL in self._content:
            return self._path
        return self._content

    def _open(self) -> None:
        ort = load_onnxruntime()
        wanted = request(ort, self._device, exact=self._exact, options=self._provider_options)
        self._session = _make_session(self, wanted, threads=self._threads, optimize=self._optimize)
        self._call, self._generation = direct_call(self._session), fork_safety.generation
        self.inputs = tuple(tensor_info(node) for node in self._session.get_inputs())
        self.outputs = tuple(tensor_info(node) for node in self._session.get_outputs())
        self._names = [output.name for output in self.outputs]
        self._count = len(self.inputs)
        self._only = self.inputs[0].name if self._count == len(self.outputs) == 1 else None
        entries = self._session.get_modelmeta().custom_metadata_map
        self.metadata: dict[str, str] = {
            key.removeprefix(PREFIX): value for key, value in entries.items() if key.startswith(PREFIX)
        }

    @property
    def threads(self) -> int:
        """Threads inside one operator."""
        return self._threads or usable_cpus()

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that the session really uses, in order of preference."""
        return tuple(self._session.get_providers())

    @property
    def operations(self) -> dict[str, int]:
        """How many of the model's operations run on each provider; empty on the CPU and before onnxruntime 1.24."""
        return count_operations(self._session)

    @overload
    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]: ...
    @overload
    def run(self, feeds: ArrayLike) -> NDArray[Any]: ...
    def run(self, feeds: Mapping[str, NDArray[Any]] | ArrayLike) -> dict[str, NDArray[Any]] | NDArray[Any]:
        """Run the model once: arrays by name give arrays by name, one array gives one array.

        Args:
            feeds: One array for every input, by name, of the declared dtype and shape. For a model with one input and
                one output also the array alone; a list of numbers becomes an array of the declared dtype.

        Returns:
            One array for every output, by name; the array alone for an array alone.

        Raises:
            InputError: A name, dtype or shape is not as declared, or onnxruntime fails on the values.
        """
        if type(feeds) is np.ndarray and self._only is not None:  # first, because it is what costs microseconds
            return self.run_outputs(self._names, {self._only: feeds})[0]
        if isinstance(feeds, dict):
            return dict(zip(self._names, self.run_outputs(self._names, feeds), strict=True))
        if isinstance(feeds, Mapping):
            return self.run(dict(feeds))
        if self._only is None:
            takes, gives = ", ".join(map(str, self.inputs)), ", ".join(self._names)
            raise InputError(f"{self.name}: give a dict of arrays by name; it takes {takes} and answers with {gives}")
        name, dtype = self._only, self.inputs[0].dtype
        if not isinstance(feeds, np.ndarray):
            try:
                feeds = np.asarray(feeds, dtype=None if dtype == "tensor(string)" else dtype)
            except (TypeError, ValueError, OverflowError) as error:
                raise InputError(f"{self.name}: {name}: no array of {dtype}: {one_line(error, limit=200)}") from error
        return self.run_outputs(self._names, {name: feeds})[0]

    def run_outputs(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """As `run`, of some outputs alone and in their order: less work where a call takes microseconds."""
        if self._generation != fork_safety.generation:
            self._open()  # the parent's threads do not exist in a forked child; see `mnistkit.core.fork_safety`
        try:
            if len(feeds) == self._count:  # the C++ session refuses other names, so that these are all
                answers: list[NDArray[Any]] = self._call(names, feeds, None)
            else:
                answers = self._session.run(names, feeds)
        except Exception as error:  # onnxruntime's exceptions share no public base
            kind = type(error).__name__
            if kind in {"InvalidArgument", "Fail", "RuntimeException", "ValueError", "RuntimeError", "TypeError"}:
                reason = (
                    find_mismatch(self.inputs, feeds) or f"onnxruntime refuses the input: {one_line(error, limit=300)}"
                )
                raise InputError(f"{self.name}: {reason}") from error
            raise
        return answers

    def __getstate__(self) -> dict[str, Any]:
        keep = ("name", "_content", "_path", "_device", "_threads", "_exact", "_optimize", "_provider_options")
        return {key: self.__dict__[key] for key in keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def load_onnxruntime() -> ModuleType:
    """Import onnxruntime, without its telemetry.

    From 1.32 on its own builds send usage events to Microsoft, and keep an identifier of the machine in the user's
    cache folder, unless `ORT_DISABLE_TELEMETRY` is set before the import. A value that is set already stays.

    Raises:
        MissingExtraError: It is not installed, or installed but broken; the message says which.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        module = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingExtraError(
            f"onnxruntime is not installed; run {install_hint('cpu')}, or [gpu] for CUDA"
        ) from error
    except Exception as error:  # a broken installation can raise anything
        raise MissingExtraError(
            f"onnxruntime is installed but its import fails ({one_line(error, limit=300)}); "
            "run `pip install --force-reinstall onnxruntime`"
        ) from error
    if not hasattr(module, "InferenceSession"):
        raise MissingExtraError(
            "onnxruntime is only half installed (no InferenceSession), as after removing one of two of its packages; "
            "run `pip install --force-reinstall onnxruntime`"
        )
    return module


def _read_model(model: str | os.PathLike[str] | bytes) -> tuple[str, bytes]:
    if isinstance(model, bytes):
        return "<bytes>", model
    path = Path(model)
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise ModelFileError(f"{path}: {size} bytes, more than one ONNX file can hold")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file; make it with `python -m mnistkit.export`") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    kind = sniff_kind(content[:512])
    if kind and kind.name == "a zip archive":
        what = "a Keras file" if path.suffix == ".keras" else "a zip archive, as .keras files are"
        raise ModelFileError(f"{path}: {what}, and not an ONNX model; export it with `python -m mnistkit.export`")
    if kind:
        raise ModelFileError(f"{path}: {kind.name}, not an ONNX model; {kind.cure or 'export it again'}")
    return str(path), content


def _make_session(model: Runtime, wanted: Request, *, threads: int | None, optimize: bool) -> Any:
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; the log would only repeat it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(model.source, sess_options=options, **wanted.arguments(options))
    except Exception as error:  # onnxruntime's exceptions share no public base
        if wanted.device.provider != CPU and wanted.demanded and type(error).__name__ not in _OF_THE_FILE:
            raise DeviceError(f"{wanted.asked}: {what_is_wrong(error)}; see `mnistkit doctor`") from error
        cure = "; upgrade onnxruntime, or export with an older opset" if _is_too_new(str(error)) else ""
        raise ModelFileError(
            f"{model.name}: not a model that onnxruntime {ort.__version__} reads ({one_line(error, limit=300)}){cure}"
        ) from error
    keep_alive_across_fork(session)
    reason = wanted.check(ort, session)
    if reason:
        warnings.warn(f"running on CPU: {reason}", RuntimeWarning, stacklevel=4)
    return session


def _is_too_new(message: str) -> bool:
    """Whether onnxruntime says that a file's IR version or opset is newer than itself."""
    return any(words in message for words in ("IR version", "under development", "only *guarantees* support"))


def usable_cpus() -> int:
    """Processors this process may use; containers and taskset give fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cast(array: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Array in the element type that an input declares, contiguous."""
    return np.ascontiguousarray(array, dtype=info.dtype)
