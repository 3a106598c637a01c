"""The parser: the verbs by name, and usage errors that say what was probably meant."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from mnistkit import __version__
from mnistkit.core.errors import MissingExtraError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

VERBS: dict[str, str] = {
    "train": "Train a model on MNIST or a set like it.",
    "export": "Export a .keras file to verified ONNX.",
    "evaluate": "Test a .keras or .onnx file on a data set.",
    "predict": "Read digits from picture files.",
    "serve": "Serve models over HTTP.",
    "verify": "Verify an .onnx file again with the golden pairs inside it.",
    "info": "Show what an .onnx file takes, returns and says of itself.",
    "bench": "Measure what an .onnx file costs here: size, latency, memory.",
    "report": "Write a report on a model: one HTML file with charts.",
    "doctor": "Show what works here and how to get the rest.",
}
"""Every verb with its line in the help. The module ``mnistkit.cli.VERB`` has its ``EXAMPLES``, ``add_arguments``,
``run`` and sometimes ``NOTES``, and is imported only when the verb is used."""

_EPILOG = """\
First steps:
  mnistkit train
  mnistkit export
  mnistkit predict examples/digit.png

mnistkit VERB --help shows the flags of a verb and examples. Without a verb, this help is printed.
Each verb is also a module: python -m mnistkit.VERB.

Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted, 141 the reader of the output went away."""
_SHELLS = ("bash", "zsh", "tcsh")


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that keeps the line breaks of its epilog and shows its own usage with each error."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self.verbs: dict[str, Parser] = {}

    @property
    def flags(self) -> list[str]:
        """The long flags that this parser knows."""
        return [flag for flag in self._option_string_actions if flag.startswith("--")]

    def refuse(self, extra: Sequence[str]) -> NoReturn:
        """End the program because of words that nothing takes; exit code 2."""
        told = []
        for word in extra:
            if word.startswith("-") and word != "-":
                flag = word.partition("=")[0]
                told.append(f"unknown flag {flag}{did_you_mean(flag, self.flags)}")
        if not told:
            told = [f"unexpected argument {extra[0]!r}"]
        self.error(f"{'; '.join(told)} ({self.prog} --help lists the flags)")


def parse(given: Sequence[str], *, prog: str = "mnistkit") -> argparse.Namespace:
    """Parse a command line; the result has ``run``, which takes it, and ``verbose``.

    Raises:
        SystemExit: 2 for wrong usage, after the usage of the verb and what was probably meant; 0 after ``--help``.
        MissingExtraError: ``--print-completion`` needs a package that is not installed.
    """
    verb = given[0] if given else ""
    known = verb in VERBS
    parser = build_parser(prog, verbs=(verb,) if known else ())
    if not given:
        return argparse.Namespace(run=lambda _: _print_help(parser), verbose=0)
    if not known and not verb.startswith("-"):
        parser.error(f"unknown verb {verb!r}{did_you_mean(verb, VERBS)} (verbs: {', '.join(VERBS)})")
    words = _with_dashes(given, parser.verbs[verb].flags) if known else list(given)
    options, extra = parser.parse_known_args(words)
    if extra:
        (parser.verbs[verb] if known else parser).refuse(extra)
    if options.print_completion is not None:
        shell = options.print_completion
        return argparse.Namespace(run=lambda _: _print_completion(shell), verbose=0)
    return options


def build_parser(prog: str = "mnistkit", *, verbs: Collection[str] | None = None) -> Parser:
    """The parser with all verbs.

    Args:
        prog: How the program was called.
        verbs: The verbs that get their flags; the others get their names alone, which starts faster. All by default.
    """
    # `python -m mnistkit.train` is the verb itself, so its usage line must not name the verb twice.
    is_verb = prog.startswith("python -m mnistkit.")
    parser = Parser(
        prog="mnistkit" if is_verb else prog,
        description="Train, export, read and serve: Keras models to verified ONNX, and digits from pictures.",
        epilog=_EPILOG,
    )
    parser.add_argument("-V", "--version", action="version", version=f"mnistkit {__version__}")
    parser.add_argument(
        "--print-completion",
        choices=_SHELLS,
        help="print a script that completes this command in your shell (needs the extra completion)",
    )
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB")
    for name, text in VERBS.items():
        own = prog if is_verb and prog.endswith(f".{name}") else None
        one = subparsers.add_parser(name, prog=own, help=text, description=text)
        parser.verbs[name] = one
        if verbs is not None and name not in verbs:
            continue
        module = importlib.import_module(f"mnistkit.cli.{name}")
        one.epilog = "\n  ".join(["Examples:", *module.EXAMPLES]) + f"\n\n{getattr(module, 'NOTES', '')}".rstrip()
        module.add_arguments(one)
        one.add_argument(
            "-v", "--verbose", action="count", default=0, help="show log lines and tracebacks; -vv for more"
        )
        _tell_defaults(one)
        one.set_defaults(run=module.run)
    return parser


def one_of(names: Sequence[str], aliases: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Arguments of ``add_argument`` for a flag that takes one of some names, in any case.

    Args:
        names: What is allowed; shown in the usage.
        aliases: Other spellings, each with the name that it stands for.
    """

    def parse_name(text: str) -> str:
        name = (aliases or {}).get(text.lower(), text.lower())
        if name not in names:
            known = [*names, *(aliases or ())]
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(names)}{did_you_mean(text, known)}")
        return name

    return {"type": parse_name, "choices": tuple(names)}


def _tell_defaults(parser: Parser) -> None:
    for action in parser._actions:  # noqa: SLF001  # argparse's own formatter would also print "default: None"
        told = "default:" in (action.help or "")
        if not told and action.nargs != 0 and action.default not in {None, "", argparse.SUPPRESS}:
            action.help = f"{action.help} (default: %(default)s)"


def _with_dashes(given: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The same words with ``--batch_size`` spelled ``--batch-size``; what follows a bare ``--`` is no flag."""
    words = list(given)
    end = words.index("--") if "--" in words else len(words)
    for place, word in enumerate(words[:end]):
        flag, equals, value = word.partition("=")
        dashed = flag.replace("_", "-")
        if flag.startswith("--") and flag not in flags and dashed in flags:
            words[place] = dashed + equals + value
    return words


def _print_help(parser: Parser) -> int:
    parser.print_help()
    return 0


def _print_completion(shell: str) -> int:
    """Of the command ``mnistkit``, however this process was started: `python` has other arguments to complete."""
    try:
        shtab: Any = importlib.import_module("shtab")
    except ImportError as error:
        from mnistkit.core.install import install_hint

        raise MissingExtraError(f"shtab is not installed; run {install_hint('completion')}") from error
    complete: Callable[..., str] = shtab.complete
    sys.stdout.write(complete(build_parser(), shell=shell) + "\n")
    return 0
