"""The one file that knows the frameworks by name.

Rules for optional backends:

1. One process holds one Keras backend. It is selected before Keras is first imported and never changed.
2. An explicit name wins, then ``KERAS_BACKEND``, then ``~/.keras/keras.json``, else the first installed of
   jax, torch, tensorflow. A ``keras.json`` that names a backend which is not installed is passed over, because Keras
   writes that file by itself, with its own default, on its first import.
3. A framework is imported only inside the functions that need it. A missing one and a broken one (its import raises
   something else than ImportError) are told apart, and both messages carry the cure.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import BackendError, MissingExtraError, did_you_mean, one_line
from mnistkit.core.install import install_hint
from mnistkit.core.modules import moved
from mnistkit.core.startup_lines import startup_lines_held_back

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

BACKENDS: tuple[str, ...] = ("jax", "torch", "tensorflow")
"""In the order in which an unconfigured process looks for them."""

EXPORTERS: dict[str, str] = {"tf2onnx": "tensorflow", "jax2onnx": "jax", "torch": "torch"}
"""Keras' own ONNX exporters, each with the backend it runs under."""

ALIASES: dict[str, str] = {"pytorch": "torch", "tf": "tensorflow"}
"""Other spellings of a backend's name, where one is asked for by name; Keras itself knows none."""

_quiet = False


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """The backend this process runs on.

    Attributes:
        name: ``"jax"``, ``"torch"`` or ``"tensorflow"``.
        version: The framework's version.
        keras_version: Keras' version.
        device: What computes, in the framework's own words, for example ``"cpu"`` or ``"NVIDIA H100"``.
    """

    name: str
    version: str
    keras_version: str
    device: str


def select_backend(name: str | None = None) -> str:
    """Choose the backend for this process and return its name; call before anything imports Keras.

    Raises:
        BackendError: The name is unknown, the framework is not installed, or Keras is already loaded with another one
            than the argument or ``KERAS_BACKEND`` names.
    """
    chosen, source = _wanted(name)
    if chosen not in BACKENDS:
        close = f"; did you mean {ALIASES[chosen]}?" if chosen in ALIASES else did_you_mean(chosen, BACKENDS)
        raise BackendError(f"unknown backend {chosen!r} ({source}); use one of {', '.join(sorted(BACKENDS))}{close}")
    if "keras" in sys.modules:
        loaded = _loaded_backend()
        # Keras reads the variable once: one that was changed since then asks for what this process does not do.
        demanded = name is not None or bool(os.environ.get("KERAS_BACKEND"))
        if demanded and loaded != chosen:
            raise BackendError(
                f"Keras is already loaded with {loaded}, so {chosen} ({source}) cannot be used in this process; "
                f"set KERAS_BACKEND={chosen} before the first `import keras`, or start a new process"
            )
        return loaded
    if not is_installed(chosen):
        raise BackendError(
            f"the backend {chosen} ({source}) is not installed; run {install_hint(chosen)}"
            + (f", or use one that is: {', '.join(found)}" if (found := installed_backends()) else "")
        )
    os.environ["KERAS_BACKEND"] = chosen
    return chosen


def load_keras(name: str | None = None) -> ModuleType:
    """Select the backend and import Keras.

    Raises:
        BackendError: As for `select_backend`, or the framework is installed but broken.
        MissingExtraError: Keras itself is not installed.
    """
    check_keras()
    chosen = select_backend(name)
    try:
        with startup_lines_held_back() if _quiet else contextlib.nullcontext():
            return importlib.import_module("keras")
    except Exception as error:  # a broken installation can raise anything
        raise BackendError(
            f"{chosen} {version_of(chosen)} is installed but its import fails ({type(error).__name__}: "
            f"{one_line(error, limit=200)}); run {install_hint(chosen, force=True)}"
        ) from error


def check_keras() -> None:
    """Check that Keras can be found, without importing it.

    Raises:
        MissingExtraError: It is not installed.
    """
    if importlib.util.find_spec("keras") is None:
        raise MissingExtraError(
            f"Keras is not installed; run {install_hint('jax')} (or [torch], [tensorflow]) to train and export"
        )


def active_backend() -> BackendInfo:
    """Describe the backend that Keras is loaded with in this process, as it really runs."""
    keras = load_keras()
    name = keras.backend.backend()
    return BackendInfo(name=name, version=version_of(name), keras_version=keras.__version__, device=_device(name))


def is_installed(name: str) -> bool:
    """Whether the framework can be found, without importing it."""
    return importlib.util.find_spec(name) is not None


def installed_backends() -> list[str]:
    """Names of the frameworks that can be found here."""
    return [name for name in BACKENDS if is_installed(name)]


def version_of(name: str) -> str:
    """Installed version of a framework or of any other package, ``"not installed"`` when it is not there."""
    for distribution in (name, f"{name}-cpu", f"{name}-gpu", f"{name}_cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"


def quiet_startup_logs() -> None:
    """Keep the frameworks' start-up lines off the terminal; for command lines only, before the first import."""
    global _quiet  # noqa: PLW0603 - of the process, as the environment is
    _quiet = True
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def enable_determinism(seed: int) -> None:
    """Make this process' own random draws and kernels repeatable.

    Weights and batch order do not depend on it: they come from NumPy generators. What remains are the seeds of layers
    such as Dropout and the order of additions inside kernels.
    """
    keras = load_keras()
    keras.utils.set_random_seed(seed)
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif name == "torch":
        import torch

        torch.use_deterministic_algorithms(mode=True, warn_only=True)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Within the block Keras multiplies float32 in float32 on a GPU too.

    NVIDIA's GPUs multiply in TF32 (10 bits of mantissa instead of 23) where a framework lets them: JAX and TensorFlow
    in all products, PyTorch in convolutions. What is compared with another implementation must not. JAX's setting is
    the thread's own, the others are the process'. On a CPU nothing is changed.
    """
    name = _loaded_backend()
    if name not in BACKENDS or _device(name) == "cpu":
        yield
    elif name == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    elif name == "torch":
        import torch

        kinds = (torch.backends.cudnn, torch.backends.cuda.matmul)
        before = [kind.allow_tf32 for kind in kinds]
        try:
            for kind in kinds:
                kind.allow_tf32 = False
            yield
        finally:
            for kind, was in zip(kinds, before, strict=True):
                kind.allow_tf32 = was
    else:
        import tensorflow as tf

        was_on = tf.config.experimental.tensor_float_32_execution_enabled()
        try:
            tf.config.experimental.enable_tensor_float_32_execution(False)
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(was_on)


def _wanted(name: str | None) -> tuple[str, str]:
    if name is not None:
        return ALIASES.get(name.lower(), name), "asked for by name"
    if from_environment := os.environ.get("KERAS_BACKEND"):
        return from_environment, "from KERAS_BACKEND"
    configured, path = _configured()
    if configured is not None and (configured not in BACKENDS or is_installed(configured)):
        return configured, f"from {path}"
    if found := installed_backends():
        return found[0], "the first one installed"
    raise BackendError(f"no Keras backend is installed; run {install_hint('jax')} (or [torch], [tensorflow])")


def _configured() -> tuple[str | None, Path]:
    # Not Path.home(), which raises for a user without a home; Keras takes the same function and goes on.
    folder = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")  # noqa: PTH111, PTH118
    path = Path(folder) / "keras.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("backend"), path
    except (OSError, ValueError, AttributeError):
        return None, path  # Keras ignores an unreadable file too


def _loaded_backend() -> str:
    keras: Any = importlib.import_module("keras")
    return str(keras.backend.backend())


def _device(name: str) -> str:
    if name == "jax":
        import jax

        device = jax.devices()[0]
        return "cpu" if device.platform == "cpu" else device.device_kind
    if name == "torch":
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "cpu"


_RENAMED = {"active": "active_backend", "deterministic": "enable_determinism", "silence": "quiet_startup_logs"}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return moved(__name__, name, {name: __name__}, new=_RENAMED[name])
