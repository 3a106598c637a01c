"""What several verbs share: flags, data sets, JSON, and the line that says that Keras is loading."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import argparse
    from types import TracebackType

BACKENDS = ("jax", "tensorflow", "torch")
BACKEND_ALIASES = {"pytorch": "torch", "tf": "tensorflow"}
QUIET_SECONDS = 2.0  # before the first line of progress, and between two


class Steps:
    """Lines on stderr that say what is being done, where it takes longer than two seconds.

    Args:
        is_quiet: Say nothing.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._step = ""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mnistkit-progress", daemon=True)

    def __enter__(self) -> Self:
        if not self._is_quiet:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        if not self._is_quiet:
            self._thread.join()

    def tell(self, what: str) -> None:
        """Take what is being done now."""
        self._step = what

    def _watch(self) -> None:
        told = ""
        while not self._is_over.wait(QUIET_SECONDS):
            if self._step != told:
                told = self._step
                print(f"mnistkit: {told} ...", file=sys.stderr, flush=True)


def add_backend(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--backend``."""
    from mnistkit.cli.parser import one_of

    parser.add_argument("--backend", **one_of(BACKENDS, BACKEND_ALIASES), help=text)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and ``--labels``."""
    forms = "an .npz, a CSV, or a folder of IDX files, .npy arrays or pictures by class (default: the embedded MNIST)"
    parser.add_argument("--data", metavar="PATH", help=forms)
    parser.add_argument(
        "--labels", metavar="NAMES", help="ten class names separated by commas, or a file with them (default: 0 to 9)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device`` and ``--provider-option`` of onnxruntime."""
    from mnistkit.core.devices import NAMES

    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help=f"{', '.join(NAMES)}; cuda:N for one of several (default: auto)",
    )
    parser.add_argument(
        "--provider-option", action="append", metavar="KEY=VALUE",
        help="an option of the device's execution provider, by onnxruntime's name; may be repeated",
    )  # fmt: skip


def device_options(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that ``--device`` and ``--provider-option`` are."""
    from mnistkit.core.devices import parse_options

    return {"device": options.device, "provider_options": parse_options(options.provider_option)}


def add_json(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=text)


def load_data(options: argparse.Namespace) -> Any:
    """The data set that ``--data`` and ``--labels`` name."""
    from mnistkit.digits import data

    return data.load_data(options.data, labels=parse_labels(options))


def parse_labels(options: argparse.Namespace) -> tuple[str, ...] | None:
    """The class names of ``--labels``, ``None`` where it was left out."""
    from mnistkit.digits import data

    return None if options.labels is None else data.parse_labels(options.labels)


def start_keras(options: argparse.Namespace) -> None:
    """Choose the Keras backend and load it, which takes seconds; a terminal is told so at once.

    The line is for people who wait: it is left out with ``--quiet`` and where stderr is a file or a pipe.
    """
    from mnistkit.core import keras_backend as backends

    if not options.verbose:
        backends.quiet_startup_logs()
    backends.check_keras()
    chosen = backends.select_backend(options.backend)
    if "keras" not in sys.modules and not options.quiet and sys.stderr.isatty():
        print(f"loading Keras on {chosen} ...", file=sys.stderr, flush=True)
    backends.load_keras(options.backend)


def import_module(name: str) -> None:
    """Import a module that the user names, from the installed ones or the current folder.

    Raises:
        InputError: There is none of that name, or its import fails.
    """
    import importlib
    import os

    from mnistkit.core.errors import InputError, one_line

    here = os.getcwd()  # noqa: PTH109  # as Python itself puts it on the path
    if here not in sys.path:
        sys.path.append(here)
    try:
        importlib.import_module(name.removesuffix(".py").replace("/", "."))
    except Exception as error:
        raise InputError(
            f"--import {name}: its import fails ({type(error).__name__}: {one_line(error, limit=200)}); name a module "
            "as Python's import does, installed or in this folder"
        ) from error


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
