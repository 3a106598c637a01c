"""The command line: one parser and one small function for each verb.

Results go to stdout, everything else to stderr. Errors are one line and exit with 1, usage errors with 2; a traceback
means a bug.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit import __version__
from mnistkit.core.errors import MnistkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(argv: Sequence[str] | None = None, *, prog: str = "mnistkit") -> int:
    """Run one command and return its exit code: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser(prog, verb=given[0] if given else None)
    options = parser.parse_args(given)
    warnings.showwarning = _show_warning
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()  # so that a reader that went away is met here, not at exit
        return code  # noqa: TRY300  # the flush belongs to the same try
    except MnistkitError as error:
        print(f"mnistkit: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mnistkit: interrupted; no file was half-written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away, as `| head` does; what Python would print about it at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def build_parser(prog: str = "mnistkit", *, verb: str | None = None) -> argparse.ArgumentParser:
    """The parser with all verbs.

    Args:
        prog: How the program was called.
        verb: The verb that will be parsed, where it is known: the others then get no flags, which starts faster.
    """
    # `python -m mnistkit.train` is the verb itself, so its usage line must not name the verb twice.
    is_verb = prog.startswith("python -m mnistkit.")
    parser = argparse.ArgumentParser(
        prog="mnistkit" if is_verb else prog,
        description="Train, export and run the Keras digit classifier.",
        epilog="First steps: mnistkit train; mnistkit export; mnistkit predict digit.png",
    )
    parser.add_argument("--version", action="version", version=f"mnistkit {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for name, (add, run, text, example) in VERBS.items():
        one = verbs.add_parser(
            name,
            prog=prog if is_verb and prog.endswith(f".{name}") else None,
            help=text,
            description=text,
            epilog=f"Example: {example}",
        )
        if verb in VERBS and verb != name:
            continue
        add(one)
        for action in one._actions:  # noqa: SLF001  # argparse's own formatter would also print "default: None"
            told = "default:" in (action.help or "")
            if (
                not told
                and action.default is not None
                and action.default not in ("", argparse.SUPPRESS)
                and action.nargs != 0
            ):
                action.help = f"{action.help} (default: %(default)s)"
        one.set_defaults(run=run)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default="mlp", help="mlp is the tutorial's; cnn is for real use, with its own recipe")
    add("--epochs", type=int, help="passes over the training images (default: 2; cnn: 16)")
    add("--batch-size", type=int, help="images a step (default: 32; cnn: 128)")
    add("--optimizer", default="rmsprop", help="any Keras optimizer")
    add("--learning-rate", type=float, default=0.001, help="its first learning rate")
    add("--rho", type=float, help="its moving-average decay (default: 0.9 for rmsprop, else Keras')")
    add("--epsilon", type=float, help="its epsilon (default: 1e-8 for rmsprop, else Keras')")
    add("--decay", type=float, default=0.0, help="learning-rate decay per batch")
    add("--hidden", type=int, default=32, help="width of the hidden layer")
    add("--seed", type=int, default=1337, help="seed of the initial weights and the batch order")
    add("--validation-split", type=float, default=0.0, help="share of the training images that is held out")
    _add_data(parser)
    add("--out", default=str(Path("exports") / "mnist.keras"), help="where the model goes")
    add("--backend", help="tensorflow, jax or torch (default: KERAS_BACKEND, then keras.json, then what is installed)")
    add("--resume", action="store_true", help="go on after the last epoch an interrupted run finished")
    add("--quiet", action="store_true", help="print the result alone")
    add("--json", action="store_true", help="print the result as JSON")


def _add_export(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", nargs="?", default=str(Path("exports") / "mnist.keras"), help="the .keras file of any Keras 3 model")
    add("--out", help="where the .onnx goes (default: beside the model)")
    add("--exporter", default="auto", help="auto, native, tf2onnx, jax2onnx or torch")
    add("--profile", metavar="NAME", help="what the model is: digits or none (default: as its training says)")
    add("--opset", type=int, help="ONNX opset (default: 17, or the named exporter's own)")
    add("--no-optimize", action="store_true", help="write every operation as it is: fold and fuse nothing")
    add("--picture", action="store_true", help="also write NAME-picture.onnx, which takes pictures of any size")
    add("--batch", type=int, metavar="N", help="fix the batch axis to this size (default: free)")
    add("--input-names", type=_names, metavar="A,B", help="names for the inputs, in the model's order")
    add("--output-names", type=_names, metavar="A,B", help="names for the outputs, in the model's order")
    add("--atol", type=float, help="largest allowed difference from Keras' answers (default: derived from the model)")
    add("--samples", metavar="FILE.npz", help="real inputs for the verification, arrays by input name")
    _add_data(parser)
    add("--backend", help="backend that gives Keras' answers (default: as for train)")
    add("--json", action="store_true", help="print the provenance as JSON")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PICTURE", help="picture files")
    add("--model", help="an .onnx file (default: exports/mnist.onnx if it is there, else the one in the package)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--min-confidence", type=float, default=0.0, help="a reading less sure than this (0 to 1) is an error")
    add("--number", action="store_true", help="read all digits of each picture, in a row or rows")
    add("--show", action="store_true", help="write NAME.shown.png beside each picture and print what was seen")
    add("--json", action="store_true", help="print the readings as JSON")


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an .onnx file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="PATH", help="an .npz or a folder of IDX files (default: the embedded MNIST)")
    parser.add_argument("--labels", help="ten class names separated by commas, or a file with them")


def _train(options: argparse.Namespace) -> int:
    from mnistkit.core import keras_backend as backends
    from mnistkit.digits.train import Settings, train

    backends.silence()
    fields = {field.name for field in dataclasses.fields(Settings)}
    chosen = {key: value for key, value in vars(options).items() if key in fields and value is not None}
    if options.model == "cnn":
        from mnistkit.digits import train_cnn as recipe

        chosen = {"epochs": recipe.EPOCHS, "batch_size": recipe.BATCH_SIZE, **chosen}
    report = train(
        Settings(**chosen),
        out=options.out,
        data=_load(options),
        backend=options.backend,
        resume=options.resume,
        talk=None if options.quiet else sys.stderr,
    )
    test = report.provenance["test"]
    if options.json:
        _print_json(report.provenance)
    else:
        print(f"test loss {test['loss']:.4f}, test accuracy {test['accuracy']:.4f}")
        print(f"wrote {report.path}, {report.path.with_suffix('.train.json')}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from mnistkit.core import keras_backend as backends

    backends.silence()
    backends.load_keras(options.backend)
    from mnistkit.digits import profile as digits
    from mnistkit.export import export_onnx, register_profile  # needs the backend to be chosen

    register_profile(digits.NAME, digits.digit_classifier)
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
        atol=options.atol,
        samples=options.samples,
        data=_load(options) if options.data else None,
        labels=_labels(options),
    )
    if options.picture:
        from mnistkit.digits.picture_model import export_picture_model

        whole = export_picture_model(report.path, report.path.with_name(f"{report.path.stem}-picture.onnx"))
        print(f"mnistkit: picture model in {whole}", file=sys.stderr)
    fixed = report.provenance["batch"]
    if fixed is not None and options.batch is None:
        print(f"mnistkit: the model fixes its batch axis to {fixed}, so does the file; see --batch", file=sys.stderr)
    if report.profile is None and options.profile is None and digits.fits(report.inputs, report.outputs):
        print(f"mnistkit: {digits.HINT}", file=sys.stderr)
    external = report.provenance["external_data"]
    if external:
        lie = f"the weights ({external['size'] / 1e9:.1f} GB) are too large for one file and lie beside it"
        print(f"mnistkit: {lie}, in {external['name']}; keep both together", file=sys.stderr)
    if options.json:
        _print_json(report.provenance)
        return 0
    print(report)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from mnistkit.digits.classifier import Classifier, default_model
    from mnistkit.digits.readings import read_files, read_numbers

    classifier = Classifier(options.model or default_model(), device=options.device)
    read = read_numbers if options.number else read_files
    failed = False
    rows = []
    for reading in read(classifier, options.pictures, min_confidence=options.min_confidence):
        failed |= reading.error is not None
        if options.show and reading.error is None:
            from mnistkit.digits.show import show

            print(show(reading), file=sys.stderr)
        if options.json:
            rows.append(reading.as_json())
        elif reading.error is not None:
            print(f"mnistkit: {reading.error}", file=sys.stderr)
        else:
            print(reading.as_text())
    if options.json:
        _print_json(rows)
    return int(failed)


def _verify(options: argparse.Namespace) -> int:
    from mnistkit.core.comparison import verify_file

    found = verify_file(options.file, device=options.device)
    if options.json:
        _print_json(dataclasses.asdict(found))
    else:
        print(
            f"{options.file}: {found.pairs} golden pairs answered alike on {found.providers[0]}, "
            f"largest difference {found.largest:.1e} (allowed {found.allowed:.0e})"
        )
    return 0


def _info(options: argparse.Namespace) -> int:
    from mnistkit.core.runtime import Runtime

    runtime = Runtime(options.file, device=options.device)
    about = {
        "file": options.file,
        "inputs": [str(tensor) for tensor in runtime.inputs],
        "outputs": [str(tensor) for tensor in runtime.outputs],
        "providers": list(runtime.providers),
        "metadata": {key: value for key, value in sorted(runtime.metadata.items()) if key != "golden"},
        "golden pairs": _count_golden(runtime.metadata),
    }
    if options.json:
        _print_json(about)
        return 0
    for key, value in about.items():
        if isinstance(value, dict):
            for inner, text in value.items():
                print(f"{inner:<26}{text}")
        else:
            print(f"{key:<26}{'; '.join(value) if isinstance(value, list) else value}")
    return 0


def _count_golden(metadata: dict[str, str]) -> int | str:
    """How many golden pairs a file carries; a damaged list is a fact about the file and no reason to say nothing."""
    from mnistkit.core.errors import ModelFileError
    from mnistkit.core.golden import decode_golden

    try:
        return len(decode_golden(metadata)) if "golden" in metadata else 0
    except ModelFileError:
        return "damaged"


def _doctor(options: argparse.Namespace) -> int:
    from mnistkit.cli.doctor import examine

    findings = examine()
    if options.json:
        _print_json([dataclasses.asdict(finding) for finding in findings])
        return 0
    for finding in findings:
        mark = {None: " ", True: "+", False: "-"}[finding.works]
        print(f"{mark} {finding.name:<22}{finding.detail}")
        if finding.cure:
            print(f"    to get it: {finding.cure}")
    return 0


def _add_serve(parser: argparse.ArgumentParser) -> None:
    from mnistkit.serve.settings import add_flags

    add_flags(parser)


def _serve(options: argparse.Namespace) -> int:
    from mnistkit.serve import run
    from mnistkit.serve.settings import from_flags

    return run(from_flags(options))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _load(options: argparse.Namespace) -> Any:
    from mnistkit.digits.data import load_data

    return load_data(options.data, labels=_labels(options))


def _labels(options: argparse.Namespace) -> tuple[str, ...] | None:
    from mnistkit.digits.data import parse_labels

    return None if options.labels is None else parse_labels(options.labels)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Warnings as one line; where in the code they arose helps nobody at a terminal."""
    print(f"mnistkit: warning: {message}", file=sys.stderr)


VERBS: dict[str, tuple[Callable[..., None], Callable[..., int], str, str]] = {
    "train": (_add_train, _train, "Train a model on MNIST or a set like it.", "KERAS_BACKEND=jax mnistkit train"),
    "export": (_add_export, _export, "Export a .keras file to verified ONNX.", "mnistkit export exports/mnist.keras"),
    "predict": (_add_predict, _predict, "Read digits from picture files.", "mnistkit predict digit.png"),
    "serve": (_add_serve, _serve, "Serve models over HTTP.", "mnistkit serve --model exports/mnist.onnx"),
    "verify": (_add_file, _verify, "Prove an .onnx file again from the golden pairs inside it.",
               "mnistkit verify exports/mnist.onnx"),
    "info": (_add_file, _info, "Show what an .onnx file takes, gives and says of itself.",
             "mnistkit info exports/mnist.onnx"),
    "doctor": (_add_doctor, _doctor, "Show what works here and how to get the rest.", "mnistkit doctor"),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
