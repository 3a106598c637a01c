"""``mnistkit predict``: read digits from picture files."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.cli.common import add_device, add_json, device_options, print_json
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from mnistkit.digits.classifier import Classifier

EXAMPLES = (
    "mnistkit predict examples/digit.png",
    "mnistkit predict --number --show postcode.jpg",
    "mnistkit predict --model exports/mnist.onnx --json *.png",
    "mnistkit predict scans/ --out answers.csv",
    "mnistkit predict images.npz --out answers.parquet",
    "mnistkit predict s3://bucket/scans/ --out answers.parquet --ray --ray-address head:6379",
)


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
