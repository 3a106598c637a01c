"""``mnistkit export --shrink``: a smaller file beside the exported one, or of an .onnx file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mnistkit.cli.parser import one_of
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from numpy.typing import NDArray

    from mnistkit.export import ExportReport
    from mnistkit.publish.shrink import Shrunk

TARGETS = "targets"
"""Array of a ``--samples`` file that holds class numbers, unless an input has this name."""
_KINDS = ("none", "fp16", "int8", "int4", "auto")


def add_shrink(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--shrink",
        **one_of(_KINDS, {"float16": "fp16"}),
        default="none",
        help="also write NAME-fp16.onnx, NAME-int8.onnx or NAME-int4.onnx, if it is smaller or faster here and loses "
        "no more than --max-loss; auto tries all, prints a table and takes the best, or float32; takes an .onnx too, "
        "and then -o names the smaller file",
    )
    parser.add_argument(
        "--max-loss",
        type=float,
        metavar="X",
        help="with --shrink: largest loss, in points of accuracy (default: 0.2), or without labels in percent of the "
        "range of the answers (default: 5)",
    )


def check_shrink(options: argparse.Namespace) -> None:
    """Raise before the work begins where a flag lacks the one that it belongs to, or a package is missing.

    Raises:
        InputError: ``--max-loss`` is given alone.
        MissingExtraError: onnx is not installed.
    """
    if options.shrink == "none":
        if options.max_loss is not None:
            raise InputError("--max-loss belongs to --shrink; add --shrink auto, or leave --max-loss out")
        return
    from mnistkit.publish.shrink.tools import load_tool

    load_tool("onnx")


def read_samples(options: argparse.Namespace) -> tuple[dict[str, NDArray[Any]] | None, NDArray[Any] | None]:
    """Arrays by input name of the ``--samples`` file, and its class numbers; ``None`` for what is not given.

    Raises:
        InputError: The file is no .npz of arrays.
    """
    if options.samples is None:
        return None, None
    import zipfile

    import numpy as np

    try:
        with np.load(options.samples, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"--samples {options.samples}: not an .npz file of arrays ({error})") from error
    return arrays, arrays.pop(TARGETS, None)


def shrink_file(
    options: argparse.Namespace,
    file: Path,
    *,
    given: tuple[dict[str, NDArray[Any]] | None, NDArray[Any] | None],
    out: Path | None = None,
    report: ExportReport | None = None,
) -> Shrunk:
    """Make what was asked for of an .onnx file; progress goes to stderr.

    Args:
        options: Of the command line.
        file: The float32 file.
        given: What `read_samples` found.
        out: Where the smaller one goes; beside the file by default.
        report: Of the export that wrote the file just now: samples then have Keras' names.
    """
    from mnistkit.cli.common import load_data
    from mnistkit.publish.shrink import shrink

    samples, targets = given
    if samples is not None and report is not None:
        one = report.inputs[0].name if len(report.inputs) == len(samples) == 1 else None
        samples = {one or report.renamed.get(name, name): array for name, array in samples.items()}
    tell = None if options.quiet else lambda what: print(f"mnistkit: {what} ...", file=sys.stderr, flush=True)
    return shrink(
        file,
        out,
        kind=options.shrink,
        max_loss=options.max_loss,
        samples=samples,
        targets=targets,
        data=load_data(options) if options.data else None,
        progress=tell,
    )
