"""``mnistkit predict``: read digits from picture files."""

from __future__ import annotations

import datetime as dt
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.cli.common import add_device, add_json, device_options, print_json
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from mnistkit.digits.bulk import Progress
    from mnistkit.digits.classifier import Classifier

EXAMPLES = (
    "mnistkit predict examples/digit.png",
    "mnistkit predict --number --show postcode.jpg",
    "mnistkit predict --model exports/mnist.onnx --json *.png",
    "mnistkit predict scans/ --out answers.csv",
    "mnistkit predict images.npz --out answers.parquet",
)

_SECONDS_BETWEEN = 0.5  # two lines of progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add = parser.add_argument
    add(
        "pictures", nargs="+", metavar="PICTURE",
        help="picture files; with --out also folders, patterns, or one .npz, .npy or .parquet file of images",
    )  # fmt: skip
    add("--model", metavar="FILE", help="an .onnx file (default: exports/mnist.onnx if it is there, else the packaged)")
    add_device(parser)
    add(
        "--min-confidence", type=_share, default=0.0, metavar="X",
        help="an answer less likely right (0 to 1) is unclear: an error that names the candidates; with --number all "
        "digits of a picture must be right together",
    )  # fmt: skip
    add("--number", action="store_true", help="read all digits of each picture, in a row or rows, be it one or many")
    add(
        "--signs", action="store_true",
        help="as --number, with separators and operators in the text where their shape is clear: + - x / = ( ) , . :",
    )  # fmt: skip
    add("--show", action="store_true", help="write NAME.shown.png beside each picture and print what was seen")
    add("--show-dir", metavar="DIR", help="as --show, with the PNGs in this folder")
    add(
        "--out", metavar="FILE",
        help="read everything into this table (.csv, .jsonl or .parquet), on all cores; the same command goes on where "
        "an interrupted one ended",
    )  # fmt: skip
    add("--array", metavar="NAME", help="with --out: which array of an .npz, or column of a .parquet, has the images")
    add("--quiet", action="store_true", help="leave out which model reads, and hints")
    add_json(parser, "print the readings as JSON")


def _share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


_share.__name__ = "share"  # argparse names it where a value is wrong


def run(options: argparse.Namespace) -> int:
    """Read each picture; one that cannot be read does not stop the others, but makes the exit code 1."""
    if options.out is not None:
        return _run_in_bulk(options)
    from mnistkit.digits.classifier import Classifier, default_model
    from mnistkit.digits.readings import Reading, read_files, read_numbers

    _check_names(options)
    file = options.model or default_model()
    classifier = Classifier(file, **device_options(options))
    model = {"file": str(file), "test_accuracy": _test_accuracy(classifier)}
    talks = not options.quiet and not options.json
    told = options.model is not None or not talks  # who names a model knows it
    folder = _shown_folder(options)
    failed = False
    rows = []
    read = partial(read_numbers, signs=options.signs) if options.number or options.signs else read_files
    for reading in read(classifier, _without_shown(options.pictures), min_confidence=options.min_confidence):
        failed |= reading.error is not None
        if not told and reading.error is None:
            print(_which(model, packaged=file.is_absolute()), file=sys.stderr)
            told = True
        if (options.show or folder) and reading.error is None:
            from mnistkit.digits.show import show

            print(show(reading, folder=folder), file=sys.stderr)
        if options.json:
            rows.append({**reading.as_json(), "model": model})
        elif reading.error is not None:
            print(f"mnistkit: {reading.error}", file=sys.stderr)
        else:
            print(reading.as_text())
            if talks and isinstance(reading, Reading) and reading.number is not None:
                count = len(reading.number.digits)
                print(f"mnistkit: {reading.source}: has {count} digits, read as with --number", file=sys.stderr)
    if options.json:
        print_json(rows)
    return int(failed)


def _check_names(options: argparse.Namespace) -> None:
    """Refuse what is read into a table alone.

    Raises:
        InputError: A folder, an array file, or ``--array``.
    """
    from mnistkit.digits.contract import ARRAY_ENDINGS

    if options.array is not None:
        raise InputError("--array goes with --out")
    for name in options.pictures:
        path = Path(name)
        if path.is_dir() or (path.suffix.lower() in ARRAY_ENDINGS and path.is_file()):
            raise InputError(f"{name}: a folder or an array is read into a table; add --out answers.csv")


def _shown_folder(options: argparse.Namespace) -> Path | None:
    """The folder of ``--show-dir``, made if it is not there.

    Raises:
        InputError: Two pictures would be shown in one file.
        OutputError: The folder cannot be made.
    """
    if options.show_dir is None:
        return None
    from mnistkit.core.files import writing

    folder = Path(options.show_dir)
    stems = [Path(name).stem for name in options.pictures]
    if twice := [name for name, stem in zip(options.pictures, stems, strict=True) if stems.count(stem) > 1]:
        raise InputError(f"{twice[0]}: another picture has this name too; --show-dir needs names that differ")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run_in_bulk(options: argparse.Namespace) -> int:
    from mnistkit.digits.bulk import read_in_bulk

    for flag in ("signs", "show", "show-dir", "json"):
        if getattr(options, flag.replace("-", "_")):
            raise InputError(f"--{flag} does not go with --out; the table has digits and confidences")
    line = _ProgressLine(shown=not options.quiet and sys.stderr.isatty())
    try:
        report = read_in_bulk(
            options.pictures,
            options.out,
            model=options.model,
            **device_options(options),
            array=options.array,
            number=options.number,
            min_confidence=options.min_confidence,
            progress=line.update,
        )
    except KeyboardInterrupt:
        line.end()
        if line.last is not None and not options.quiet:
            done = f"{line.last.done:,} of {line.last.count:,}"
            print(f"mnistkit: {done} are read; the same command goes on from there", file=sys.stderr)
        raise
    line.end()
    for error in report.errors:
        print(f"mnistkit: {error}", file=sys.stderr)
    if report.failed > len(report.errors):
        more = report.failed - len(report.errors)
        print(f"mnistkit: and {more:,} more; the column error of {report.path} has them all", file=sys.stderr)
    if not options.quiet:
        earlier = f", {report.before:,} of them by an earlier run" if report.before else ""
        read = f"{report.count - report.failed:,} read, {report.failed:,} not{earlier}"
        print(f"wrote {report.path}: {read}{line.rate()}")
    return int(report.failed > 0)


class _ProgressLine:
    """One line of a terminal that says how far a run is, how fast, and how long it will take.

    Args:
        shown: Whether there is a terminal to show it on.
    """

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._begun = time.monotonic()
        self._written = 0.0
        self.last: Progress | None = None

    def update(self, progress: Progress) -> None:
        """Take the newest figures; write them twice a second at most."""
        self.last = progress
        now = time.monotonic()
        if not self._shown or now - self._written < _SECONDS_BETWEEN:
            return
        self._written = now
        speed = self._speed()
        left = dt.timedelta(seconds=round((progress.count - progress.done) / speed)) if speed else "?"
        text = f"{progress.done:,} of {progress.count:,} read, {progress.failed:,} not; {speed:,.0f}/s, {left} left"
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._written:
            print(file=sys.stderr)

    def rate(self) -> str:
        """How many were read a second, for the last line."""
        return f" ({self._speed():,.0f}/s)" if self._speed() else ""

    def _speed(self) -> float:
        if self.last is None:
            return 0.0
        return (self.last.done - self.last.before) / max(time.monotonic() - self._begun, 1e-9)


def _test_accuracy(classifier: Classifier) -> float | None:
    try:
        return float(classifier.metadata["test_accuracy"])
    except (KeyError, ValueError):
        return None


def _which(model: dict[str, Any], *, packaged: bool) -> str:
    """The line that says which of two possible models reads: the one trained here may be the weaker."""
    where = "the model inside the package" if packaged else f"{model['file']}, found in this folder"
    accuracy = model["test_accuracy"]
    share = "" if accuracy is None else f" (test accuracy {100 * accuracy:.2f} %)"
    return f"mnistkit: read by {where}{share}"


def _without_shown(pictures: Sequence[str]) -> list[str]:
    """The pictures without those that ``--show`` wrote beside others of them; alone they are read as any picture."""
    from mnistkit.digits.contract import SHOWN

    wanted = [name for name in pictures if not name.endswith(SHOWN)]
    if not wanted:
        return list(pictures)
    for name in pictures:
        if name.endswith(SHOWN):
            print(f"mnistkit: {name}: skipped, it was written by --show", file=sys.stderr)
    return wanted
