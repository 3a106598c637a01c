"""``mnistkit bench``: what .onnx files cost here."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mnistkit.cli.common import add_backend, add_device, add_json, device_options, print_json

if TYPE_CHECKING:
    from mnistkit.publish.bench import Bench
    from mnistkit.publish.speed import Latency

EXAMPLES = (
    "mnistkit bench exports/mnist.onnx",
    "mnistkit bench small.onnx large.onnx --threads 1 --batch 1,8",
    "mnistkit bench mine.onnx --json",
)
NOTES = """\
Each file is measured in a process of its own, for about a second at each batch size, on the inputs of a golden pair or
on drawn ones. Memory is the most above a process that has loaded no model. Where NAME.keras lies beside NAME.onnx,
Keras' predict is measured on the same inputs. --plot needs the extra report."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="an .onnx file, of mnistkit or not")
    add_device(parser)
    add("--threads", type=int, metavar="N", help="threads inside one operator (default: one for each processor)")
    add("--batch", type=_sizes, metavar="N,N", help="rows of a run (default: 1,32,1024)")
    add("--no-keras", action="store_true", help="leave Keras' predict out")
    add_backend(parser, "Keras backend of that comparison (default: as for train)")
    add("--plot", metavar="FILE.png", help="also draw the latencies")
    add("--quiet", action="store_true", help="print the result alone")
    add_json(parser, "print the numbers as JSON")


def run(options: argparse.Namespace) -> int:
    """Measure, and print a table."""
    from mnistkit.publish.bench import bench
    from mnistkit.publish.speed import BATCH_SIZES

    if options.plot:
        from mnistkit.publish.report.drawing import check_png

        check_png(options.plot, what=f"{options.plot}: the plot is")
    tell = None if options.quiet else lambda what: print(f"mnistkit: {what} ...", file=sys.stderr, flush=True)
    found = [
        bench(
            file,
            **device_options(options),
            threads=options.threads,
            batch_sizes=BATCH_SIZES if options.batch is None else options.batch,
            keras=not options.no_keras,
            backend=options.backend,
            progress=tell,
        )
        for file in options.files
    ]
    if options.plot:
        from mnistkit.publish.bench_chart import write_plot

        write_plot(found, options.plot)
    if options.json:
        print_json([one.as_json() for one in found])
        return 0
    print("\n\n".join(_table(one) for one in found))
    if options.plot:
        print(f"wrote {options.plot}")
    return 0


def _table(found: Bench) -> str:
    from mnistkit.publish.report.words import milliseconds

    parts = [
        f"{found.size / 1000:,.0f} kB",
        f"loads in {milliseconds(found.load)}",
        f"first answer {milliseconds(found.first)}",
    ]
    if found.memory is not None:
        parts.append(f"memory {found.memory / 1e6:.1f} MB")
    if found.accuracy is not None:
        parts.append(f"test accuracy {found.accuracy}")
    where = f"onnxruntime {found.onnxruntime}, {found.provider}, threads {found.threads}, {found.inputs}"
    lines = [f"{found.file}: {', '.join(parts)}", f"  {where}"]
    ours = found.keras
    beside = {one.batch_size: one for one in ours.latencies} if ours else {}
    head = f"  {'batch':>6}  {'p50':>10}  {'p99':>10}  {'rows/s':>10}"
    lines.append(head + (f"  Keras predict ({ours.backend})" if ours else ""))
    for one in found.latencies:
        size = "-" if one.batch_size is None else str(one.batch_size)
        row = f"  {size:>6}  {milliseconds(one.p50):>10}  {milliseconds(one.p99):>10}  {_rows(one):>10,.0f}"
        other = beside.get(one.batch_size)
        lines.append(row + (f"  {milliseconds(other.p50)}, {other.p50 / one.p50:,.1f} x" if other else ""))
    lines += [f"  {found.left_out}"] if found.left_out else []
    if not ours:
        lines.append(f"  Keras was not measured: {found.keras_missing}")
    return "\n".join(lines)


def _rows(one: Latency) -> float:
    return 1000 * (one.batch_size or 1) / one.p50


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, nor several with commas, such as 1,32") from None
