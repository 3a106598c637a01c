"""``mnistkit predict``: read digits from picture files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.cli.common import add_device, add_json, device_options, print_json
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from mnistkit.digits.classifier import Classifier
    from mnistkit.digits.readings import Reading

EXAMPLES = (
    "mnistkit predict examples/digit.png",
    "mnistkit predict --number --show postcode.jpg",
    "mnistkit predict --model exports/mnist.onnx --json *.png",
    "mnistkit predict scans/ --out answers.csv",
    "mnistkit predict images.npz --out answers.parquet",
    "mnistkit predict s3://bucket/scans/ --out answers.parquet --ray --ray-address head:6379",
)

_SURE = 0.9  # a reading above is likely of one digit
_LIKELY = 0.7  # marks that are read with less are parts of one digit, or no digits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add = parser.add_argument
    add(
        "pictures", nargs="+", metavar="PICTURE",
        help="picture files; with --out also folders, patterns, or one .npz, .npy or .parquet file of images, or URLs "
        "of these that pyarrow or fsspec opens",
    )  # fmt: skip
    add("--model", metavar="FILE", help="an .onnx file (default: exports/mnist.onnx if it is there, else the packaged)")
    add_device(parser)
    add("--min-confidence", type=float, default=0.0, metavar="X", help="a reading less sure (0 to 1) is an error")
    add("--number", action="store_true", help="read all digits of each picture, in a row or rows")
    add("--show", action="store_true", help="write NAME.shown.png beside each picture and print what was seen")
    add(
        "--out", metavar="FILE",
        help="read everything into this table (.csv, .jsonl or .parquet), on all cores; the same command goes on where "
        "an interrupted one ended",
    )  # fmt: skip
    add("--array", metavar="NAME", help="with --out: which array of an .npz, or column of a .parquet, has the images")
    add("--ray", action="store_true", help="with --out: read on a Ray cluster, with Ray Data (needs the extra ray)")
    add(
        "--ray-address", metavar="HOST:PORT",
        help="with --ray: the head of the cluster (default: the variable RAY_ADDRESS, else a Ray of its own, here)",
    )  # fmt: skip
    add(
        "--workers", type=int, metavar="N",
        help="with --ray: processes that read, at most (default: one for each processor of the cluster)",
    )  # fmt: skip
    add("--quiet", action="store_true", help="leave out which model reads, and hints")
    add_json(parser, "print the readings as JSON")


def run(options: argparse.Namespace) -> int:
    """Read each picture; one that cannot be read does not stop the others, but makes the exit code 1."""
    if options.out is not None:
        from mnistkit.cli.predict_bulk import run_in_bulk

        return run_in_bulk(options)
    from mnistkit.digits.classifier import Classifier, default_model
    from mnistkit.digits.readings import Reading, read_files, read_numbers

    _check_names(options)
    file = options.model or default_model()
    classifier = Classifier(file, **device_options(options))
    model = {"file": str(file), "test_accuracy": _test_accuracy(classifier)}
    talks = not options.quiet and not options.json
    told = options.model is not None or not talks  # who names a model knows it
    failed = False
    rows = []
    read = read_numbers if options.number else read_files
    for reading in read(classifier, _without_shown(options.pictures), min_confidence=options.min_confidence):
        failed |= reading.error is not None
        if not told and reading.error is None:
            print(_which(model, packaged=file.is_absolute()), file=sys.stderr)
            told = True
        if options.show and reading.error is None:
            from mnistkit.digits.show import show

            print(show(reading), file=sys.stderr)
        if options.json:
            rows.append({**reading.as_json(), "model": model})
        elif reading.error is not None:
            print(f"mnistkit: {reading.error}", file=sys.stderr)
        else:
            print(reading.as_text())
            if talks and isinstance(reading, Reading):
                _hint_at_number(classifier, reading)
    if options.json:
        print_json(rows)
    return int(failed)


def _check_names(options: argparse.Namespace) -> None:
    """Refuse what is read into a table alone.

    Raises:
        InputError: A folder, an array file, a URL, or a flag of such readings.
    """
    from mnistkit.digits.bulk.places import is_url
    from mnistkit.digits.contract import ARRAY_ENDINGS

    for flag in ("array", "ray", "ray_address", "workers"):
        if getattr(options, flag):
            raise InputError(f"--{flag.replace('_', '-')} goes with --out")
    for name in options.pictures:
        if is_url(name):
            raise InputError(f"{name}: what lies at a URL is read into a table; add --out answers.csv")
        path = Path(name)
        if path.is_dir() or (path.suffix.lower() in ARRAY_ENDINGS and path.is_file()):
            raise InputError(f"{name}: a folder or an array is read into a table; add --out answers.csv")


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


def _hint_at_number(classifier: Classifier, reading: Reading) -> None:
    """Say so where a picture has several digits: the reading is of the largest alone, or of all as one."""
    from mnistkit.digits.readings import read_numbers

    if reading.prediction is None:
        return
    (found,) = read_numbers(classifier, [reading.source])
    if found.number is None or len(found.number.digits) < 2:  # noqa: PLR2004
        return
    # one digit in two strokes may look like two; both are then unlike any digit
    least = found.number.least_confidence
    if reading.prediction.confidence < _SURE or least > _LIKELY:
        marks = f"{len(found.number.digits)} marks"
        print(f"mnistkit: {reading.source}: has {marks}; --number reads them one by one", file=sys.stderr)
