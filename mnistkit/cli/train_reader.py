"""``mnistkit train --model reader``: the net that finds the digits of a whole picture."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mnistkit.cli.common import load_data, print_json, start_keras
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse

EXAMPLES = ("mnistkit train --model reader --minutes 55 --out exports/reader.keras",)

_OTHERS = ("optimizer", "learning_rate", "rho", "epsilon", "decay", "hidden", "activation", "validation_split")
_OWN = ("minutes", "workers", "fonts", "side")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this model."""
    add = parser.add_argument
    add("--minutes", type=float, metavar="N", help="reader: end the learning-rate cycle after so long (default: 55)")
    add(
        "--workers", type=int, metavar="N",
        help="reader: processes that make pages (default: all processors but one); with --ray: processes that train "
        "(default: 2)",
    )  # fmt: skip
    add("--start", metavar="FILE", help="cnn, reader: go on from this .keras file, at a lower rate")
    add("--side", type=int, metavar="N", help="reader: pixels of a page, each way (default: 256)")
    add(
        "--fonts", metavar="FOLDER",
        help="reader: fonts of text that is no digit, in FOLDER/hand and FOLDER/print (default: Pillow's own)",
    )  # fmt: skip


def refuse(options: argparse.Namespace) -> None:
    """Refuse the reader's own flags for another model.

    Raises:
        InputError: One was given.
    """
    for name in _OWN:
        if getattr(options, name) is not None and not (name == "workers" and options.ray):
            also = " or --ray" if name == "workers" else ""
            raise InputError(f"--{name} is for --model reader{also}; leave it out")


def run(options: argparse.Namespace, defaults: argparse.Namespace) -> int:
    """Train the reader, and print how it reads pages of held-out digits.

    Raises:
        InputError: A flag of another model was given.
    """
    for name in (*_OTHERS, "plot", "resume", "processes", "ray", "ray_address", "gpus"):
        if getattr(options, name) != getattr(defaults, name):
            raise InputError(f"the reader has a recipe of its own; leave --{name.replace('_', '-')} out")
    from mnistkit.digits.reader.settings import ReaderSettings

    steps, size = options.epochs, options.batch_size
    settings = ReaderSettings(
        minutes=options.minutes if options.minutes is not None else None if steps else 55.0,
        seed=options.seed,
        workers=options.workers,
        fonts=options.fonts,
        start=options.start,
        **({} if options.side is None else {"side": options.side}),
        **({} if size is None else {"batch_size": size}),
        **({} if steps is None else {"steps": steps}),
    )
    data = load_data(options)
    start_keras(options)
    from mnistkit.digits.reader.train import train_reader

    report = train_reader(settings, data=data, out=options.out, log=None if options.quiet else sys.stderr)
    score = report["score"]
    if options.json:
        print_json(report)
    else:
        print(
            f"pages of held-out digits: {score['share_pages']:.1%} read without a mistake, "
            f"{score['share_named']:.2%} of {score['digits']} digits right, {score['invented']} invented"
        )
        print(f"wrote {options.out}")
    return 0
