"""onnxruntime's own tools for smaller models, loaded and run without what they do besides.

Importing them adds to ``sys.path`` and sets up the root logger, and they log and warn as they go. What goes wrong is
raised; the rest is nobody's business.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import MissingExtraError
from mnistkit.core.install import install_hint
from mnistkit.core.runtime import load_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def load_tool(name: str) -> ModuleType:
    """Import ``onnx``, or one of onnxruntime's modules that need it.

    Raises:
        MissingExtraError: A package that it needs is not installed; the message names it.
    """
    with quiet():
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing = (error.name or name).partition(".")[0]
            if missing in {"onnxruntime", name}:
                missing = name
            raise MissingExtraError(f"{missing} is not installed; run {install_hint('shrink')}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the tools neither log nor warn, and leave ``sys.path`` and the root logger as they are."""
    path, root = list(sys.path), logging.getLogger()
    # Modules of onnxruntime.transformers import each other by bare names.
    sys.path.append(str(Path(str(load_onnxruntime().__file__)).parent / "transformers"))
    level, handlers = root.level, list(root.handlers)
    holder = logging.NullHandler()  # with a handler there, `logging.basicConfig` does nothing
    root.addHandler(holder)
    root.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.path[:] = path
        root.setLevel(level)
        root.handlers[:] = handlers


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the files that the tools write on their way."""
    with tempfile.TemporaryDirectory(prefix="mnistkit-shrink-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def read_proto(path: Path) -> Any:
    """What a tool wrote."""
    return load_tool("onnx").load(path)
