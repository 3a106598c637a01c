"""The libraries of NVIDIA that onnxruntime's CUDA and TensorRT providers need, found where pip puts them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.core.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

# Each before those that need it. cuDNN finds its own parts.
_LIBRARIES = ("cudart", "cublasLt", "cublas", "nvrtc", "nvJitLink", "curand", "cufft", "cudnn")
_WINDOWS = sys.platform == "win32"


@functools.cache
def load_libraries(ort: ModuleType) -> str:
    """Load CUDA and cuDNN from the packages ``nvidia-*``, so that onnxruntime finds them; once a process.

    onnxruntime's own ``preload_dlls`` looks beside onnxruntime alone; here in every folder that Python imports from, as
    for a PyTorch that is installed elsewhere. What the system has or another package has loaded is found without.

    Returns:
        What ``preload_dlls`` says of the libraries that it could not load; empty where all is well.
    """
    for path in _library_files():
        with contextlib.suppress(OSError):  # of another version of CUDA, for example; what is missing shows later
            ctypes.CDLL(str(path))
    said = io.StringIO()
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(said), contextlib.suppress(RuntimeError):
            ort.preload_dlls()
    return " ".join(said.getvalue().split())


def missing_driver() -> str:
    """That the NVIDIA driver is missing; empty where it is there."""
    driver = "nvcuda.dll" if _WINDOWS else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return f"the NVIDIA driver is missing ({driver} cannot be loaded)"
    return ""


def why_not_loaded(ort: ModuleType) -> str:
    """Why the CUDA provider of this onnxruntime is not used, in the words of the system's loader."""
    if missing := missing_driver():
        return missing
    folder = Path(str(ort.__file__)).parent / "capi"
    name = "onnxruntime_providers_cuda.dll" if _WINDOWS else "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(folder / name))
    except OSError as error:
        return one_line(error, limit=200)
    return "the driver and the libraries can be loaded, so it is the GPU itself, or no GPU of this number"


def _library_files() -> Iterator[Path]:
    """The libraries inside ``nvidia-*`` packages, of all folders on Python's path, in the order to load them."""
    found = importlib.util.find_spec("nvidia")
    folders = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    for name in _LIBRARIES:
        for folder in folders:
            # nvidia/cu13/lib from CUDA 13 on, nvidia/<part>/lib before; bin on Windows
            if _WINDOWS:
                yield from sorted(folder.glob(f"*/bin/**/{name}64_*.dll"))
            else:
                yield from sorted(folder.glob(f"*/lib/lib{name}.so.*"))
