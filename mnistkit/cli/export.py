"""``mnistkit export``: a .keras file to verified ONNX."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.cli.common import add_backend, add_data, add_json, load_data, parse_labels, print_json, start_keras
from mnistkit.cli.parser import one_of

if TYPE_CHECKING:
    import argparse

EXAMPLES = (
    "mnistkit export exports/mnist.keras",
    "mnistkit export my.keras -o my.onnx --opset 20 --batch 1",
    "mnistkit export my.keras --samples real-inputs.npz",
    "mnistkit export exports/mnist.keras --picture",
)
_EXPORTERS = ("auto", "writer", "tf2onnx", "jax2onnx", "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add = parser.add_argument
    default = str(Path("exports") / "mnist.keras")
    add("model", nargs="?", default=default, metavar="MODEL", help="the .keras file of any Keras 3 model")
    add("-o", "--out", metavar="FILE", help="where the .onnx goes (default: beside the model)")
    add("--exporter", **one_of(_EXPORTERS, {"native": "writer"}), default="auto", help="what writes the graph")
    add("--opset", type=int, metavar="N", help="ONNX opset (default: 17, or the named exporter's own)")
    add("--no-optimize", action="store_true", help="write every operation as it is: fold and fuse nothing")
    add("--picture", action="store_true", help="also write NAME-picture.onnx, which takes pictures of any size")
    add("--batch", type=int, metavar="N", help="fix the batch axis to this size (default: free)")
    add("--input-names", type=_names, metavar="A,B", help="names for the inputs, in the model's order")
    add("--output-names", type=_names, metavar="A,B", help="names for the outputs, in the model's order")
    add("--atol", type=float, metavar="X", help="largest allowed difference from Keras (default: from the model)")
    add("--samples", metavar="FILE.npz", help="real inputs for the verification, arrays by input name")
    add_data(parser)
    add_backend(parser, "Keras backend of the comparison (default: as for train)")
    add("--quiet", action="store_true", help="print the result alone")
    add_json(parser, "print the provenance as JSON")


def run(options: argparse.Namespace) -> int:
    """Export, and print how the file was verified."""
    start_keras(options)
    from mnistkit.export import export_onnx  # needs the backend to be chosen

    report = export_onnx(
        options.model,
        options.out,
        exporter=options.exporter,
        opset=options.opset,
        optimize=not options.no_optimize,
        batch=options.batch,
        input_names=options.input_names,
        output_names=options.output_names,
        atol=options.atol,
        samples=options.samples,
        data=load_data(options) if options.data else None,
        labels=parse_labels(options),
    )
    if options.picture:
        from mnistkit.digits.picture_model import export_picture_model

        whole = export_picture_model(report.path, report.path.with_name(f"{report.path.stem}-picture.onnx"))
        print(f"mnistkit: picture model in {whole}", file=sys.stderr)
    fixed = report.provenance["batch"]
    if fixed is not None and options.batch is None:
        print(f"mnistkit: the model fixes its batch axis to {fixed}, so does the file; see --batch", file=sys.stderr)
    external = report.provenance["external_data"]
    if external:
        lie = f"the weights ({external['size'] / 1e9:.1f} GB) are too large for one file and lie beside it"
        print(f"mnistkit: {lie}, in {external['name']}; keep both together", file=sys.stderr)
    if options.json:
        print_json(report.provenance)
        return 0
    print(f"exporter {report.exporter} ({report.reason})")
    width = max(len(row.sample) for row in report.rows) + 2
    print(f"{'sample':<{width}}{'batch':>6}{'rows':>7}{'largest |Keras - onnxruntime|':>31}{'same label':>12}")
    for row in report.rows:
        found = row.comparison
        print(f"{row.sample:<{width}}{row.batch_size:>6}{found.rows:>7}{found.largest:>31.1e}{found.agreement:>12.2%}")
    print(f"allowed: {report.atol:.1e}, times the largest answer where that is above 1")
    if report.accuracy is not None:
        print(f"test accuracy: Keras {report.accuracy[0]:.4f}, onnxruntime {report.accuracy[1]:.4f}")
    print(f"wrote {report.path}, {report.path.with_suffix('.json')}")
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
