"""``mnistkit train``: train the tutorial's model, or the convolutional net."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.cli import train_reader
from mnistkit.cli.common import (
    add_backend,
    add_data,
    add_json,
    load_data,
    parse_labels,
    print_json,
    start_keras,
)
from mnistkit.cli.parser import one_of
from mnistkit.core.errors import InputError
from mnistkit.digits.settings import MODELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnistkit.digits.settings import Settings

EXAMPLES = (
    "KERAS_BACKEND=jax mnistkit train",
    "mnistkit train --backend torch --ray --ray-address head:6379 --workers 4 --out /shared/mine.keras",
    "mnistkit train --backend torch --optimizer adam --lr 0.002 --epochs 5",
    "mnistkit train --hidden 128,64 --activation gelu",
    "mnistkit train --model cnn --out exports/cnn.keras",
    *train_reader.EXAMPLES,
    "mnistkit train --epochs 10 --validation-split 0.1 --plot",
)


_BESIDE = ""  # --plot without a name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add = parser.add_argument
    add(
        "--model", **one_of((*MODELS, "reader")), default="mlp",
        help="mlp is the tutorial's; cnn and reader, which finds all digits of a picture, have recipes of their own",
    )  # fmt: skip
    add(
        "--epochs", type=int, metavar="N", help="passes over the training images (default: 2; cnn: 16; reader: batches)"
    )
    add("--batch-size", type=int, metavar="N", help="images a step (default: 32; cnn: 128)")
    add("--optimizer", default="rmsprop", metavar="NAME", help="any Keras optimizer")
    add("--learning-rate", "--lr", type=float, default=0.001, metavar="RATE", help="its first learning rate")
    add("--rho", type=float, metavar="X", help="its moving-average decay (default: 0.9 for rmsprop, else Keras')")
    add("--epsilon", type=float, metavar="X", help="its epsilon (default: 1e-8 for rmsprop, else Keras')")
    add("--decay", type=float, default=0.0, metavar="X", help="learning-rate decay per batch")
    add("--hidden", type=_widths, default=32, metavar="N[,N...]", help="width of the hidden layer, or of several")
    add("--activation", default="relu", metavar="NAME", help="any Keras activation, for the hidden layers")
    add("--seed", type=int, default=1337, metavar="N", help="seed of the initial weights and the batch order")
    add("--validation-split", type=float, default=0.0, metavar="X", help="share of the training images held out")
    train_reader.add_arguments(parser)
    add_data(parser)
    add("-o", "--out", default=str(Path("exports") / "mnist.keras"), metavar="FILE", help="where the model goes")
    add_backend(parser, "Keras backend (default: KERAS_BACKEND, then keras.json, then what is installed)")
    add(
        "--processes", type=int, default=1, metavar="N",
        help="train in N processes of this machine, each on its part of every batch; for several machines see "
        "docs/how-to/processes.md",
    )  # fmt: skip
    add("--ray", action="store_true", help="train on a Ray cluster, with Ray Train (needs the extra ray)")
    add(
        "--ray-address", metavar="HOST:PORT",
        help="with --ray: the head of the cluster (default: the variable RAY_ADDRESS, else a Ray of its own, here)",
    )  # fmt: skip
    add("--gpus", action="store_true", help="with --ray: give each worker one GPU")
    add("--resume", action="store_true", help="go on after the last epoch an interrupted run finished")
    add(
        "--plot", nargs="?", const=_BESIDE, metavar="FILE.png",
        help="draw the curves of all epochs into this file, anew after each epoch (default: NAME.train.png beside the "
        "model; needs the extra report)",
    )  # fmt: skip
    add("--quiet", action="store_true", help="print the result alone")
    add_json(parser, "print the result as JSON")


def run(options: argparse.Namespace) -> int:
    """Train, and print the test result."""
    if options.model == "reader":
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return train_reader.run(options, parser.parse_args([]))
    train_reader.refuse(options)
    from mnistkit.digits.settings import Settings

    fields = {field.name for field in dataclasses.fields(Settings)}
    chosen = {key: value for key, value in vars(options).items() if key in fields and value is not None}
    if options.model == "cnn":
        from mnistkit.digits import train_cnn as recipe

        chosen = {"epochs": recipe.EPOCHS, "batch_size": recipe.BATCH_SIZE, **chosen}
    settings = Settings(**chosen)  # before anything is loaded: a wrong setting is an error at once
    plot = None if options.plot is None else _Plot(options.plot or Path(options.out).with_suffix(".train.png"))
    for flag in ("ray_address", "gpus"):
        if getattr(options, flag) and not options.ray:
            raise InputError(f"--{flag.replace('_', '-')} goes with --ray")
    if options.ray:
        return _train_on_ray(options, settings)
    if options.processes != 1:
        return _start_processes(options, settings)
    prepare_process()
    data = load_data(options)
    start_keras(options)
    from mnistkit.digits.train import train

    report = train(
        settings,
        out=options.out,
        data=data,
        backend=options.backend,
        resume=options.resume,
        log=None if options.quiet else sys.stderr,
        on_epoch=None if plot is None else plot.draw,
    )
    if not report.is_first:
        return 0
    test = report.provenance["test"]
    if options.json:
        print_json(report.provenance)
    else:
        print(f"test loss {test['loss']:.4f}, test accuracy {test['accuracy']:.4f}")
        plotted = "" if plot is None else f", {plot.path}"
        print(f"wrote {report.path}, {report.path.with_suffix('.train.json')}{plotted}")
    return 0


def _train_on_ray(options: argparse.Namespace, settings: Settings) -> int:
    from mnistkit.digits.train_ray import train_on_ray

    if options.processes != 1 or options.plot is not None:
        raise InputError(f"{'--plot' if options.plot is not None else '--processes'} does not go with --ray")
    if not options.quiet:
        print("the workers of Ray train; this takes a while to begin", file=sys.stderr, flush=True)
    provenance = train_on_ray(
        settings,
        out=options.out,
        workers=2 if options.workers is None else options.workers,
        data=options.data,
        labels=parse_labels(options),
        backend=options.backend,
        resume=options.resume,
        address=options.ray_address,
        use_gpu=options.gpus,
    )
    if options.json:
        print_json(provenance)
    else:
        print(f"test loss {provenance['test']['loss']:.4f}, test accuracy {provenance['test']['accuracy']:.4f}")
        print(f"wrote {options.out}, {Path(options.out).with_suffix('.train.json')}")
    return 0


def prepare_process() -> None:
    """Let one of several processes that a launcher started end when it is told to, or when the launcher is gone."""
    import os
    import signal

    from mnistkit.training.distributed.launch import LAUNCHED, end_with_parent
    from mnistkit.training.distributed.variables import launcher_of

    if os.environ.get(LAUNCHED):
        signal.signal(signal.SIGTERM, _stop)
        end_with_parent()
    elif launcher_of() is not None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _stop(*_: object) -> None:
    """End without a word: `launch` stops the others of a process that ended, and says which."""
    from mnistkit.core.errors import LostProcessError

    raise LostProcessError("stopped, because another process ended")


def _start_processes(options: argparse.Namespace, settings: Settings) -> int:
    """Run this command in several processes, each of which finds in its variables which one it is."""
    from mnistkit.core import keras_backend as backends
    from mnistkit.training.distributed.launch import launch
    from mnistkit.training.distributed.variables import launcher_of

    count = options.processes
    if count < 1 or count > settings.batch_size:
        raise InputError(
            f"--processes {count}: give a number from 1 to the batch size ({settings.batch_size}), which they share"
        )
    launcher = launcher_of()
    if launcher is not None:
        raise InputError(f"the launcher of {launcher} has started several processes already; leave --processes out")
    backends.check_keras()
    return launch([*options.words, "--processes", "1"], backend=backends.select_backend(options.backend), count=count)


class _Plot:
    """Draws the curves anew after each epoch. What goes wrong then is told and ends no training.

    Args:
        path: The PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: ``path`` does not end in ``.png``.
        OutputError: It cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        from mnistkit.publish.report.drawing import check_png

        self.path = Path(path)
        check_png(self.path, what=f"--plot {self.path}: the curves are")

    def draw(self, history: Mapping[str, Sequence[float]]) -> None:
        """Write the PNG of all epochs so far."""
        from mnistkit.core.errors import OutputError
        from mnistkit.publish.report.curves_file import write_curves

        try:
            write_curves(history, self.path)
        except OutputError as error:
            print(f"mnistkit: {error}", file=sys.stderr)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, nor several with commas, such as 128,64") from None
