"""``mnistkit export``: a .keras file to verified ONNX, and what is made of that."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.cli.common import (
    Steps,
    add_backend,
    add_data,
    add_json,
    import_module,
    load_data,
    parse_labels,
    print_json,
    start_keras,
)
from mnistkit.cli.parser import one_of
from mnistkit.cli.published import add_published, check_published, needs_pictures, publish, takes_file
from mnistkit.cli.shrunk import add_shrink, check_shrink, read_samples, shrink_file
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from mnistkit.export.pipeline import ExportReport

EXAMPLES = (
    "mnistkit export exports/mnist.keras",
    "mnistkit export my.keras -o my.onnx --opset 20 --batch 1",
    "mnistkit export my.keras --samples real-inputs.npz",
    "mnistkit export exports/mnist.keras --picture",
    "mnistkit export exports/mnist-cnn.keras --picture --number",
    "mnistkit export exports/mnist-cnn.keras --shrink auto",
    "mnistkit export any.onnx --shrink int8 -o smaller.onnx --samples real-inputs.npz",
    "mnistkit export exports/mnist.keras --web site",
    "mnistkit export exports/mnist-cnn-picture.onnx --web site",
    "mnistkit export exports/mnist-cnn.onnx --hub hub/mnist-cnn --license mit",
    "mnistkit export exports/mnist.keras --triton repository --kserve inference-service.yaml",
    "mnistkit export any.onnx --kubernetes kubernetes --image registry.example.com/mnistkit:1",
)
_EXPORTERS = ("auto", "native", "tf2onnx", "jax2onnx", "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add = parser.add_argument
    default = str(Path("exports") / "mnist.keras")
    add(
        "model",
        nargs="?",
        default=default,
        metavar="MODEL",
        help="the .keras file of any Keras 3 model; for --shrink, --web, --hub, --triton, --kserve and "
        "--kubernetes also an .onnx file",
    )
    add("-o", "--out", metavar="FILE", help="where the .onnx goes (default: beside the model)")
    add("--exporter", **one_of(_EXPORTERS, {"writer": "native"}), default="auto", help="what writes the graph")
    add("--profile", metavar="NAME", help="what the model is: digits or none (default: as its training says)")
    add("--opset", type=int, metavar="N", help="ONNX opset (default: 17, or the named exporter's own)")
    add("--no-optimize", action="store_true", help="write every operation as it is: fold and fuse nothing")
    add("--picture", action="store_true", help="also write NAME-picture.onnx, which takes pictures of any size")
    add(
        "--number",
        action="store_true",
        help="with --picture: write NAME-number.onnx in its place, which reads all digits of a picture",
    )
    add_shrink(parser)
    add_published(parser)
    add("--batch", type=int, metavar="N", help="fix the batch axis to this size (default: free)")
    add("--input-names", type=_names, metavar="A,B", help="names for the inputs, in the model's order")
    add("--output-names", type=_names, metavar="A,B", help="names for the outputs, in the model's order")
    add(
        "--rename",
        type=_pair,
        action="append",
        metavar="OLD=NEW",
        help="new name for one input or output; may be repeated",
    )
    add("--atol", type=float, metavar="X", help="largest allowed difference from Keras (default: from the model)")
    add(
        "--samples",
        metavar="FILE.npz",
        help="real inputs to verify on, arrays by input name; --shrink calibrates on half of them, "
        "and takes class numbers in an array named targets",
    )
    add(
        "--import",
        dest="modules",
        action="append",
        metavar="MODULE",
        help="a module that registers layers of your own; may be given several times",
    )
    add(
        "--stateful",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write what layers with stateful=True keep between calls as inputs and outputs (default: where there are "
        "such layers); with --no-stateful each call begins with zeros",
    )
    add("--unsafe", action="store_true", help="run the Python code inside the file (Lambda); only if you trust it")
    add_data(parser)
    add_backend(parser, "Keras backend of the comparison (default: as for train)")
    add("--quiet", action="store_true", help="print the result alone")
    add_json(parser, "print the provenance as JSON")


def run(options: argparse.Namespace) -> int:
    """Export, and print how the file was verified; an .onnx file is taken as it is."""
    check_published(options)
    check_shrink(options)
    if options.number and not options.picture:
        raise InputError("--number belongs to --picture; add --picture, or leave --number out")
    if takes_file(options):
        return _run_file(options, Path(options.model))
    start_keras(options)
    if options.unsafe:
        print(f"mnistkit: running the Python code inside {options.model} (--unsafe)", file=sys.stderr)
    for name in options.modules or ():
        import_module(name)
    from mnistkit.digits import profile as digits
    from mnistkit.export import export_onnx, register_profile  # needs the backend to be chosen

    register_profile(digits.DigitClassifier.name, digits.digit_classifier)
    given = read_samples(options) if options.shrink != "none" else None
    with Steps(is_quiet=options.quiet) as steps:
        report = export_onnx(
            options.model,
            options.out,
            profile=options.profile,
            exporter=options.exporter,
            opset=options.opset,
            optimize=not options.no_optimize,
            batch=options.batch,
            input_names=options.input_names,
            output_names=options.output_names,
            rename=dict(options.rename or ()),
            atol=options.atol,
            samples=options.samples if given is None else given[0],
            data=load_data(options) if options.data else None,
            labels=parse_labels(options),
            unsafe=options.unsafe,
            stateful=options.stateful,
            progress=steps.tell,
        )
    whole = _picture_file(options, report)
    fixed = report.provenance["batch"]
    if fixed is not None and options.batch is None:
        print(f"mnistkit: the model fixes its batch axis to {fixed}, so does the file; see --batch", file=sys.stderr)
    if report.profile is None and options.profile is None and digits.fits(report.inputs, report.outputs):
        print(f"mnistkit: {digits.HINT}", file=sys.stderr)
    external = report.provenance["external_data"]
    if external:
        size = f"{external['size'] / 1e9:.1f} GB"
        print(f"mnistkit: the weights ({size}) are in {external['name']}; keep both files together", file=sys.stderr)
    if not options.json:
        print(report)
    shrunk = None
    if given is not None:
        shrunk = shrink_file(options, report.path, given=given, report=report)
        if not options.json:
            print(shrunk)
    smaller = shrunk.path if shrunk is not None else None
    for one in publish(options, report.path, picture=whole, shrunk=smaller).values():
        print(f"mnistkit: {one}", file=sys.stderr)
    if options.json:
        print_json(report.provenance | ({"shrink": shrunk.as_json()} if shrunk else {}))
    return 0


def _picture_file(options: argparse.Namespace, report: ExportReport) -> Path | None:
    """Write what takes pictures; the file that other flags make something of, if any."""
    from mnistkit.digits.profile import DigitClassifier

    stem = report.path.stem
    if options.number:
        from mnistkit.digits.number_model import export_number_model

        numbers = export_number_model(report.path, report.path.with_name(f"{stem}-number.onnx"))
        print(f"mnistkit: picture model of several digits in {numbers}", file=sys.stderr)
    is_needed = needs_pictures(options) and report.profile == DigitClassifier.name
    if not (is_needed or (options.picture and not options.number)):
        return None
    from mnistkit.digits.picture_model import export_picture_model

    whole = export_picture_model(report.path, report.path.with_name(f"{stem}-picture.onnx"))
    print(f"mnistkit: picture model in {whole}", file=sys.stderr)
    return whole


def _run_file(options: argparse.Namespace, file: Path) -> int:
    """Make what was asked for of an .onnx file."""
    made: dict[str, Any] = {}
    smaller = None
    if options.shrink != "none":
        made["shrink"] = shrink_file(
            options, file, given=read_samples(options), out=Path(options.out) if options.out else None
        )
        smaller = made["shrink"].path
    made |= publish(options, file, shrunk=smaller)
    if options.json:
        print_json({name: one.as_json() for name, one in made.items()})
    else:
        print(*made.values(), sep="\n")
    return 0


def _pair(text: str) -> tuple[str, str]:
    old, separator, new = (part.strip() for part in text.partition("="))
    if not (old and separator and new):
        raise argparse.ArgumentTypeError(f"{text!r} is no OLD=NEW")
    return old, new


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
